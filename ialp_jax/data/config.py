"""Settings of the data stage, ``--config.data``. This module imports no JAX and no torch."""

import codecs
import dataclasses
import math
import re

from ialp_jax.errors import InputError
from ialp_jax.types import SPLITS

# World name -> module with a function `load`, which maps a `DataConfig` to a `Dataset`. A module is imported
# only when it is used.
LOADERS = {
    "coat": "ialp_jax.data.coat",
    "demo": "ialp_jax.data.demo",
    "industry": "ialp_jax.data.industry",
    "lfm": "ialp_jax.data.lfm",
    "movielens": "ialp_jax.data.movielens",
    "tabular": "ialp_jax.data.tabular",
}
UNPUBLISHED = ("demo", "tabular")


@dataclasses.dataclass
class DemoConfig:
    """The generated world.

    Attributes:
      seed: seed of items, tastes and likes; the splits have another seed.
      users: number of users, U.
      items: number of items, N, at most 250 per genre.
      genres: number of genres, at most 12.
      max_genres_per_user: maximum number of genres that a user likes.
      taste: increase of the log-odds of a like if the preference for the item's genre rises from 0 to 1.
      quality: standard deviation of the items' appeal (log-odds); it makes popularity long-tailed.
      base: log-odds of a like for an item of average appeal in a genre that the user does not like.
      crossover: share of items with two genres.
      observed: share of a user's likes that the log contains.
    """

    seed: int = 0
    users: int = 2000
    items: int = 600
    genres: int = 12
    max_genres_per_user: int = 3
    taste: float = 5.0
    quality: float = 1.5
    base: float = -4.0
    crossover: float = 0.25
    observed: float = 0.4

    def check(self) -> None:
        """Raises InputError for impossible values."""
        flag = "--config.data.demo"
        for name, smallest, largest in (
            ("genres", 2, 12),
            ("users", 10, 10**6),
            ("items", 20, 250 * self.genres),  # the words of one genre allow about 700 titles
            ("max_genres_per_user", 1, self.genres),
        ):
            value = getattr(self, name)
            if not smallest <= value <= largest:
                raise InputError(f"{flag}.{name}={value}: must be in {smallest}..{largest}")
        for name in ("taste", "quality", "base"):
            value = getattr(self, name)
            if not math.isfinite(value) or (name == "quality" and value < 0):
                raise InputError(f"{flag}.{name}={value}: must be a finite number, quality at least 0")
        if not 0 <= self.crossover <= 1:
            raise InputError(f"{flag}.crossover={self.crossover}: must be in 0..1")
        if not 0 < self.observed <= 1:
            raise InputError(f"{flag}.observed={self.observed}: must be above 0 and at most 1")


@dataclasses.dataclass
class TabularConfig:
    """Files and columns of the ``tabular`` world: your own CSV, CSV.gz or Parquet files, or folders of them.

    Case, spaces and signs of column names do not matter (``userId`` for ``user_id``). An optional column may
    be missing if its setting is the default name. If you set another name, the column must exist. If you set
    an empty name, the column is not read.

    Attributes:
      interactions: file in --config.data.root with one row per interaction of a user and an item.
      items: file in --config.data.root with one row per item.
      user: column of the interactions: user id, any text.
      item: column of both files: item id, any text.
      rating: optional column of the interactions: a finite number. Without this column, every row is a like.
      timestamp: optional column of the interactions: numbers or ISO 8601 dates. Without this column, the
        order of the rows is used as the order of time.
      title: column of the items.
      category: optional column of the items: one or more names.
      category_separator: text between the category names in a cell; if empty, each cell is one name.
      tell_apart: comma-separated columns of the items, such as year,artist. If several items share a title,
        the first of these columns whose texts all differ and have 1 to 60 visible characters is added to the
        title. If there is no such column, the categories or the id are added.
      separator: character between the fields of a CSV, or the word tab.
      encoding: encoding of a CSV.
      most_rows: maximum number of rows of a file, so that it fits in memory (about 0.1 GB per million rows).
    """

    interactions: str = "interactions.csv"
    items: str = "items.csv"
    user: str = "user_id"
    item: str = "item_id"
    rating: str = "rating"
    timestamp: str = "timestamp"
    title: str = "title"
    category: str = "category"
    category_separator: str = "|"
    tell_apart: str = ""
    separator: str = ","
    encoding: str = "utf-8"
    most_rows: int = 50_000_000

    @property
    def delimiter(self) -> str:
        """The separator as a character."""
        return "\t" if self.separator == "tab" else self.separator

    def check(self) -> None:
        """Raises InputError for impossible values."""
        flag = "--config.data.tabular"
        for name in ("interactions", "items", "user", "item", "title"):
            if not getattr(self, name):
                raise InputError(f"{flag}.{name}: must not be empty")
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise InputError(f"{flag}.separator={self.separator!r}: must be one character, or tab")
        if self.most_rows < 1:
            raise InputError(f"{flag}.most_rows={self.most_rows}: must be at least 1")
        try:
            plain = "\n,".encode(self.encoding).removeprefix(codecs.BOM_UTF8) == b"\n,"
        except (LookupError, UnicodeError):
            raise InputError(f"{flag}.encoding={self.encoding}: no such encoding in Python") from None
        if not plain:
            raise InputError(f"{flag}.encoding={self.encoding}: convert the file to utf-8 first")


