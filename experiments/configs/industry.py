"""Amazon "Industrial and Scientific" 2018, every method.

python -m experiments.main --config=experiments/configs/industry.py --config.data.root=../shared/data

Reads UniSRec's atomic files (amazon_industrial_unisrec/), or the publisher's 5-core reviews and metadata
(amazon_industrial/), which have ratings: --config.data.like_at then says which of them are likes.

About 30 minutes on 2 CPU cores. Expect iALP to start near a return of 5, A2C from scratch to end near 2.
"""

from experiments.config import Config
from ialp_jax.simulator.config import simulator_of


def get_config() -> Config:
    """8,441 users, 4,385 items, 59,135 likes, 3 seeds."""
    config = Config(name="industry")
    config.simulator = simulator_of("industry")
    config.data.name = "industry"
    config.llm.template = "brief"
    config.llm.embedded.hidden = 128
    config.llm.embedded.steps = 6000
    config.labelling.rounds = 8
    config.labelling.sessions = 400
    config.audit.users = 1000  # of 4,221; all of them take a quarter of an hour
    return config
