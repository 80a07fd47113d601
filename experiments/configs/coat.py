"""Coat (shopping data with explicit ratings), every method.

python -m experiments.main --config=experiments/configs/coat.py --config.data.root=../shared/data

Takes about 8 minutes on 2 CPU cores. iALP starts near a return of 4.5; A2C from scratch ends near 8.
"""

from experiments.config import Config
from ialp_jax.simulator.config import simulator_of


def get_config() -> Config:
    """290 users, 300 items, 6,960 ratings, 3 seeds."""
    config = Config(name="coat")
    config.simulator = simulator_of("coat")
    config.data.name = "coat"
    config.llm.embedded.steps = 400  # lowest loss on held-out offline users among 400, 800, 1,600
    return config
