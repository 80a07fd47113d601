"""What the ablations have in common: Last.fm, 5 seeds, a quarter of the study's env steps, iALP, ft and ap.

python -m experiments.main --config=experiments/configs/ablations.py --config.data.root=../shared/data --workdir=runs/base
python -m launch.sweep --config=experiments/configs/ablations.py --config.data.root=../shared/data \
  --sweep=launch/sweeps/ablations.py --start_from=runs/base --workdir=runs/ablations
python -m launch.collect runs/ablations
"""  # noqa: E501

from experiments.config import Config
from experiments.configs import lfm


def get_config() -> Config:
    """As lfm.py, at defaults: what one change does is asked of each setting by itself."""
    config = lfm.get_config()
    config.name = "ablations"
    config.num_seeds = 5
    config.adapt.env_steps = 50_000
    config.adapt.agents = "random,popular,oracle,ialp,a_ialp_ft,a_ialp_ap"
    config.audit.enabled = False
    return config
