"""Runs every stage at the smallest size. This shows that the pipeline works, not that agents learn.

python -m experiments.main --config=experiments/configs/smoke.py    (2 minutes on 2 cores, later 40 s)
"""

from experiments.config import Config
from ialp_jax.simulator.config import simulator_of


def get_config() -> Config:
    """A tenth of the quickstart's users, with smaller networks and shorter training."""
    config = Config(name="smoke", num_seeds=2)
    config.simulator = simulator_of("demo")
    config.data.demo.users = 200
    config.data.demo.items = 120
    config.simulator.horizon = 10
    config.network.width = 16
    config.network.blocks = 1
    config.llm.embedded.steps = 20
    config.llm.embedded.hidden = 32
    config.llm.embedded.layers = 1
    config.labelling.rounds = 2
    config.labelling.sessions = 20
    config.labelling.steps = 3
    config.labelling.candidates = 5
    config.audit.users = 20
    config.audit.negatives = 20
    config.pretrain.updates_per_round = 20
    config.pretrain.warm_updates = 20
    config.pretrain.sasrec_updates = 20
    config.pretrain.evaluations = 2
    config.pretrain.temperature_episodes = 32
    config.adapt.env_steps = 2000
    config.evaluation.episodes = 32
    config.evaluation.ends = 64
    config.evaluation.points = 3
    config.devices.seeds = 1  # with two devices, every program would be compiled twice
    return config
