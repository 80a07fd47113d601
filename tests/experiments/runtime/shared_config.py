"""The smallest run of two seeds, with labels from popularity. Saves checkpoints as often as possible."""

from experiments.config import Config
from tests.launch import tiny_run


def get_config() -> Config:
    """The tiny run with fewer users and steps, and with an agent that is pre-trained on labels."""
    config = tiny_run.get_config()
    config.name, config.num_seeds = "shared", 2
    config.data.demo.users, config.data.demo.items = 80, 60
    config.labelling.sessions, config.labelling.steps = 8, 2
    config.evaluation.episodes, config.evaluation.ends = 8, 12
    config.adapt.agents, config.adapt.env_steps = "random,a_ialp_ap", 2000
    config.agents.a_ialp_ap.num_users, config.agents.a_ialp_ap.rollout_length = 50, 10
    config.checkpoint.every, config.checkpoint.seconds = 1000, 0.0
    config.tensorboard = False
    config.devices.seeds = 0  # one process per seed
    return config
