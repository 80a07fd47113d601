"""Evaluates S seeds of an agent: many sessions at the first and the last point, fewer at the points between.

The sessions form one endless list, see `rollout.users_of`. They are played in equal batches, and a point
between plays only the first batch. So the first batch is *common* to all points.

The users of the common batch may like more or less than all evaluation users. `levelled` removes this
difference from the points between, as in double sampling (Cochran, Sampling Techniques, 1977, chapter 12):

    return(e) = common(e) + d(e),    d = return of all sessions - return of the common sessions.

d is measured at the first and the last point; between them it is interpolated linearly over the env steps. So
a drop below the first point is a drop in the same sessions, and all points describe the same users.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.agents.base import Agent, AgentState, Metrics
from ialp_jax.keys import stream
from ialp_jax.simulator.environment import SessionEnvironment
from ialp_jax.simulator.types import SessionParams
from ialp_jax.training.config import EvaluationConfig
from ialp_jax.training.packing import Row, Rows
from ialp_jax.training.processes import host
from ialp_jax.training.rollout import (
    Episodes,
    Groups,
    play,
    summarise,
    summarise_groups,
    summarise_segments,
)
from ialp_jax.training.seeds import over_seeds
from ialp_jax.types import Array, Key

COMMON = "common/"  # prefix of metrics over the common sessions
# Means over sessions or steps. Other metrics depend on the number of sessions, so they use the common ones.
LEVELLED = ("return", "length", "reward_per_step")

Player = Callable[[SessionParams, Array, AgentState, Key], Episodes]


def player(env: SessionEnvironment, agent: Agent, key: Key, config: EvaluationConfig) -> Player:
    """Returns a function that plays a batch of sessions.

    The function: (params, number of the batch, agent state, key of the seed) -> the sessions. All agents and
    seeds get the same users, whose answers use the same random numbers.
    """

    def played(params: SessionParams, number: Array, state: AgentState, seed_key: Key) -> Episodes:
        return play(
            env,
            params,
            agent,
            state,
            user_key=stream(key, "evaluate"),
            act_key=stream(seed_key, "evaluate"),
            count=config.episodes,
            greedy=config.greedy or agent.evaluated_greedy,
            batch=number,
        )

    return played


def metrics_of(
    episodes: Episodes, params: SessionParams, groups: Groups | None, num_categories: int | None = None
) -> Metrics:
    """Metrics of the sessions of one seed, float32 [] each; with ``groups``, also `summarise_groups`."""
    metrics = summarise(episodes, params.user_model.item_bias.shape[0] - 1)
    by_group = {} if groups is None else summarise_groups(episodes, groups, num_categories)
    return metrics | by_group | summarise_segments(episodes, params)


@functools.partial(jax.jit, static_argnames=("names", "num_categories", "everything"))
def _of_seeds(
    episodes: Episodes,
    params: SessionParams,
    category: Array | None,
    user: Array | None,
    *,
    names: tuple[str, ...],
    num_categories: int,
    everything: bool,
) -> Metrics:
    """`metrics_of` for S seeds, or only the metrics that are levelled. All agents share this program."""
    groups = None if category is None or user is None else Groups(category, user, names)
    metrics = jax.vmap(lambda one: metrics_of(one, params, groups, num_categories))(episodes)
    return {name: values for name, values in metrics.items() if everything or is_levelled(name)}


def batches_of(play_batch: Callable[[Array], Episodes], sessions: int, size: int) -> Episodes:
    """Plays whole batches of ``size`` sessions and joins the first ``sessions`` of them, [..., sessions]."""
    batches = [host(play_batch(jnp.int32(number))) for number in range(-(-sessions // size))]
    return Episodes(*(np.concatenate(parts, -1)[..., :sessions] for parts in zip(*batches, strict=True)))


def measurer(
    play_seed: Player,
    params: tuple[SessionParams, SessionParams],
    config: EvaluationConfig,
    groups: Groups | None,
    how: str,
    mesh: jax.sharding.Mesh | None,
) -> Callable[[AgentState, Key, bool], Row]:
    """Returns a function that evaluates S seeds: (states, keys, whether all sessions count) -> metrics.

    The metrics are [S] each. Metrics in `LEVELLED` are those of all sessions played; with the prefix `COMMON`
    they are those of the common sessions, which are the same at every point.

    Args:
      play_seed: result of `player`.
      params: the evaluation users twice: on the devices of ``mesh``, and in this process's memory.
      config: number of sessions.
      groups: groups of items and users for separate metrics.
      how, mesh: how seeds and users share the devices, see `over_seeds`.
    """
    placed, local = params
    play_batch = over_seeds(play_seed, how, shared=2, mesh=mesh)
    metrics = functools.partial(
        _of_seeds,
        params=local,
        category=None if groups is None else groups.category,
        user=None if groups is None else groups.user,
        names=() if groups is None else groups.names,
        num_categories=1 if groups is None else groups.num_categories,
    )

    def measure(states: AgentState, keys: Key, everything: bool) -> Row:
        sessions = config.at_ends if everything else config.episodes
        episodes = batches_of(
            lambda number: play_batch(placed, number, states, keys), sessions, config.episodes
        )
        first = jax.tree.map(lambda leaf: leaf[..., : config.episodes], episodes)
        common = host(metrics(first, everything=True))
        of_all = {name: values for name, values in common.items() if is_levelled(name)}
        of_common = {COMMON + name: values for name, values in of_all.items()}
        if sessions > config.episodes:
            of_all = host(metrics(episodes, everything=False))
        return common | of_all | of_common

    return measure


def is_levelled(name: str) -> bool:
    """Whether a metric, maybe of a group of users, is a mean over sessions or steps."""
    return name.partition("/")[0] in LEVELLED


def levelled(points: Sequence[int], rows: Rows) -> dict[str, np.ndarray]:
    """Evaluation curves [S, E], corrected so that all points are about the same users, see the module.

    Args:
      points: env steps of the E rows; the first and the last row are of all sessions.
      rows: results of `measurer`.
    """
    curves = {metric: np.stack([row[metric] for row in rows], 1) for metric in rows[0]}
    share = np.asarray(points, np.float64)
    share = (share - share[0]) / max(share[-1] - share[0], 1)
    for name in [name for name in curves if name.startswith(COMMON)]:
        common = curves.pop(name)
        whole = curves[name.removeprefix(COMMON)]
        gap = whole - common
        between = common + gap[:, :1] * (1 - share) + gap[:, -1:] * share
        whole[:, 1:-1] = between[:, 1:-1]
    return curves
