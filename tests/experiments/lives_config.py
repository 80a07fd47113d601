"""The smallest run with every stage, an agent with a replay buffer, and the mixture.

It saves checkpoints as often as possible.
"""

from experiments.configs import smoke


def get_config():
    config = smoke.get_config()
    config.data.demo.users = 80
    config.data.demo.items = 60
    config.labelling.sessions = 8
    config.labelling.steps, config.labelling.horizon = 2, 3
    config.labelling.popular_share = config.labelling.uniform_share = 0.2
    config.llm.embedded.steps = 6
    config.llm.threads = 1
    config.llm.shard_size = 4
    config.evaluation.episodes, config.evaluation.ends = 8, 12
    config.audit.users = 8
    config.adapt.agents = "dqn,a_ialp_ap"
    config.adapt.env_steps, config.adapt.keep = 4000, "best"
    config.agents.dqn.capacity = 1000
    for agent in (config.agents.dqn, config.agents.a_ialp_ap):
        agent.num_users, agent.rollout_length = 50, 5
    config.devices.seeds = 0  # one device per seed
    config.checkpoint.every, config.checkpoint.seconds = 1000, 0.0
    return config
