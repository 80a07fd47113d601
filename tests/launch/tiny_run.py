"""The smallest whole run, with labels from popularity, so that it needs no torch.

python -m experiments.main --config=tests/launch/tiny_run.py    (half a minute on 2 cores)
"""

from experiments.config import Config
from experiments.configs import smoke


def get_config() -> Config:
    """The smoke run with fewer parts and steps."""
    config = smoke.get_config()
    config.name, config.num_seeds = "tiny", 1
    config.labelling.source, config.labelling.rounds = "popularity", 1
    config.audit.enabled = False
    config.pretrain.updates_per_round = config.pretrain.warm_updates = config.pretrain.sasrec_updates = 2
    config.pretrain.evaluations = 1
    config.adapt.agents, config.adapt.env_steps = "random,a2c", 1000
    config.evaluation.points = 3
    return config
