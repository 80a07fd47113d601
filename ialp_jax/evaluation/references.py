"""Measures reference policies (random, popular, oracle) in a world, as a scale for other policies."""

from __future__ import annotations

import functools

import jax
import numpy as np

from ialp_jax.agents.base import Agent
from ialp_jax.evaluation.sanity import ORDER
from ialp_jax.keys import stream
from ialp_jax.simulator.world import World
from ialp_jax.training.rollout import play, summarise_segments
from ialp_jax.training.sessions import batches_of
from ialp_jax.types import EVALUATION, Key

AT_ONCE = 256  # sessions in parallel


def reference_returns(world: World, agents: dict[str, Agent], key: Key, sessions: int) -> dict[str, float]:
    """Lets agents that do not learn play complete sessions with the evaluation users of a world.

    Args:
      world: the world; only its evaluation users are used.
      agents: agents by name.
      key: consumed.
      sessions: number of sessions per agent. All agents meet the same users, and each user has as equally
        many sessions as possible, see `rollout.users_of`.

    Returns:
      ``<name>_return``, ``<name>_return_ci_low``, ``<name>_return_ci_high`` (mean over sessions and its
      95 % interval over users, see `interval_over_users`) and ``<name>_length``. If users have segments, also
      ``<name>_return/<segment>`` and ``<name>_length/<segment>``. For the pairs in `sanity.ORDER`,
      ``<better>_above_<worse>`` with ``_ci_low`` and ``_ci_high``: the difference of their returns, with an
      interval over users. All agents meet the same users, so this interval is narrower than the two others.
    """
    params = world.of(EVALUATION)
    act_key, user_key, size = stream(key, "act"), stream(key, "user"), min(sessions, AT_ONCE)
    metrics: dict[str, float] = {}
    totals: dict[str, np.ndarray] = {}
    for name, agent in agents.items():
        state = agent.init(stream(key, "init"), world.env.reset(stream(key, "reset"), params)[0], None)
        run = jax.jit(lambda p, s, a, u, n, agent=agent: play(world.env, p, agent, s, u, a, size, batch=n))
        play_batch = functools.partial(run, params, state, act_key, user_key)
        episodes = batches_of(play_batch, sessions, size)
        totals[name], user = np.asarray(episodes.total), np.asarray(episodes.user)
        metrics |= _with_interval(f"{name}_return", totals[name], user)
        metrics[f"{name}_length"] = float(np.mean(episodes.length))
        by_segment = summarise_segments(episodes, params)
        metrics |= {f"{name}_{metric}": float(value) for metric, value in by_segment.items()}
    for better, worse, _ in ORDER:
        if better in totals and worse in totals:
            metrics |= _with_interval(f"{better}_above_{worse}", totals[better] - totals[worse], user)
    return metrics


def _with_interval(name: str, total: np.ndarray, user: np.ndarray) -> dict[str, float]:
    """The mean of numbers of sessions, ``name``, and its interval, ``name_ci_low`` and ``name_ci_high``."""
    mean, half = interval_over_users(total, user)
    return {name: mean, f"{name}_ci_low": mean - half, f"{name}_ci_high": mean + half}


def interval_over_users(total: np.ndarray, user: np.ndarray) -> tuple[float, float]:
    """The mean over sessions, and half of its 95 % interval over users by the normal approximation.

    Sessions of one user are alike, so the interval is computed from the mean of each user.

    Args:
      total: float [E], return of each session.
      user: int [E], the user of each session; all users have about equally many.

    Returns:
      Mean and half-width of the interval. The half-width is NaN if there is only one user.
    """
    _, owner, count = np.unique(user, return_inverse=True, return_counts=True)
    means = np.bincount(owner, total) / count
    half = 1.96 * means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else float("nan")
    return float(np.mean(total, dtype=np.float64)), float(half)
