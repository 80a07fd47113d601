"""A small world for the tests of adapters."""

from __future__ import annotations

import pytest

import ialp_jax.simulator
from ialp_jax.data import DataConfig, DemoConfig
from ialp_jax.simulator.config import SimulatorConfig


@pytest.fixture(scope="session")
def world():
    """Environment and parameters: 150 users, 50 items, sessions of up to 12 steps."""
    simulator = SimulatorConfig(horizon=12, history_length=4, start_length=4, dislike_cost=0.5)
    simulator.user_model.family = "truth"
    demo = DemoConfig(users=150, items=50, base=-2.5)
    return ialp_jax.simulator.make("demo", data=DataConfig(demo=demo), simulator=simulator)
