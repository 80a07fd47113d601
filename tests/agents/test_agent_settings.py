"""Agents refuse settings with impossible values, and values that have no effect."""

import pytest

from experiments.config import Config
from experiments.study.overrides import overridden
from ialp_jax.errors import InputError

IMPOSSIBLE = {
    "a2c.trace": 1.1,
    "a2c.discount": -0.1,
    "a2c.learning_rate": 0.0,
    "a2c.num_users": 0,
    "a2c.entropy_cost": -1.0,
    "pg.value_cost": -1.0,
    "a_ialp_ft.critic_start": "x",
    "a_ialp_ap.schedule": "step",
    "a_ialp_ap.start": "beta",
    "a_ialp_ap.gradient": "none",
    "a_ialp_ap.alpha_end": 1.1,
    "a_ialp_gate.evidence": 0.0,
    "a_ialp_gate.slow_rate": 2.0,
    "a2c_kl.kl_cost": -1.0,
    "a2c_kl.kl_direction": "both",
    "jsrl.guide_start": 1.5,
    "jsrl.guide_steps": -1,
    "dqn.epsilon_start": 2.0,
    "dqn.capacity": 10,
    "pex.temperature": 0.0,
    "pex.weight_temperature": 0.0,
    "pex.max_weight": 0.0,
    "rlpd.labelled_share": 1.5,
    "wsrl.warmup_steps": -1,
    "wsrl.max_gradient_norm": 0.0,
    "ialp.actor_weight": "x",
    "ialp_soft.label_temperature": 0.0,
    "ialp_soft.prior_weight": -0.1,
    "a_ialp_ft.start_from": "sasrec",
    "wsrl.start_from": "",
}
# (settings, of which one has no effect; the condition for an effect that the error message names).
IDLE = [
    ({"a_ialp_ap.start": "random", "a_ialp_ap.critic_start": "pretrained"}, "start=pretrained"),
    ({"jsrl.start": "random", "jsrl.critic_start": "pretrained"}, "start=pretrained"),
    ({"a_ialp_ap.gradient": "mixture", "a_ialp_ap.max_ratio": 2.0}, "gradient=importance"),
    ({"a_ialp_ap.schedule": "constant", "a_ialp_ap.alpha_end": 0.5}, "schedule=linear or cosine or evidence"),
    ({"a_ialp_ap.schedule": "constant", "a_ialp_ap.alpha_steps": 5}, "schedule=linear or cosine or evidence"),
]


def changed(values):
    return overridden(Config(), {f"agents.{path}": value for path, value in values.items()}, "test")


def test_the_defaults_are_possible():
    Config().check()


@pytest.mark.parametrize(("path", "value"), IMPOSSIBLE.items())
def test_impossible_settings_are_refused(path, value):
    with pytest.raises(InputError, match=rf"^--config\.agents\.{path}='?{value}"):
        changed({path: value}).check()


@pytest.mark.parametrize(("values", "reason"), IDLE)
def test_a_value_that_cannot_act_is_refused(values, reason):
    with pytest.raises(InputError, match=f"acts only with {reason}"):
        changed(values).check()


def test_without_pretraining_no_critic_starts_from_it():
    assert not hasattr(Config().agents.a2c, "critic_start")
    with pytest.raises(InputError, match=r"no such setting: agents\.a2c\.critic_start"):
        changed({"a2c.critic_start": "random"})


@pytest.mark.parametrize(
    ("old", "new"), [("ft", "a_ialp_ft"), ("mixture", "a_ialp_ap"), ("gate", "a_ialp_gate")]
)
def test_a_section_of_an_earlier_version_is_named_anew(old, new):
    with pytest.raises(InputError, match=rf"agents\.{old}\.trace; it is now agents\.{new}\.trace$"):
        changed({f"{old}.trace": 0.5})
    with pytest.raises(AttributeError, match=rf"agents\.{old}: .* agents\.{new}$"):
        getattr(Config().agents, old)
