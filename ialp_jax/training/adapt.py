"""Online adaptation: the same loop for every agent, all seeds in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from ialp_jax.agents.base import Agent, AgentState, Metrics, Params
from ialp_jax.errors import InputError, NotFiniteError
from ialp_jax.keys import stream
from ialp_jax.simulator.environment import SessionEnvironment, SessionParams
from ialp_jax.training.config import UNIT, AdaptConfig, EvaluationConfig
from ialp_jax.training.rollout import (
    Groups,
    Users,
    collect,
    play,
    start_users,
    summarise,
    summarise_groups,
    summarise_segments,
)
from ialp_jax.training.seeds import over_seeds, seed_keys
from ialp_jax.types import Key

EARLY_POINTS = (0, 1, 2, 3, 5, 7, 10, 15, 20)  # thousands of env steps


def evaluation_points(env_steps: int, points: int) -> list[int]:
    """Env steps at which policies are evaluated: the early points, then evenly, always the last.

    Args:
      env_steps: a multiple of `UNIT`.
      points: how many there are to be in all, about; at least the early ones stay.
    """
    early = [UNIT * point for point in EARLY_POINTS if UNIT * point < env_steps]
    later = max(1, points - len(early))
    ends = np.linspace(early[-1], env_steps, later + 1)[1:]
    return sorted({*early, *(round(end / UNIT) * UNIT for end in ends)})


def evaluator(
    env: SessionEnvironment, agent: Agent, key: Key, config: EvaluationConfig, groups: Groups | None = None
) -> Callable[[SessionParams, AgentState, Key], Metrics]:
    """(params, agent state, seed's key) -> metrics of whole sessions with fixed users and answers.

    With ``groups`` also those of `summarise_groups`.
    """

    def evaluate(params: SessionParams, state: AgentState, seed_key: Key) -> Metrics:
        episodes = play(
            env,
            params,
            agent,
            state,
            user_key=stream(key, "evaluate"),
            act_key=stream(seed_key, "evaluate"),
            count=config.episodes,
            greedy=config.greedy or agent.evaluated_greedy,
        )
        metrics = summarise(episodes, params.user_model.item_bias.shape[0] - 1)
        grouped = {} if groups is None else summarise_groups(episodes, groups)
        return metrics | grouped | summarise_segments(episodes, params)

    return evaluate


def adapt(
    env: SessionEnvironment,
    online: SessionParams,
    evaluation: SessionParams,
    agent: Agent,
    key: Key,
    num_seeds: int,
    adapt_config: AdaptConfig,
    evaluation_config: EvaluationConfig,
    pretrained: Params | None = None,
    name: str = "",
    groups: Groups | None = None,
) -> dict[str, np.ndarray]:
    """Trains S seeds of an agent on online users and evaluates them on evaluation users.

    Args:
      env: the world's environment.
      online: with the users met while learning.
      evaluation: with the users met in evaluation.
      agent: what learns; one without ``update`` is evaluated at the first point and stands for the last.
      key: of the run; streams are derived by purpose and seed.
      num_seeds: S.
      adapt_config: env steps, how seeds are mapped.
      evaluation_config: episodes, points.
      pretrained: parameters [S, ...] to start from, if any.
      name: for the progress bar.
      groups: of items and users, by which evaluation is broken down.

    Returns:
      ``env_steps`` int64 [E]; ``return``, ``length``, ``reward_per_step``, ``coverage``, ``gini`` float32
      [S, E]; with ``groups`` ``category_entropy`` and ``return/<group>``; where users have segments also
      ``return/<segment>`` and ``length/<segment>``; and
      each metric of learning as ``learn/<metric>``, mean since the point before, [S, E] (first: NaN).

    Raises:
      NotFiniteError: a metric of learning became NaN or infinite; names step, seed and metric.
    """
    keys = seed_keys(key, num_seeds)
    evaluate = over_seeds(
        evaluator(env, agent, key, evaluation_config, groups), adapt_config.seeds_by, shared=1
    )
    states = _initial_states(env, online, agent, keys, pretrained)
    rows = [evaluate(evaluation, states, keys)]
    points = [0, adapt_config.env_steps]
    if agent.update is None:
        return _curves(points, [*rows, *rows], [])
    points = evaluation_points(adapt_config.env_steps, evaluation_config.points)
    chunk = over_seeds(_chunk(env, agent), adapt_config.seeds_by, shared=1)
    users = jax.vmap(lambda k: start_users(env, online, stream(k, "user"), agent.num_users))(keys)
    learned, logs, unit = [], [], 0
    with tqdm(total=adapt_config.env_steps, desc=f"adapt {name}", unit="step", unit_scale=True) as bar:
        for point in points[1:]:
            while unit * UNIT < point:
                chunk_keys = jax.vmap(lambda k, unit=unit: stream(k, "learn", unit))(keys)
                states, users, metrics = chunk(online, states, users, chunk_keys)
                unit += 1
                logs.append(_checked(metrics, name, unit * UNIT))
                bar.update(UNIT)
            rows.append(evaluate(evaluation, states, keys))
            learned.append({k: np.mean([log[k] for log in logs], 0) for k in logs[0]})
            logs = []
            bar.set_postfix({"return": f"{float(rows[-1]['return'].mean()):.2f}"})
    return _curves(points, rows, learned)


def _initial_states(
    env: SessionEnvironment, params: SessionParams, agent: Agent, keys: Key, pretrained: Params | None
) -> AgentState:
    """The agent's state per seed, [S, ...]."""
    observation, _ = env.reset(keys[0], params)
    if pretrained is None:
        return jax.vmap(lambda k: agent.init(stream(k, "init"), observation, None))(keys)
    return jax.vmap(lambda k, p: agent.init(stream(k, "init"), observation, p))(keys, pretrained)


def _chunk(env: SessionEnvironment, agent: Agent) -> Callable[..., Any]:
    """`UNIT` env steps of one seed: (params, state, users, key) -> (state, users, mean metrics)."""
    steps_per_update = agent.num_users * agent.rollout_length
    if UNIT % steps_per_update:
        raise InputError(
            f"num_users * rollout_length = {steps_per_update} of an agent must divide {UNIT} env steps"
        )

    def chunk(
        params: SessionParams, state: AgentState, users: Users, key: Key
    ) -> tuple[AgentState, Users, Metrics]:
        def update(carry: tuple[AgentState, Users], key: Key) -> tuple[tuple[AgentState, Users], Metrics]:
            state, users = carry
            users, transitions = collect(env, params, agent, state, users, stream(key, "collect"))
            state, metrics = agent.update(state, transitions, stream(key, "update"))
            return (state, users), metrics

        keys = jax.random.split(key, UNIT // steps_per_update)
        (state, users), metrics = jax.lax.scan(update, (state, users), keys)
        return state, users, jax.tree.map(jnp.mean, metrics)

    return chunk


def _checked(metrics: Metrics, name: str, env_steps: int) -> dict[str, np.ndarray]:
    """The metrics on the host, [S] each. Raises NotFiniteError at the first that is not finite."""
    host = {metric: np.asarray(values) for metric, values in metrics.items()}
    for metric, values in host.items():
        if not np.isfinite(values).all():
            seed = int(np.flatnonzero(~np.isfinite(values))[0])
            raise NotFiniteError(
                f"{name}: {metric} is {values[seed]} at {env_steps} env steps, seed {seed}; "
                "lower the agent's learning_rate or max_gradient_norm"
            )
    return host


def _curves(
    points: list[int], rows: list[Metrics], learned: list[dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Stacks what was measured at each point into [S, E]."""
    curves = {metric: np.stack([np.asarray(row[metric]) for row in rows], 1) for metric in rows[0]}
    if learned:
        for metric in learned[0]:
            values = [np.full_like(learned[0][metric], np.nan), *(row[metric] for row in learned)]
            curves[f"learn/{metric}"] = np.stack(values, 1)
    return {"env_steps": np.asarray(points, np.int64), **curves}
