"""MovieLens latest-small, ratings of 4 stars and more as likes, every method.

python -m experiments.main --config=experiments/configs/movielens.py --config.data.root=../shared/data

42 minutes on 2 CPU cores that four other programs shared, 53 of CPU time, 2.2 GB; the supervised SASRec,
with its softmax over 9,723 items at every position, takes a third of it. Expect iALP to start near a return
of 7.4 and A-iALP_ft to end near 11.6, below popular (12.7).
With a network, --config.data.download=true fetches the publisher's zip into the root.
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