@dataclasses.dataclass
class DataConfig:
    """The data set, and how its users are split.

    Attributes:
      name: the world: coat, demo, industry, lfm, movielens, or tabular for your own data.
      root: folder that contains one folder per data set, or the files of this data set; not used by the demo.
      download: whether to download a published data set into the root if its files are missing.
      sha256: sha256 of the publisher's archives, comma-separated; if empty, the known ones are used.
      seed: seed of the split of users, and of the random order of likes if the data has no order of time.
      like_at: smallest rating that is a like, if the data has ratings.
      min_users: items with fewer users are dropped. 0 means the default of the world: 5 for lfm, 1 for all
        others (1 drops only items without users).
      min_likes: users with fewer likes are dropped. 0 means the default of the world: 1 for coat, 2 for all
        others.
      categories: number of categories of lfm; these are its most used tags.
      offline: share of offline users; their logs train SASRec, the LLM and the pre-trained policies.
      online: share of online users; agents adapt with them.
      tuning: share of tuning users; settings are chosen on them.
      evaluation: share of evaluation users; results are reported on them.
      demo: settings of the generated world.
      tabular: files and columns of your own data.
    """

    name: str = "demo"
    root: str = ""
    download: bool = False
    sha256: str = ""
    seed: int = 0
    like_at: float = 4.0
    min_users: int = 0
    min_likes: int = 0
    categories: int = 50
    offline: float = 0.5
    online: float = 0.2
    tuning: float = 0.1
    evaluation: float = 0.2
    demo: DemoConfig = dataclasses.field(default_factory=DemoConfig)
    tabular: TabularConfig = dataclasses.field(default_factory=TabularConfig)

    @property
    def fractions(self) -> tuple[float, ...]:
        """Shares of the splits in the order of ``types.SPLITS``."""
        return tuple(getattr(self, name) for name in SPLITS)

    def check(self) -> None:
        """Raises InputError for impossible values."""
        if self.name not in LOADERS:
            known = ", ".join(sorted(LOADERS))
            raise InputError(f"--config.data.name={self.name}: unknown world; known: {known}")
        if self.seed < 0 or self.demo.seed < 0:
            raise InputError("--config.data.seed and --config.data.demo.seed: must be at least 0")
        for name in ("min_users", "min_likes", "categories"):
            if getattr(self, name) < 0:
                raise InputError(f"--config.data.{name}={getattr(self, name)}: must be at least 0")
        if not math.isfinite(self.like_at):
            raise InputError(f"--config.data.like_at={self.like_at}: must be a finite number")
        if self.download and self.name in UNPUBLISHED:
            raise InputError(f"--config.data.download: {self.name} has nothing to download")
        for part in filter(None, self.sha256.split(",")):
            if not re.fullmatch("[0-9a-fA-F]{64}", part.strip()):
                raise InputError(f"--config.data.sha256: {part.strip()!r} is not a sha256 of 64 hex digits")
        for name, share in zip(SPLITS, self.fractions, strict=True):
            if not 0 < share < 1:
                raise InputError(f"--config.data.{name}={share}: the share must be above 0 and below 1")
        if not math.isclose(sum(self.fractions), 1.0, abs_tol=1e-6):
            flags = ", ".join(f"--config.data.{name}" for name in SPLITS)
            raise InputError(f"{flags}: the shares must sum to 1, but sum to {sum(self.fractions):g}")
        self.demo.check()
        self.tabular.check()
