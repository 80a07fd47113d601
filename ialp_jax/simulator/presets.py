"""Presets of user difficulty (easy, paper, hard), and settings for each world, as plain data.

A preset gives a value to every setting that is None. A value from a config file or a flag takes precedence
over the preset. The value 0 switches an effect off. ``paper`` lists all settings; ``easy`` and ``hard`` list
only their differences from ``paper``.
"""

from typing import Any

PRESETS = {
    # Users lose patience; all other effects are off.
    "paper": {
        "patience": 5.0,
        "dislike_cost": 1.0,
        "recovery": 1.0,
        "dynamics.dislike_probability": 0.0,
        "dynamics.dislike_reward": 0.5,
        "dynamics.dislike_patience": 1.0,
        "dynamics.boredom_logit": 0.0,
        "dynamics.boredom_patience": 0.0,
        "dynamics.boredom_window": 10,
        "dynamics.boredom_similarity": 0.98,
        "dynamics.satiation": 0.0,
        "dynamics.satiation_memory": 0.9,
        "dynamics.drift_attraction": 0.0,
        "dynamics.drift_noise": 0.0,
        "dynamics.impatient_share": 0.0,
        "dynamics.impatient_factor": 0.5,
        "dynamics.niche_share": 0.0,
        "dynamics.niche_strength": 1.0,
        "dynamics.false_like": 0.0,
        "dynamics.missed_like": 0.0,
        "dynamics.return_base": 0.0,
        "dynamics.return_gain": 0.0,
        "dynamics.visit_length": 0,
    },
    # Users are patient and recover fast, so a policy has time to learn their taste.
    "easy": {
        "patience": 10.0,
        "recovery": 2.0,
    },
    # Users recover slowly, and all effects are on.
    "hard": {
        "recovery": 0.5,
        "dynamics.dislike_probability": 0.3,
        "dynamics.dislike_reward": 0.2,
        "dynamics.dislike_patience": 0.5,
        "dynamics.boredom_logit": 1.0,
        "dynamics.boredom_patience": 0.5,
        "dynamics.satiation": 0.2,
        "dynamics.drift_attraction": 0.02,
        "dynamics.drift_noise": 0.02,
        "dynamics.impatient_share": 0.3,
        "dynamics.niche_share": 0.2,
        "dynamics.false_like": 0.01,
        "dynamics.missed_like": 0.05,
        "dynamics.return_base": 0.1,
        "dynamics.return_gain": 0.6,
        "dynamics.visit_length": 20,
    },
}

# World -> settings of `SimulatorConfig` that suit its data; `make` and the config files start from them.
WORLDS: dict[str, dict[str, Any]] = {
    "demo": {"user_model.family": "truth"},  # generated data: the true user model is known
    # The logs hold at most 50 artists per user, so users like more artists than the logs show.
    "lfm": {"user_model.base_rate": 4.0},
    # Users review only a few of the items that they would like: about 7 of all 4,385 items per user. Because
    # likes are so rare, the fit needs much more regularisation than the default grid has.
    "industry": {
        "user_model.base_rate": 40.0,
        "user_model.factors": "32",
        "user_model.regularisation": "400,800,1600",
        "user_model.confidence": "200,400",
    },
    "coat": {"user_model.family": "explicit_mf"},
    "movielens": {"user_model.base_rate": 2.0},
}
