"""MovieLens latest-small, every method. Ratings of 4 stars or more are likes.

python -m experiments.main --config=experiments/configs/movielens.py --config.data.root=../shared/data

The run takes 2.2 GB of memory and 53 minutes of CPU time (42 minutes on 2 CPU cores that four other programs
also used). A third of the time trains the supervised SASRec, because its softmax covers 9,723 items
at every position. The return of iALP starts near 7.4; the return of A-iALP_ft ends near 11.6, below that of
the policy ``popular`` (12.7). --config.data.download=true downloads the publisher's zip file to
--config.data.root.
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
