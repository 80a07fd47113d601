"""Settings of the effects that make simulated users harder. Plain Python: no JAX."""

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
    """Effects that make users harder: dislikes, boredom, satiation, drift, segments, noise, returns.

    The preset ``paper`` switches all of them off: each like then depends only on the user model. A value that
    is not set comes from ``simulator.preset``. The compiled program contains only the effects that are on.
    Equations: ``ialp_jax/simulator/dynamics.py``.

    Attributes:
      dislike_probability: above 0, users dislike items explicitly. An item with like probability p that is
        not liked is disliked with probability (1 - p) times this value. Zhao et al., Recommendations with
        negative feedback via pairwise deep reinforcement learning, KDD 2018.
      dislike_reward: reward lost with an explicit dislike.
      dislike_patience: patience lost with an explicit dislike, in addition to simulator.dislike_cost.
      boredom_logit: decrease of the log-odds of a like if all recent items were similar to the recommended
        one. Warlop, Lazaric and Mary, Fighting boredom in recommender systems with linear reinforcement
        learning, NeurIPS 2018.
      boredom_patience: patience lost if all recent items were similar, even if the item is liked. In Gao et
        al., KuaiRec / CIRS (2022, 2023), users leave after too many items of one category.
      boredom_window: number of recommendations of this visit that count as recent.
      boredom_similarity: two items are similar if they share a category, or if the cosine of their vectors in
        the user model is at least this value. Above 1, only the category counts.
      satiation: decrease of the log-odds of a like per recently liked item of the same category. Leqi et
        al., Rebounding bandits for modeling satiation effects, NeurIPS 2021.
      satiation_memory: share of the satiation that remains after each step.
      drift_attraction: how far each recommended item moves the user's taste: towards the item if they agree,
        away from it if they are opposite. Dean and Morgenstern, Preference dynamics under personalized
        recommendations, EC 2022.
      drift_noise: standard deviation of the random step of the taste, relative to the taste's length. A
        random walk, as in Koren, Collaborative filtering with temporal dynamics, KDD 2009.
      impatient_share: share of users, drawn at random, who have less patience.
      impatient_factor: patience of impatient users, relative to simulator.patience.
      niche_share: share of niche users, whose likes are the least popular ones. They like popular items even
        less than the user model says. Abdollahpouri et al., The unfairness of popularity bias in
        recommendation, 2019.
      niche_strength: decrease of a niche user's log-odds of a like, per standard deviation of an item's
        log-popularity above the mean. Items below the mean get an increase.
      false_like: probability that an item that the user does not like gets a like. Agarwal et al., Addressing
        trust bias for unbiased learning-to-rank, WWW 2019.
      missed_like: probability that an item that the user likes gets no like.
      return_base: probability that a user who leaves returns for another visit within the session, with full
        patience. Zhao et al., KuaiSim, NeurIPS 2023.
      return_gain: this value times the share of liked items in the visit is added to return_base.
      visit_length: steps after which a visit ends even if the user still has patience; 0: no limit.
      seed: draws the impatient users.
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
