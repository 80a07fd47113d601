"""Settings of the effects that make simulated users harder to please. Plain Python: no JAX."""

import dataclasses
import math

from ialp_jax.errors import InputError

_FLAG = "--config.simulator.dynamics"
_INFINITY = math.inf
RANGES = {  # setting -> smallest, largest value
    "dislike_probability": (0, 1),
    "dislike_reward": (0, _INFINITY),
    "dislike_patience": (0, _INFINITY),
    "boredom_logit": (0, _INFINITY),
    "boredom_patience": (0, _INFINITY),
    "boredom_window": (1, 1000),
    "boredom_similarity": (-1, _INFINITY),
    "satiation": (0, _INFINITY),
    "satiation_memory": (0, 1),
    "drift_attraction": (0, _INFINITY),
    "drift_noise": (0, _INFINITY),
    "impatient_share": (0, 1),
    "impatient_factor": (0, 1),
    "niche_share": (0, 1),
    "niche_strength": (0, _INFINITY),
    "false_like": (0, 1),
    "missed_like": (0, 1),
    "return_base": (0, 1),
    "return_gain": (0, 1),
    "visit_length": (0, 1_000_000),
    "seed": (0, 2**31 - 1),
}


@dataclasses.dataclass
class DynamicsConfig:
    """Effects that make users harder to please: dislikes, boredom, satiation, drift and others.

    The preset ``paper`` switches all effects off: each like then depends only on the user model. A setting
    that is None gets its value from ``simulator.preset``. The compiled program contains only the effects that
    are on. Equations: ``ialp_jax/simulator/dynamics.py``.

    Attributes:
      dislike_probability: if above 0, users give explicit dislikes. A user who does not like an item with
        like probability p dislikes it with probability (1 - p) times this value. Zhao et al., Recommendations
        with negative feedback via pairwise deep reinforcement learning, KDD 2018.
      dislike_reward: reward subtracted for each explicit dislike.
      dislike_patience: patience subtracted for each explicit dislike, in addition to simulator.dislike_cost.
      boredom_logit: largest decrease of the log-odds of a like. It applies if all recent items were similar
        to the recommended item. Warlop, Lazaric and Mary, Fighting boredom in recommender systems with linear
        reinforcement learning, NeurIPS 2018.
      boredom_patience: largest loss of patience in a step. It applies if all recent items were similar to the
        recommended item, even if the user likes this item. In Gao et al., KuaiRec / CIRS (2022, 2023), users
        leave after too many items of one category.
      boredom_window: number of recommendations of this visit that count as recent.
      boredom_similarity: two items are similar if they share a category, or if the cosine of their vectors in
        the user model is at least this value. With a value above 1, items are similar only if they share a
        category.
      satiation: decrease of the log-odds of a like per recently liked item of the same category. Leqi et
        al., Rebounding bandits for modeling satiation effects, NeurIPS 2021.
      satiation_memory: share of the satiation that remains after each step.
      drift_attraction: how far each recommended item moves the user's taste vector: towards the item's vector
        if their dot product is positive, away from it if negative. Dean and Morgenstern, Preference dynamics
        under personalized recommendations, EC 2022.
      drift_noise: size of the random step of the taste vector after each item, as a share of the vector's
        length. This is a random walk, as in Koren, Collaborative filtering with temporal dynamics, KDD 2009.
      impatient_share: share of users, drawn at random, who have less patience.
      impatient_factor: patience of impatient users, relative to simulator.patience.
      niche_share: share of niche users: the users whose likes are the least popular on average. They like
        popular items even less often than the user model predicts, see niche_strength. Abdollahpouri et al.,
        The unfairness of popularity bias in recommendation, 2019.
      niche_strength: decrease of a niche user's log-odds of a like, per standard deviation by which the
        item's log-popularity exceeds the mean. For items with a popularity below the mean, the log-odds
        increase.
      false_like: probability of a like by mistake, for an item that the user does not like. Agarwal et al.,
        Addressing trust bias for unbiased learning-to-rank, WWW 2019.
      missed_like: probability that a like is missing by mistake, for an item that the user likes.
      return_base: probability that a user who leaves returns for another visit within the session, with full
        patience. Zhao et al., KuaiSim, NeurIPS 2023.
      return_gain: the probability of a return is return_base plus this value times the share of liked items
        in the visit.
      visit_length: steps after which a visit ends even if the user still has patience; 0: no limit.
      seed: seed of the random choice of the impatient users.
    """

    dislike_probability: float | None = None
    dislike_reward: float | None = None
    dislike_patience: float | None = None
    boredom_logit: float | None = None
    boredom_patience: float | None = None
    boredom_window: int | None = None
    boredom_similarity: float | None = None
    satiation: float | None = None
    satiation_memory: float | None = None
    drift_attraction: float | None = None
    drift_noise: float | None = None
    impatient_share: float | None = None
    impatient_factor: float | None = None
    niche_share: float | None = None
    niche_strength: float | None = None
    false_like: float | None = None
    missed_like: float | None = None
    return_base: float | None = None
    return_gain: float | None = None
    visit_length: int | None = None
    seed: int = 0

    def check(self) -> None:
        """Raises InputError for settings that cannot work."""
        for name, (smallest, largest) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and smallest <= value <= largest):
                bound = f"at least {smallest}" if largest == _INFINITY else f"in {smallest}..{largest}"
                raise InputError(f"{_FLAG}.{name}={value}: must be {bound}")
        if self.impatient_factor == 0:
            raise InputError(
                f"{_FLAG}.impatient_factor=0: impatient users would leave at once; use more than 0"
            )
