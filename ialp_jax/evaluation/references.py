"""Measures reference policies (random, popular, oracle) in a world, as a scale for other policies."""

from __future__ import annotations

import jax
import numpy as np

from ialp_jax.agents.base import Agent
from ialp_jax.keys import stream
from ialp_jax.simulator.world import World
from ialp_jax.training.rollout import play, summarise_segments
from ialp_jax.types import EVALUATION, Key


def reference_returns(world: World, agents: dict[str, Agent], key: Key, episodes: int) -> dict[str, float]:
    """Lets agents that do not learn play complete sessions with the evaluation users of a world.

    Args:
      world: the world; only its evaluation users are used.
      agents: agents by name.
      key: consumed.
      episodes: number of sessions per agent; all agents meet the same users.

    Returns:
      ``<name>_return``, ``<name>_return_ci_low``, ``<name>_return_ci_high`` (mean over sessions and its
      95 % interval by the normal approximation) and ``<name>_length``. If users have segments, also
      ``<name>_return/<segment>`` and ``<name>_length/<segment>``.
    """
    params = world.of(EVALUATION)
    metrics: dict[str, float] = {}
    for name, agent in agents.items():
        state = agent.init(stream(key, "init"), world.env.reset(stream(key, "reset"), params)[0], None)
        act_key, user_key = stream(key, "act"), stream(key, "user")
        run = jax.jit(lambda p, s, a, u, agent=agent: play(world.env, p, agent, s, u, a, episodes))
        sessions = run(params, state, act_key, user_key)
        total = np.asarray(sessions.total, np.float64)
        half = 1.96 * total.std(ddof=1) / np.sqrt(len(total)) if len(total) > 1 else float("nan")
        metrics |= {
            f"{name}_return": float(total.mean()),
            f"{name}_return_ci_low": float(total.mean() - half),
            f"{name}_return_ci_high": float(total.mean() + half),
            f"{name}_length": float(np.mean(sessions.length)),
        }
        by_segment = summarise_segments(sessions, params)
        metrics |= {f"{name}_{metric}": float(value) for metric, value in by_segment.items()}
    return metrics
