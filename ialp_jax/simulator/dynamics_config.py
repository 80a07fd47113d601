"""Settings of what makes simulated users hard. Plain Python: no JAX."""

import dataclasses
import math

from ialp_jax.errors import InputError

_FLAG = "--config.simulator.dynamics"
_INFINITY = math.inf
RANGES = {  # knob -> least, most
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
    """What a user model that draws likes independently leaves out; all of it off in the preset ``paper``.

    A value that is not set is taken from ``simulator.preset``. What is off is not in the compiled program.
    The equations stand in ``ialp_jax/simulator/dynamics.py``.

    Attributes:
      dislike_probability: over 0 switches explicit dislikes on: an item that is not liked, and would be with
        probability p, is disliked with probability (1 - p) times this. Zhao et al., Recommendations with
        negative feedback via pairwise deep reinforcement learning, KDD 2018.
      dislike_reward: reward lost with an explicit dislike.
      dislike_patience: patience lost with an explicit dislike, besides simulator.dislike_cost.
      boredom_logit: log-odds of a like lost where all recent items were like the recommended one. Warlop,
        Lazaric and Mary, Fighting boredom in recommender systems with linear reinforcement learning,
        NeurIPS 2018.
      boredom_patience: patience lost in the same case, liked or not. Gao et al., KuaiRec / CIRS (2022, 2023)
        let users leave after too many items of one category.
      boredom_window: how many recommendations of this visit count as recent.
      boredom_similarity: two items are alike if they share a category or if the cosine of their vectors in
        the user model is at least this; over 1 only the category counts.
      satiation: log-odds of a like lost per item of the same category that the user liked lately. Leqi et
        al., Rebounding bandits for modeling satiation effects, NeurIPS 2021.
      satiation_memory: share of the satiation that is left after one more step.
      drift_attraction: how far each item draws the taste, towards it or away from it if it lies opposite.
        Dean and Morgenstern, Preference dynamics under personalized recommendations, EC 2022.
      drift_noise: standard deviation of the random step of the taste, relative to its length. A random walk,
        as in Koren, Collaborative filtering with temporal dynamics, KDD 2009.
      impatient_share: share of the users, drawn at random, with less patience.
      impatient_factor: their patience relative to simulator.patience.
      niche_share: share of the users with the least popular likes, whose like probability is shifted further
        from the popular. Abdollahpouri et al., The unfairness of popularity bias in recommendation, 2019.
      niche_strength: log-odds of a like that they lose per standard deviation of the log-popularity of an
        item, and gain below its mean.
      false_like: probability that an item that is not liked looks liked. Agarwal et al., Addressing trust
        bias for unbiased learning-to-rank, WWW 2019.
      missed_like: probability that an item that is liked looks not liked.
      return_base: probability that a user who leaves comes back for another visit within the session, with
        patience restored. Zhao et al., KuaiSim, NeurIPS 2023.
      return_gain: what is added to it if all items of the visit were liked; in proportion if some were.
      visit_length: steps after which a visit ends also for a patient user; 0: never.
      seed: draws who is impatient.
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
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and least <= value <= most):
                bound = f"at least {least}" if most == _INFINITY else f"in {least}..{most}"
                raise InputError(f"{_FLAG}.{name}={value}: must be {bound}")
        if self.impatient_factor == 0:
            raise InputError(f"{_FLAG}.impatient_factor=0: nobody would stay for one step; give more")
