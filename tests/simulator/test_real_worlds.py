"""In each real world and preset, the oracle beats popularity and a policy that only avoids exits."""

from __future__ import annotations

import dataclasses

import jax
import pytest

from experiments.make_agent import reference_agents
from ialp_jax.data import DataConfig, load
from ialp_jax.evaluation.references import reference_returns
from ialp_jax.evaluation.sanity import world_checks
from ialp_jax.simulator.config import simulator_of
from ialp_jax.simulator.presets import PRESETS
from ialp_jax.simulator.world import build
from ialp_jax.users.fit import fit

pytestmark = pytest.mark.slow

# The best settings in the default grids (experiments/results/worlds.csv). They are fixed here, so that the
# test needs no search.
BEST = {
    "lfm": {"factors": "32", "regularisation": "100", "confidence": "40"},
    "industry": {"factors": "32", "regularisation": "800", "confidence": "200"},
    "coat": {"explicit.factors": "32", "explicit.regularisation": "6", "explicit.bias_regularisation": "5"},
    "movielens": {"factors": "32", "regularisation": "100", "confidence": "20"},
}
EPISODES = 512  # with fewer episodes, intervals of movielens overlap under `hard`


@pytest.mark.parametrize("name", sorted(BEST))
def test_every_preset_of_every_real_world_passes_its_checks(data_root, name):
    config = simulator_of(name)
    for path, value in BEST[name].items():
        *parents, knob = path.split(".")
        setattr(config.user_model.explicit if parents else config.user_model, knob, value)
    dataset = load(DataConfig(name=name, root=str(data_root)))
    model = fit(dataset, config.user_model)[0]
    for preset in sorted(PRESETS):
        world = build(dataset, model, dataclasses.replace(config, preset=preset))
        agents = reference_agents(world.params, dataset.popularity())
        checks = world_checks(reference_returns(world, agents, jax.random.key(0), EPISODES))
        assert len(checks) == 4
        assert not [(preset, *check) for check in checks if not check.holds]
