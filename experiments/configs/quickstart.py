"""The generated world, every method, no data and no network needed.

python -m experiments.main --config=experiments/configs/quickstart.py
"""

from experiments.config import Config


def get_config() -> Config:
    """2,000 users, 600 items, 3 seeds."""
    config = Config(name="quickstart")
    config.simulator.user_model.family = "truth"
    config.network.width = 32
    config.network.blocks = 1
    return config
