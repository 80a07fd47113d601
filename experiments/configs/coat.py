"""Coat (shopping data with explicit ratings), every method.

python -m experiments.main --config=experiments/configs/coat.py --config.data.root=../shared/data

The run takes about 8 minutes on 2 CPU cores. The return of iALP starts near 4.5; the return of A2C from
scratch ends near 8.
"""

from experiments.config import Config
from ialp_jax.simulator.config import simulator_of


def get_config() -> Config:
    """290 users, 300 items, 6,960 ratings, 3 seeds."""
    config = Config(name="coat")
    config.simulator = simulator_of("coat")
    config.data.name = "coat"
    config.llm.embedded.steps = 400  # of 400, 800 and 1,600 steps, 400 gave the lowest held-out loss
    return config
