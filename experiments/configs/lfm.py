"""Real Last.fm (hetrec2011-lastfm-2k), every method.

python -m experiments.main --config=experiments/configs/lfm.py --config.data.root=../shared/data
"""

from experiments.config import Config


def get_config() -> Config:
    """1,881 users, 2,828 artists, 3 seeds."""
    config = Config(name="lfm")
    config.data.name = "lfm"
    return config
