"""Settings of the data stage. Plain Python: no JAX, no torch, no reading of files."""

import codecs
import dataclasses
import math
import re

from ialp_jax.errors import InputError
from ialp_jax.types import SPLITS

# World name -> module with ``load(config: DataConfig) -> Dataset``; imported only when asked for.
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
      seed: seed of the world itself (items, tastes, likes), apart from the seed of the splits.
      users: number of users, U.
      items: number of items, N, at most 250 per genre.
      genres: number of genres, at most 12.
      max_genres_per_user: a user is fond of 1 to this many genres.
      taste: logits that a fondness of 1 for the genre of an item adds.
      quality: standard deviation of the items' own appeal in logits; it makes popularity long-tailed.
      base: logit of an item of ordinary appeal for a user who does not care for its genre.
      crossover: share of the items that belong to two genres.
      observed: share of what a user would like that stands in the user's log.
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
        for name, least, most in (
            ("genres", 2, 12),
            ("users", 10, 10**6),
            ("items", 20, 250 * self.genres),  # the words of a genre make about 700 titles
            ("max_genres_per_user", 1, self.genres),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(f"{flag}.{name}={value}: must lie in {least}..{most}")
        for name in ("taste", "quality", "base"):
            value = getattr(self, name)
            if not math.isfinite(value) or (name == "quality" and value < 0):
                raise InputError(f"{flag}.{name}={value}: must be a finite number, quality at least 0")
        if not 0 <= self.crossover <= 1:
            raise InputError(f"{flag}.crossover={self.crossover}: must lie in 0..1")
        if not 0 < self.observed <= 1:
            raise InputError(f"{flag}.observed={self.observed}: must be over 0 and at most 1")


@dataclasses.dataclass
class TabularConfig:
    """Files and columns of the ``tabular`` world: your own CSV, CSV.gz or Parquet files, or folders of parts.

    Columns are found by name; case, spaces and signs may differ (``userId`` for ``user_id``).

    Attributes:
      interactions: file in --config.data.root; a row says that a user met an item.
      items: file in --config.data.root; a row describes an item.
      user: column of the interactions, any text.
      item: column of both files, any text.
      rating: column of the interactions, optional, a finite number; without it every row is a like. Empty:
        not read. A name other than the default must be there; so with all optional columns.
      timestamp: column of the interactions, optional, numbers or ISO 8601 dates; without it the order of
        the file is the order of time.
      title: column of the items.
      category: column of the items, optional; one or more names.
      category_separator: between the names of a cell of categories; empty: a cell is one name.
      tell_apart: columns of the items, comma-separated, which are added to titles that several items share,
        such as year,artist; the first one that tells them apart counts, then the categories, then the id.
      separator: between fields of a CSV, one character, or the word tab.
      encoding: of a CSV.
      most_rows: a file with more rows is refused before it fills the memory (about 0.1 GB per million).
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
    """Which data set, and how its users are split.

    Attributes:
      name: the world: coat, demo, industry, lfm, movielens, or tabular for your own data.
      root: folder of the data sets, or of this data set itself; not used by the demo.
      download: fetch a published data set into the root where it is not there.
      sha256: of the publisher's archives, comma-separated; empty for those that are known.
      seed: seed of the split of users, and of the order of likes where the data has none.
      like_at: a rating of at least this is a like, where the data has ratings.
      min_users: items with fewer users are dropped; 0 for what is usual (lfm 5, else 1, which drops none
        but items without a user).
      min_likes: users with fewer likes are dropped; 0 for what is usual (coat 1, else 2).
      categories: lfm takes this many of the most used tags as categories.
      offline: share of users whose logs train everything before a live user is met.
      online: share of users met during adaptation.
      tuning: share of users on whom settings are chosen.
      evaluation: share of users on whom results are reported.
      demo: the generated world.
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
        for name, least in (("min_users", 0), ("min_likes", 0), ("categories", 0)):
            if getattr(self, name) < least:
                raise InputError(f"--config.data.{name}={getattr(self, name)}: must be at least {least}")
        if not math.isfinite(self.like_at):
            raise InputError(f"--config.data.like_at={self.like_at}: must be a finite number")
        if self.download and self.name in UNPUBLISHED:
            raise InputError(f"--config.data.download: there is nothing to download for {self.name}")
        for part in filter(None, self.sha256.split(",")):
            if not re.fullmatch("[0-9a-fA-F]{64}", part.strip()):
                raise InputError(f"--config.data.sha256: {part.strip()!r} is not a sha256 of 64 hex digits")
        for name, share in zip(SPLITS, self.fractions, strict=True):
            if not 0 < share < 1:
                raise InputError(f"--config.data.{name}={share}: the share must be over 0 and under 1")
        if not math.isclose(sum(self.fractions), 1.0, abs_tol=1e-6):
            flags = ", ".join(f"--config.data.{name}" for name in SPLITS)
            raise InputError(f"{flags}: shares must sum to 1, they sum to {sum(self.fractions):g}")
        self.demo.check()
        self.tabular.check()
