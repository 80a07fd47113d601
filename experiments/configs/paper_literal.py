"""iALP (arXiv 2501.13816) read literally, on Last.fm; another world is given after a colon.

python -m experiments.main --config=experiments/configs/paper_literal.py --config.data.root=../shared/data
python -m experiments.main --config=experiments/configs/paper_literal.py:quickstart
python -m experiments.main --config=experiments/configs/paper_literal.py:coat --config.data.root=../shared/data

On Last.fm, the return of iALP starts near 9.8, and near 11.4 with --config.evaluation.greedy=true. The run takes
as long as that of the world's own file. The list has our reading of the paper. All other settings
have the values of the world's file: the paper does not state them, or we did not find where.

- One choice: the LLM chooses one of K candidates or none; its scores of the others are not used.
  ``agents.ialp`` always learns so.
- Binary reward: 1 if the LLM chose the action, 0 if it answered none. The labels always have it.
- The critic learns by Q-learning with a double Q target: ``backup=max``, instead of V under the
  policy. The paper names the Q-learning loss; the double target is our reading, as in its baseline DQN.
- Policy gradient with the weight Q(s, a): ``actor_weight=q``, instead of the label's reward.
- pi is a distribution over the whole catalogue: ``alternatives=catalogue``, instead of the K
  candidates of the prompt.
- A-iALP_ap acts with (1 - alpha) pi_theta + alpha pi_beta. pi_beta starts at random:
  ``start=random``, instead of pi_theta's parameters. alpha grows from 0 to 1; that it grows linearly over the
  whole adaptation is our reading.
- A-iALP_ft continues from the pre-trained policy, its critic included: ``critic_start=pretrained``, and
  ``temperature_factor=1``.
- Imagined sessions are as long as the simulator's, start together, and show only proposals of the actor:
  ``labelling.horizon=0``, ``staggered=false``. The paper names no limit.
- The baselines are DQN, PG and A2C from scratch, with the same encoder. Policies sample at temperature
  1 in evaluation.

Shorter names above are settings of ``agents.ialp``, ``agents.a_ialp_ap`` and ``agents.a_ialp_ft``.
"""  # noqa: E501

import importlib

from experiments.config import Config
from experiments.study.overrides import overridden
from ialp_jax.errors import InputError

WORLDS = ("lfm", "quickstart", "industry", "coat", "movielens", "smoke")
LITERAL = {
    "agents.ialp.actor_weight": "q",
    "agents.ialp.alternatives": "catalogue",
    "agents.ialp.backup": "max",
    "agents.a_ialp_ap.start_from": "ialp",
    "agents.a_ialp_ap.start": "random",
    "agents.a_ialp_ap.critic_start": "random",
    "agents.a_ialp_ap.temperature_factor": 1.0,
    "agents.a_ialp_ap.schedule": "linear",
    "agents.a_ialp_ap.alpha_start": 0.0,
    "agents.a_ialp_ap.alpha_end": 1.0,
    "agents.a_ialp_ap.alpha_steps": 0,
    "agents.a_ialp_ft.start_from": "ialp",
    "agents.a_ialp_ft.critic_start": "pretrained",
    "agents.a_ialp_ft.temperature_factor": 1.0,
    "labelling.source": "llm",
    "labelling.calibration": "none",
    "labelling.horizon": 0,
    "labelling.staggered": False,
    "labelling.popular_share": 0.0,
    "labelling.uniform_share": 0.0,
    "pretrain.temperatures": "1",
    "evaluation.greedy": False,
}
METHODS = ("random", "popular", "oracle", "dqn", "pg", "a2c", "ialp", "a_ialp_ft", "a_ialp_ap")


def get_config(world: str = "lfm") -> Config:
    """The world's own settings, changed by the assumptions above.

    Args:
      world: name of a file in this folder.
    """
    if world not in WORLDS:
        raise InputError(f"paper_literal.py:{world}: the world must be one of {', '.join(WORLDS)}")
    config = importlib.import_module(f"experiments.configs.{world}").get_config()
    config = overridden(config, LITERAL, "experiments/configs/paper_literal.py")
    config.name = f"paper_literal_{world}"
    config.adapt.agents = ",".join(METHODS)
    return config
