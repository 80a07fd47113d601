"""Last.fm (hetrec2011-lastfm-2k), every method.

python -m experiments.main --config=experiments/configs/lfm.py --config.data.root=../shared/data

The run takes about 25 minutes on 2 CPU cores. The return of iALP starts near 11; the return of A2C from
scratch ends near 4.
"""

from experiments.config import Config
from ialp_jax.simulator.config import simulator_of


def get_config() -> Config:
    """1,874 users, 2,828 artists, 3 seeds."""
    config = Config(name="lfm")
    config.simulator = simulator_of("lfm")
    config.data.name = "lfm"
    config.llm.embedded.hidden = 128
    config.llm.embedded.steps = 8000
    config.labelling.rounds = 8
    config.labelling.sessions = 400
    return config
