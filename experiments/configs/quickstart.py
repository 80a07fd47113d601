"""A generated world, every method; needs neither data nor network.

python -m experiments.main --config=experiments/configs/quickstart.py

The run takes 4 minutes and 2 GB of memory on 2 CPU cores, and 3 minutes if its programs are compiled. The
return of iALP starts near 11, that of iALP soft near 21; the return of A2C from scratch ends near 4.5.
A-iALP_ft and A-iALP_ap start from iALP soft, because it earns more on tuning users. That policy is sharp, so
they learn slowly. With the default learning rate, they end 13 and 18 % below their start on tuning users, see
launch/sweeps/sharp_start.py.
"""

from experiments.config import Config
from ialp_jax.simulator.config import simulator_of


def get_config() -> Config:
    """2,000 users, 600 items, 3 seeds."""
    config = Config(name="quickstart")
    config.simulator = simulator_of("demo")
    config.network.width = 32
    config.network.blocks = 1
    config.audit.users = 300
    for adapted in (config.agents.a_ialp_ft, config.agents.a_ialp_ap):
        adapted.start_from, adapted.learning_rate = "ialp_soft", 3e-5
    return config
