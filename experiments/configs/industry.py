"""Amazon "Industrial and Scientific" 2018, every method.

python -m experiments.main --config=experiments/configs/industry.py --config.data.root=../shared/data

Reads UniSRec's atomic files (amazon_industrial_unisrec/), or the publisher's 5-core reviews and metadata
(amazon_industrial/). The reviews have ratings; a rating of --config.data.like_at or more is a like.

The model sees the first 40 characters of each title, because four complete titles would fill its context.
The model trains for 6 minutes on 2 CPU cores. A run with complete titles took about 40 minutes on busy cores.
In that run, the return of iALP started near 5, and the return of A2C from scratch ended near 2.
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
    return config
