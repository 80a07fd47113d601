"""Display names, colours and search spaces of the agents, one record per agent.

`ialp_jax.agents.registry` builds the agents. An agent without a record here is displayed with its id in the
group `OTHER`, and is not tuned.

The search gives every method the same number of configurations (`experiments.study.settings.SearchConfig`),
even if its search space is larger than others. The first configuration has the default values of the run.
Some methods extend a simpler one (`AgentDisplay.extends`). Their second configuration has the tuned values of
the simpler method, and the defaults of all further settings. So a method with more settings has also tried
the best values of the simpler method, and a difference between the two does not come from the random draw.

All other configurations are drawn from the lists in the search space, see
`experiments.study.configurations.draw`. Each setting is in only one search space. No search space contains
settings of a world (``simulator``, ``data``), so a search cannot change a world for a method's benefit. No
search space contains settings that affect the labels (``agents.ialp``, ``pretrain.learning_rate``), because
all methods share one set of labels.

The second configuration carries over what the trials of the simpler method found. A2C pre-trained on logs and
A-iALP_ft get it in the same way, from A2C; A-iALP_ap, the gate and the rivals that extend A2C get it from
A-iALP_ft. Every method that learns by A2C from a pre-training thus has one such configuration.

The lists reach beyond the best values of the last search (`experiments/results/paper/tuning`), in which each
of the 14 methods had a best value at the end of a list. Learning starts from policies with little entropy, so
the list of entropy costs goes from 0 to 0.1.

Most pre-trained methods start from ``ialp`` or ``ialp_soft`` (their setting ``start_from``). The search tunes
pre-trained policies before the methods that start from them, with a separate budget. Each pre-training also
chooses the temperature of its policy on tuning users, so no search space contains temperatures. ``a2c_warm``
has its own pre-training and also learns online, so its search space has the settings of both phases. If
several methods share settings (learning rate, entropy, discount, start of a critic or policy, temperature at
which learning starts), the search tries the same combinations of values for all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ialp_jax.agents.registry import ON_LABELS

REFERENCE, SCRATCH, LOGS, LABELS, RIVALS, OTHER = (
    "References",
    "From scratch",
    "Pre-trained on logs",
    "Pre-trained on LLM labels",
    "Pre-trained on LLM labels, other ways of adapting",
    "Others",
)
GROUPS = (REFERENCE, SCRATCH, LOGS, LABELS, RIVALS, OTHER)

_RATES = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
_PRETRAIN_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
_LEARNER = {"learning_rate": _RATES, "discount": (0.3, 0.5, 0.7, 0.9, 0.97)}
_GRADIENT = {
    **_LEARNER,
    "entropy_cost": (0.0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1),
    "normalise_advantages": (False, True),
}
# Users times steps of a rollout is the batch of an update: 50 to 500 steps.
_ON_POLICY = {
    **_GRADIENT,
    "trace": (0.5, 0.9, 1.0),
    "num_users": (10, 20, 50),
    "rollout_length": (5, 10),
}
_STARTS = ("pretrained", "random")
_WARM = {"critic_start": _STARTS, "temperature_factor": (1.0, 2.0, 4.0, 8.0)}
_STEPS = (0, 10_000, 30_000, 100_000)  # length of a schedule; 0 means the whole adaptation


@dataclasses.dataclass(frozen=True)
class AgentDisplay:
    """How an agent is displayed and tuned.

    Attributes:
      name: display name in tables, figures and sentences.
      group: one of `GROUPS`. Tables list agents by group, and findings compare groups.
      colour: ``#rrggbb`` of the agent's line in figures.
      space: search space, setting -> values to try. A setting is a name in the agent's own section, or a path
        with a dot. Empty: not tuned.
      extends: id of the simpler method whose tuned values the search tries second; empty: no simpler method.
      design_trials: world -> number of variants that were tried there while the method was designed, outside
        every search; a lower bound if not all are on record. Empty: none is on record.
      headline: whether this agent represents its group when findings compare final returns.
    """

    name: str
    group: str
    colour: str
    space: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    extends: str = ""
    design_trials: Mapping[str, int] = dataclasses.field(default_factory=dict)
    headline: bool = False


# Slightly darker versions of Okabe and Ito's colours, which colour-blind readers can distinguish.
AGENTS = {
    "random": AgentDisplay("Random", REFERENCE, "#6b6b6b"),
    "popular": AgentDisplay("Popular", REFERENCE, "#6b6b6b"),
    "oracle": AgentDisplay("Oracle", REFERENCE, "#6b6b6b"),
    "dqn": AgentDisplay(
        *("DQN", SCRATCH, "#e69f00"),
        {**_LEARNER, "epsilon_steps": (2_000, 5_000, 20_000), "target_rate": (0.001, 0.005, 0.02)},
    ),
    "pg": AgentDisplay(
        *("PG", SCRATCH, "#cc79a7"), {**_GRADIENT, "num_users": (5, 10, 20), "rollout_length": (10, 20, 40)}
    ),
    "a2c": AgentDisplay("A2C", SCRATCH, "#3fa9dc", _ON_POLICY),
    "sasrec": AgentDisplay(
        *("SASRec", LOGS, "#0072b2"),
        {
            "pretrain.sasrec_learning_rate": _PRETRAIN_RATES,
            "pretrain.sasrec_updates": (75, 150, 300, 600, 1200),
        },
    ),
    "a2c_warm": AgentDisplay(
        *("A2C warm", LOGS, "#999933"),
        {
            "pretrain.warm_learning_rate": _PRETRAIN_RATES,
            "pretrain.warm_updates": (150, 300, 600, 1200, 2400),
            **_ON_POLICY,
            **_WARM,
        },
        extends="a2c",
    ),
    "ialp": AgentDisplay(
        *("iALP", LABELS, "#1a1a1a"),
        {"pretrain.ialp_learning_rate": _PRETRAIN_RATES, "pretrain.ialp_updates": (40, 75, 150, 300)},
    ),
    "ialp_soft": AgentDisplay(
        *("iALP soft", LABELS, "#4d4d9e"),
        {
            "pretrain.soft_learning_rate": _PRETRAIN_RATES,
            "pretrain.soft_updates": (75, 150, 300, 600),
            "label_temperature": (0.25, 0.5, 1.0, 2.0, 4.0),
        },
    ),
    "a_ialp_ft": AgentDisplay(*("A-iALP_ft", LABELS, "#009e73"), {**_ON_POLICY, **_WARM}, extends="a2c"),
    "a_ialp_ap": AgentDisplay(
        *("A-iALP_ap", LABELS, "#d55e00"),
        {
            **_ON_POLICY,
            "schedule": ("linear", "cosine", "evidence"),
            "alpha_steps": _STEPS,
            "start": _STARTS,
            **_WARM,
            "gradient": ("importance", "mixture"),
        },
        extends="a_ialp_ft",
        headline=True,
    ),
    # The designs of the table "design on Coat" in experiments/results/README.md, a range counted as two, and
    # three gates on Last.fm. That file does not say how often each design was tried.
    "a_ialp_gate": AgentDisplay(
        *("A-iALP_gate", LABELS, "#882255"),
        {**_ON_POLICY, "evidence": (1.0, 3.0, 6.0), "slow_rate": (0.03, 0.1), **_WARM},
        extends="a_ialp_ft",
        design_trials={"coat": 10, "lfm": 3},
    ),
    "a2c_kl": AgentDisplay(
        *("A2C + KL", RIVALS, "#117733"),
        {**_ON_POLICY, "kl_cost": (0.003, 0.01, 0.1, 1.0), "kl_steps": _STEPS, **_WARM},
        extends="a_ialp_ft",
    ),
    "jsrl": AgentDisplay(
        *("JSRL", RIVALS, "#6a51a3"),
        {
            **_ON_POLICY,
            "guide_start": (0.1, 0.25, 0.5, 1.0),
            "guide_steps": _STEPS,
            "start": _STARTS,
            **_WARM,
        },
        extends="a_ialp_ft",
    ),
    "pex": AgentDisplay(
        *("PEX", RIVALS, "#a65628"),
        {
            **_LEARNER,
            "temperature": (0.01, 0.03, 0.1, 0.3),
            "weight_temperature": (0.03, 0.1, 0.3),
            "start": _STARTS,
            "temperature_factor": _WARM["temperature_factor"],
        },
    ),
    "rlpd": AgentDisplay(
        *("RLPD", RIVALS, "#b5890b"),
        {**_LEARNER, "labelled_share": (0.1, 0.25, 0.5, 0.75), **_WARM},
    ),
    "wsrl": AgentDisplay(
        *("WSRL", RIVALS, "#44aa99"),
        {**_LEARNER, "warmup_steps": (0, 2_000, 10_000), **_WARM},
    ),
}


def group_of(agent: str, source: str = "") -> str:
    """The group of an agent, or `OTHER` for an agent without a record.

    Args:
      agent: id of the agent.
      source: the pre-training from which it starts in this run, if the run may have changed it: a method that
        starts from logs is displayed with such methods, and a2c_warm from labels with methods on labels.
    """
    group = AGENTS[agent].group if agent in AGENTS else OTHER
    if source in ON_LABELS and group == LOGS:
        return LABELS
    return LOGS if source and source not in ON_LABELS and group in (LABELS, RIVALS) else group


def space_of(agent: str) -> dict[str, Sequence[Any]]:
    """The search space of an agent: dotted path -> values to try; empty if the agent is not tuned."""
    space = AGENTS[agent].space if agent in AGENTS else {}
    return {path if "." in path else f"agents.{agent}.{path}": values for path, values in space.items()}


def tunable_paths() -> frozenset[str]:
    """The dotted paths of the settings in all search spaces."""
    return frozenset(path for agent in AGENTS for path in space_of(agent))
