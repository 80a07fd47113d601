"""stable-baselines3's DQN in the demo world, against random recommendations.

python -m experiments.examples.sb3_dqn [steps]    (20,000 steps: about a minute on 2 cores)
"""

from __future__ import annotations

import sys

import numpy as np

import ialp_jax.simulator
from ialp_jax.data import DataConfig, DemoConfig
from ialp_jax.errors import InputError
from ialp_jax.simulator.adapters.flat import FlatSessions

USERS = 16  # in parallel
SMALL = DataConfig(demo=DemoConfig(users=400, items=120))


def main(steps: int = 20_000, data: DataConfig = SMALL) -> tuple[float, float]:
    """Trains on online users, plays for evaluation users; returns the mean returns of random and of DQN.

    Raises:
      InputError: stable-baselines3 is not installed.
    """
    from ialp_jax.simulator.adapters.stable_baselines import SessionVecEnv  # optional dependency

    from stable_baselines3 import DQN  # isort: skip
    from stable_baselines3.common.evaluation import evaluate_policy  # isort: skip
    from stable_baselines3.common.vec_env import VecMonitor  # isort: skip

    worlds = {
        split: VecMonitor(SessionVecEnv(FlatSessions(env), params, USERS))
        for split in ("online", "evaluation")
        for env, params in [ialp_jax.simulator.make("demo", split=split, data=data)]
    }
    model = DQN(
        "MlpPolicy",
        worlds["online"],
        learning_rate=1e-3,
        buffer_size=20_000,
        learning_starts=1_000,
        train_freq=1,
        gradient_steps=4,
        target_update_interval=500,
        exploration_fraction=0.5,
        gamma=0.9,
        seed=0,
    )
    returns = []
    for untrained in (True, False):
        if not untrained:
            model.learn(steps)
        model.exploration_rate = 1.0 if untrained else 0.0
        found, _ = evaluate_policy(
            model, worlds["evaluation"], n_eval_episodes=128, deterministic=not untrained
        )
        returns.append(float(np.mean(found)))
    return returns[0], returns[1]


if __name__ == "__main__":
    try:
        before, after = main(*map(int, sys.argv[1:2]))
    except (InputError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"return per session: random {before:.2f}, DQN {after:.2f}")
