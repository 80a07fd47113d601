"""Real Last.fm (hetrec2011-lastfm-2k), every method.

python -m experiments.main --config=experiments/configs/lfm.py --config.data.root=../shared/data
"""

from experiments.config import Config


def get_config() -> Config:
    """1,874 users, 2,828 artists, 3 seeds."""
    config = Config(name="lfm")
    config.data.name = "lfm"
    # The logs stop at 50 artists per user: what a user would like beyond them is not in the data's density.
    config.simulator.user_model.base_rate = 4.0
    config.llm.embedded.hidden = 128
    config.llm.embedded.steps = 8000
    config.labelling.rounds = 8
    config.labelling.sessions = 400
    return config
