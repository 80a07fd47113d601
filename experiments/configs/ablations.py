"""Base of the ablations: Last.fm as in the study, with 5 seeds, 100,000 env steps and 3 iALP methods.

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
    """Last.fm as in the study, with the study's tuned values of the three methods."""
    tuned = json.loads(TUNED.read_text())
    values = {path: value for method in METHODS for path, value in tuned[method].items()}
    config = overridden(lfm.get_config(), {**paper.OVERRIDES, **values}, "experiments/configs/ablations.py")
    config.name = "ablations"
    config.num_seeds = 5
    config.adapt.env_steps = 100_000
    config.adapt.agents = ",".join(("random", "popular", "oracle", *METHODS))
    config.labelling.none_share = (
        0.02  # for rule-based label sources; on Last.fm, our Mistral says "none" to the same share of prompts
    )
    config.audit.enabled = False
    return config
