"""What is tuned, for every method, as plain data: agent id -> path of a setting -> values to try.

Every method has the same budget (`experiments.study.settings.SearchConfig`), whatever the size of its space.
The first configuration that is tried is always the default, the values of the run's configuration; the others
are drawn from the lists (`experiments.study.search.draw`). No path stands in two spaces. Settings of a world
(``simulator``, ``data``) stand in none: a world is never changed for a method's benefit. Nor does anything
that labels depend on (``agents.ialp``, ``pretrain.learning_rate``): all methods share one set of labels.

What a method starts from is tuned as ``ialp``, with its own budget, before the methods that start from it;
``a2c_warm``, whose pre-training nobody else uses, has both phases in one space. What several methods have is
tried at the same values by all: learning rates, entropy, discount, what a critic or policy starts from.
"""

_RATES = (3e-4, 1e-3, 3e-3)
_ENTROPY = (1e-3, 1e-2)
_DISCOUNTS = (0.5, 0.9)
_STARTS = ("pretrained", "random")
SHAPES = ("agents.rlpd.labelled_share",)  # numbers on which the shapes of arrays depend

SPACES = {
    "sasrec": {
        "pretrain.sasrec_learning_rate": (1e-3, 3e-3, 1e-2),
        "pretrain.sasrec_updates": (150, 300),
    },
    "ialp": {
        "pretrain.ialp_learning_rate": (1e-3, 3e-3, 1e-2),
        "pretrain.ialp_updates": (75, 150),
    },
    "dqn": {
        "agents.dqn.learning_rate": _RATES,
        "agents.dqn.discount": _DISCOUNTS,
        "agents.dqn.epsilon_steps": (5_000, 20_000, 50_000),
        "agents.dqn.target_rate": (0.005, 0.02, 0.1),
    },
    "pg": {
        "agents.pg.learning_rate": _RATES,
        "agents.pg.discount": _DISCOUNTS,
        "agents.pg.entropy_cost": _ENTROPY,
    },
    "a2c": {
        "agents.a2c.learning_rate": _RATES,
        "agents.a2c.discount": _DISCOUNTS,
        "agents.a2c.entropy_cost": _ENTROPY,
    },
    "a2c_warm": {
        "pretrain.warm_learning_rate": (1e-3, 3e-3, 1e-2),
        "pretrain.warm_updates": (300, 600),
        "agents.a2c_warm.learning_rate": _RATES,
        "agents.a2c_warm.discount": _DISCOUNTS,
        "agents.a2c_warm.entropy_cost": _ENTROPY,
        "agents.a2c_warm.critic_start": _STARTS,
    },
    "a_ialp_ft": {
        "agents.ft.learning_rate": _RATES,
        "agents.ft.discount": _DISCOUNTS,
        "agents.ft.entropy_cost": _ENTROPY,
        "agents.ft.critic_start": _STARTS,
    },
    # alpha_steps 0 is all of the adaptation; the shorter, the sooner pi_beta acts alone.
    "a_ialp_ap": {
        "agents.mixture.learning_rate": _RATES,
        "agents.mixture.discount": _DISCOUNTS,
        "agents.mixture.entropy_cost": _ENTROPY,
        "agents.mixture.alpha_steps": (0, 10_000, 50_000),
        "agents.mixture.start": _STARTS,
        "agents.mixture.gradient": ("importance", "mixture"),
    },
    "a2c_kl": {
        "agents.a2c_kl.learning_rate": _RATES,
        "agents.a2c_kl.discount": _DISCOUNTS,
        "agents.a2c_kl.entropy_cost": _ENTROPY,
        "agents.a2c_kl.kl_cost": (0.01, 0.1, 1.0),
        "agents.a2c_kl.kl_steps": (0, 10_000, 50_000),
    },
    "jsrl": {
        "agents.jsrl.learning_rate": _RATES,
        "agents.jsrl.discount": _DISCOUNTS,
        "agents.jsrl.guide_start": (0.25, 0.5, 1.0),
        "agents.jsrl.guide_steps": (0, 10_000, 50_000),
        "agents.jsrl.start": _STARTS,
    },
    "pex": {
        "agents.pex.learning_rate": _RATES,
        "agents.pex.discount": _DISCOUNTS,
        "agents.pex.temperature": (0.03, 0.1, 0.3),
        "agents.pex.weight_temperature": (0.1, 0.3, 1.0),
        "agents.pex.start": _STARTS,
    },
    "rlpd": {
        "agents.rlpd.learning_rate": _RATES,
        "agents.rlpd.discount": _DISCOUNTS,
        "agents.rlpd.labelled_share": (0.25, 0.5),
        "agents.rlpd.critic_start": _STARTS,
    },
    "wsrl": {
        "agents.wsrl.learning_rate": _RATES,
        "agents.wsrl.discount": _DISCOUNTS,
        "agents.wsrl.warmup_steps": (0, 2_000, 10_000),
        "agents.wsrl.critic_start": _STARTS,
    },
    "a_ialp_gate": {
        "agents.gate.learning_rate": _RATES,
        "agents.gate.discount": _DISCOUNTS,
        "agents.gate.entropy_cost": _ENTROPY,
        "agents.gate.evidence": (1.0, 3.0, 6.0),
        "agents.gate.slow_rate": (0.03, 0.1),
        "agents.gate.critic_start": _STARTS,
    },
}
