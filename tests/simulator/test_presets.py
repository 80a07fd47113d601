"""Tests the presets: their values, settings that override them, and the worlds that they give."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from ialp_jax.agents.reference import oracle, popular, random, stayer
from ialp_jax.data import DataConfig, DemoConfig, load
from ialp_jax.errors import InputError
from ialp_jax.evaluation.references import reference_returns
from ialp_jax.simulator.config import SimulatorConfig, resolved
from ialp_jax.simulator.dynamics import item_scores
from ialp_jax.simulator.dynamics_config import RANGES, DynamicsConfig
from ialp_jax.simulator.dynamics_params import SEGMENTS, Dynamics, build_dynamics
from ialp_jax.simulator.presets import PRESETS
from ialp_jax.simulator.world import build

FIELDS = {
    f"dynamics.{field.name}" for field in dataclasses.fields(DynamicsConfig) if field.name != "seed"
} | {"patience", "dislike_cost", "recovery"}
INTEGERS = ("boredom_window", "visit_length", "seed")


@pytest.fixture(scope="module")
def dataset():
    return load(DataConfig(demo=DemoConfig(users=400, items=200)))


def test_paper_lists_every_setting_and_other_presets_only_differences():
    assert set(PRESETS["paper"]) == FIELDS
    for name, values in PRESETS.items():
        assert set(values) <= FIELDS
        assert name == "paper" or all(value != PRESETS["paper"][path] for path, value in values.items())
    assert set(RANGES) == {path.removeprefix("dynamics.") for path in FIELDS if "." in path} | {"seed"}


def test_paper_switches_on_only_patience(dataset):
    params = build(dataset, dataset.truth, SimulatorConfig()).params
    assert [float(x) for x in (params.patience, params.dislike_cost, params.recovery)] == [5.0, 1.0, 1.0]
    assert params.dynamics == Dynamics()


def test_set_values_override_the_preset_even_with_0(dataset):
    config = SimulatorConfig(preset="hard", patience=2.5, dynamics=DynamicsConfig(satiation=0.0))
    filled = resolved(config)
    assert (filled.patience, filled.recovery, filled.dynamics.satiation) == (2.5, 0.5, 0.0)
    assert filled.dynamics.boredom_logit == PRESETS["hard"]["dynamics.boredom_logit"]
    assert config.recovery is None  # `resolved` does not change its argument
    parts = build(dataset, dataset.truth, config).params.dynamics
    assert parts.satiation is None
    assert parts.boredom is not None


@pytest.mark.parametrize(
    ("knob", "part"),
    [
        ("dislike_probability", "dislikes"),
        ("boredom_logit", "boredom"),
        ("boredom_patience", "boredom"),
        ("satiation", "satiation"),
        ("drift_attraction", "drift"),
        ("drift_noise", "drift"),
        ("impatient_share", "segments"),
        ("niche_share", "segments"),
        ("false_like", "noise"),
        ("missed_like", "noise"),
        ("return_base", "returning"),
        ("return_gain", "returning"),
        ("visit_length", "returning"),
    ],
)
def test_every_switch_adds_only_its_part(dataset, knob, part):
    config = resolved(
        SimulatorConfig(dynamics=DynamicsConfig(**{knob: 1 if knob == "visit_length" else 0.5}))
    )
    parts = build_dynamics(dataset, dataset.truth, config.dynamics)
    assert [name for name, value in vars(parts).items() if value is not None] == [part]


@pytest.mark.parametrize("knob", sorted(RANGES))
def test_every_setting_changes_the_parameters(dataset, knob):
    before = resolved(SimulatorConfig(preset="hard")).dynamics
    after = dataclasses.replace(before, **{knob: getattr(before, knob) + (1 if knob in INTEGERS else 0.1)})
    parts = [build_dynamics(dataset, dataset.truth, config) for config in (before, after)]
    one, other = (jax.tree.leaves(part) for part in parts)
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("knob", sorted(RANGES))
def test_impossible_values_raise_with_their_name(knob):
    for wrong in (RANGES[knob][0] - 1, float("nan")):
        with pytest.raises(InputError, match=rf"dynamics\.{knob}="):
            SimulatorConfig(dynamics=DynamicsConfig(**{knob: wrong})).check()
    with pytest.raises(InputError, match="preset=harder: unknown; known: easy, hard, paper"):
        SimulatorConfig(preset="harder").check()


def test_segments_have_the_given_shares_and_niche_users_like_unpopular_items(dataset):
    config = resolved(SimulatorConfig(preset="hard", dynamics=DynamicsConfig(impatient_share=0.25)))
    parts = build_dynamics(dataset, dataset.truth, config.dynamics).segments
    segment = np.asarray(parts.segment)
    assert np.sum(segment & 1) == round(0.25 * dataset.num_users)
    assert np.sum(segment >> 1) == round(0.2 * dataset.num_users)
    mean = [np.asarray(parts.appeal)[dataset.histories.of(u)].mean() for u in range(dataset.num_users)]
    assert max(np.array(mean)[segment >= 2]) <= min(np.array(mean)[segment < 2])
    appeal = np.asarray(parts.appeal)[1:]
    assert (abs(appeal.mean()), appeal.std()) == pytest.approx((0.0, 1.0), abs=1e-4)
    other = dataclasses.replace(config.dynamics, seed=1)
    assert np.any(np.asarray(build_dynamics(dataset, dataset.truth, other).segments.segment) != segment)


@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_ranks_oracle_above_popular_above_random(dataset, preset):
    """The oracle also beats a policy that only keeps users from leaving."""
    world = build(dataset, dataset.truth, SimulatorConfig(preset=preset))
    num_items = dataset.catalogue.num_items

    def scores(state):
        return item_scores(state, world.params)

    agents = {
        "random": random(num_items),
        "popular": popular(dataset.popularity()),
        "oracle": oracle(scores),
        "stayer": stayer(scores, lambda state: state.patience > 2.0),
    }
    returns = reference_returns(world, agents, jax.random.key(0), 256)
    for better, worse in (("oracle", "popular"), ("popular", "random"), ("oracle", "stayer")):
        assert returns[f"{better}_return_ci_low"] > returns[f"{worse}_return_ci_high"], (better, worse)
    assert returns["oracle_length"] >= returns["random_length"]
    # Under the policy that only avoids exits, users stay about as long as under the oracle.
    assert returns["stayer_length"] > max(1.5 * returns["random_length"], 0.75 * returns["oracle_length"])
    segments = {name for name in returns if "/" in name}
    assert segments == (
        {
            f"{agent}_{metric}/{name}"
            for agent in agents
            for metric in ("return", "length")
            for name in SEGMENTS
        }
        if preset == "hard"
        else set()
    )
