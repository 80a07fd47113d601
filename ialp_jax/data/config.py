"""Settings of the data stage. Plain Python: no JAX, no torch, no reading of files."""

import dataclasses
import math

from ialp_jax.errors import InputError
from ialp_jax.types import SPLITS

# World name -> module with ``load(config: DataConfig) -> Dataset``; imported only when asked for.
LOADERS = {
    "demo": "ialp_jax.data.demo",
    "lfm": "ialp_jax.data.lfm",
}


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
class DataConfig:
    """Which data set, and how its users are split.

    Attributes:
      name: the world, one of the keys of ``LOADERS``.
      root: folder of the data sets, or of this data set itself; unused by generated worlds.
      seed: seed of the split of users, and of the order of likes where the data has none.
      min_listeners: lfm keeps artists with at least this many listeners.
      categories: lfm takes this many of the most used tags as categories.
      offline: share of users whose logs train everything before a live user is met.
      online: share of users met during adaptation.
      tuning: share of users on whom settings are chosen.
      evaluation: share of users on whom results are reported.
      demo: the generated world.
    """

    name: str = "demo"
    root: str = ""
    seed: int = 0
    min_listeners: int = 5
    categories: int = 50
    offline: float = 0.5
    online: float = 0.2
    tuning: float = 0.1
    evaluation: float = 0.2
    demo: DemoConfig = dataclasses.field(default_factory=DemoConfig)

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
        if self.min_listeners < 1:
            raise InputError(f"--config.data.min_listeners={self.min_listeners}: must be at least 1")
        if self.categories < 0:
            raise InputError(f"--config.data.categories={self.categories}: must be at least 0")
        for name, share in zip(SPLITS, self.fractions, strict=True):
            if not 0 < share < 1:
                raise InputError(f"--config.data.{name}={share}: the share must be over 0 and under 1")
        if not math.isclose(sum(self.fractions), 1.0, abs_tol=1e-6):
            flags = ", ".join(f"--config.data.{name}" for name in SPLITS)
            raise InputError(f"{flags}: shares must sum to 1, they sum to {sum(self.fractions):g}")
        self.demo.check()
