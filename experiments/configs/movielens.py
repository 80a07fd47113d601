"""MovieLens latest-small, every method. Ratings of 4 stars or more are likes.

python -m experiments.main --config=experiments/configs/movielens.py --config.data.root=../shared/data

Takes 42 minutes on 2 CPU cores shared with four other programs (53 minutes of CPU time) and 2.2 GB. A third
of it is the supervised SASRec with its softmax over 9,723 items at every position. iALP starts near a return
of 7.4; A-iALP_ft ends near 11.6, below popular (12.7).
--config.data.download=true downloads the publisher's zip to the root.
"""

from experiments.config import Config
from ialp_jax.simulator.config import simulator_of


def get_config() -> Config:
    """608 users, 9,723 items, 100,794 ratings, 3 seeds."""
    config = Config(name="movielens")
    config.simulator = simulator_of("movielens")
    config.data.name = "movielens"
    config.llm.embedded.hidden = 128
    config.llm.embedded.steps = 6000
    config.labelling.rounds = 8
    config.labelling.sessions = 400
    return config
