"""What the ablations have in common: Last.fm as in the study, 5 seeds, half of its env steps; iALP, ft and ap.

python -m experiments.main --config=experiments/configs/ablations.py --config.data.root=../shared/data --workdir=runs/base
python -m launch.sweep --config=experiments/configs/ablations.py --config.data.root=../shared/data \
  --sweep=launch/sweeps/ablations.py --start_from=runs/base --workdir=runs/ablations
python -m launch.collect runs/ablations --base=default
"""  # noqa: E501

import json
from pathlib import Path

from experiments.config import Config
from experiments.configs import lfm, paper
from experiments.study.overrides import overridden

TUNED = Path(__file__).parent / "tuned" / "lfm.json"
METHODS = ("ialp", "a_ialp_ft", "a_ialp_ap")


def get_config() -> Config:
    """The study's Last.fm with the values that were chosen there for the three methods."""
    tuned = json.loads(TUNED.read_text())
    values = {path: value for method in METHODS for path, value in tuned[method].items()}
    config = overridden(lfm.get_config(), {**paper.OVERRIDES, **values}, "experiments/configs/ablations.py")
    config.name = "ablations"
    config.num_seeds = 5
    config.adapt.env_steps = 100_000
    config.adapt.agents = ",".join(("random", "popular", "oracle", *METHODS))
    config.labelling.none_share = 0.02  # where it has a say; as often as our Mistral says none there
    config.audit.enabled = False
    return config
