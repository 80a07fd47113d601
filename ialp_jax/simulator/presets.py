"""Users in three degrees of difficulty, and what single worlds need, as plain data.

A preset gives the value of every knob that is not set. A knob that is set, in a config file or by a flag,
keeps its value under every preset, also where that value switches it off. ``paper`` names all knobs; the
others state their differences from it.
"""

PRESETS = {
    # Patience and nothing else.
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
    # Users who forgive: a policy has time to find out what they like.
    "easy": {
        "patience": 10.0,
        "recovery": 2.0,
    },
    # Users who recover slowly, say no, tire of sameness, change, differ, err, and come back if it was good.
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

# World -> settings of `SimulatorConfig` that its data ask for; `make` starts from them.
WORLDS = {
    "demo": {"user_model.family": "truth"},  # generated: its truth is known
    # The logs stop at 50 artists per user: what a user would like beyond them is not in the data's density.
    "lfm": {"user_model.base_rate": 4.0},
    # Reviews hold what was bought and rated there alone, 7 items of 4,385. So few likes per user want much
    # more regularisation than the usual grid has.
    "industry": {
        "user_model.base_rate": 40.0,
        "user_model.factors": "32",
        "user_model.regularisation": "400,800,1600",
        "user_model.confidence": "200,400",
    },
    "coat": {"user_model.family": "explicit_mf"},
    "movielens": {"user_model.base_rate": 2.0},
}
