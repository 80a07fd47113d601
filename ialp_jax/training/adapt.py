"""Online adaptation: the same loop for every agent, all seeds in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from ialp_jax.agents.base import Agent, AgentState, Metrics, Params
from ialp_jax.errors import InputError, NotFiniteError
from ialp_jax.keys import stream
from ialp_jax.mesh import device_mesh
from ialp_jax.simulator.environment import SessionEnvironment
from ialp_jax.simulator.types import SessionParams
from ialp_jax.training.checkpoint import Checkpoints, Rows
from ialp_jax.training.config import UNIT, AdaptConfig, DevicesConfig, EvaluationConfig
from ialp_jax.training.processes import host
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
from ialp_jax.training.seeds import over_seeds, placed, seed_keys
from ialp_jax.training.watch import Watch
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


class Progress(NamedTuple):
    """Where an adaptation stands.

    Attributes:
      unit: how many times `UNIT` env steps are done.
      states, users: of the agent and the environment, [S, ...].
      rows: metrics of each evaluation so far, [S] each.
      logs: mean metrics of learning in each unit, [S] each.
      clock: ``seconds`` of each unit, all seeds together.
    """

    unit: int
    states: AgentState
    users: Users
    rows: Rows
    logs: Rows
    clock: Rows

    def offer(self, checkpoints: Checkpoints | None) -> None:
        """Lets it be saved where it is time."""
        if checkpoints is not None:
            checkpoints.offer(self.unit * UNIT, (self.states, self.users), self._tables())

    def keep(self, checkpoints: Checkpoints) -> Path:
        """Saves it."""
        return checkpoints.save(self.unit * UNIT, (self.states, self.users), self._tables())

    def _tables(self) -> dict[str, Rows]:
        return {"rows": self.rows, "logs": self.logs, "clock": self.clock}

    def restored(self, checkpoints: Checkpoints | None) -> Progress:
        """What was saved last, or the beginning."""
        saved = checkpoints and checkpoints.restore((self.states, self.users))
        return Progress(saved.step // UNIT, *saved.state, **self._tables() | saved.tables) if saved else self


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
    checkpoints: Checkpoints | None = None,
    watch: Watch | None = None,
    devices: DevicesConfig | None = None,
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
      checkpoints: where it saves itself, and goes on from if it did; on a CPU to the same bits.
      watch: is told of every evaluation, and of learning after each `UNIT`.
      devices: how several share the work; by default one does it alone.

    Returns:
      ``env_steps`` int64 [E]; ``return``, ``length``, ``reward_per_step``, ``coverage``, ``gini`` float32
      [S, E]; with ``groups`` ``category_entropy`` and ``return/<group>``; where users have segments also
      ``return/<segment>`` and ``length/<segment>``; and
      each metric of learning as ``learn/<metric>``, mean since the point before, [S, E] (first: NaN).

    Raises:
      NotFiniteError: a metric of learning became NaN or infinite; names step, seed and metric, and where the
        state before is kept.
      Terminated: the process was asked to end, and all is saved.
    """
    keys, by = seed_keys(key, num_seeds), adapt_config.seeds_by
    batch = agent.num_users if agent.update else evaluation_config.episodes
    mesh = devices and device_mesh(devices.seeds, devices.users, num_seeds, batch)
    evaluate = over_seeds(evaluator(env, agent, key, evaluation_config, groups), by, shared=1, mesh=mesh)
    seen, met = placed(evaluation, mesh), placed(online, mesh)

    def evaluated(states: AgentState) -> dict[str, np.ndarray]:
        return host(evaluate(seen, states, keys))

    states = _initial_states(env, online, agent, keys, pretrained)
    points = [0, adapt_config.env_steps]
    if agent.update is None:
        rows = [evaluated(states)] * 2
        _tell(watch, points, rows)
        return _curves(points, rows, [])
    points = evaluation_points(adapt_config.env_steps, evaluation_config.points)
    chunk = over_seeds(_chunk(env, agent), by, shared=1, mesh=mesh)
    users = jax.vmap(lambda k: start_users(env, online, stream(k, "user"), agent.num_users))(keys)
    now = Progress(0, states, users, [], [], []).restored(checkpoints)
    if not now.rows:
        now.rows.append(evaluated(now.states))
    _tell(watch, points, now.rows)
    for number in range(now.unit):
        _tell_unit(watch, number + 1, now.logs[number], now.clock[number])
    total = adapt_config.env_steps
    bar = tqdm(total=total, initial=now.unit * UNIT, desc=f"adapt {name}", unit="step", unit_scale=True)
    with bar:
        while now.unit * UNIT < total:
            began = time.perf_counter()
            chunk_keys = jax.vmap(lambda k, unit=now.unit: stream(k, "learn", unit))(keys)
            states, users, metrics = chunk(met, now.states, now.users, chunk_keys)
            now.logs.append(_checked(metrics, name, now, checkpoints))
            now.clock.append({"seconds": np.float64(time.perf_counter() - began)})
            now = now._replace(unit=now.unit + 1, states=states, users=users)
            _tell_unit(watch, now.unit, now.logs[-1], now.clock[-1])
            bar.update(UNIT)
            if now.unit * UNIT in points:
                now.rows.append(evaluated(now.states))
                _tell(watch, [now.unit * UNIT], now.rows[-1:])
                bar.set_postfix({"return": f"{float(now.rows[-1]['return'].mean()):.2f}"})
            now.offer(checkpoints)
    return _curves(points, now.rows, now.logs)


def _tell(watch: Watch | None, points: list[int], rows: Rows) -> None:
    """Shows evaluations."""
    for point, row in zip(points, rows, strict=False) if watch else ():
        watch.tell(point, {f"evaluation/{metric}": values for metric, values in row.items()})


def _tell_unit(
    watch: Watch | None, unit: int, log: dict[str, np.ndarray], clock: dict[str, np.ndarray]
) -> None:
    """Shows what a unit taught, and its throughput over all seeds."""
    if watch:
        seeds = len(next(iter(log.values())))
        rate = np.full(seeds, seeds * UNIT / clock["seconds"])
        learned = {f"learn/{metric}": values for metric, values in log.items()}
        watch.tell(unit * UNIT, {**learned, "throughput/env_steps_per_second": rate})


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


def _checked(
    metrics: Metrics, name: str, before: Progress, checkpoints: Checkpoints | None
) -> dict[str, np.ndarray]:
    """The metrics on the host, [S] each.

    At the first that is not finite, what was before is saved, and NotFiniteError raised.
    """
    found = host(metrics)
    for metric, values in found.items():
        if not np.isfinite(values).all():
            seed = int(np.flatnonzero(~np.isfinite(values))[0])
            kept = f"; the state before is in {before.keep(checkpoints)}" if checkpoints else ""
            raise NotFiniteError(
                f"{name}: {metric} is {values[seed]} at {(before.unit + 1) * UNIT} env steps, seed {seed}; "
                f"lower the agent's learning_rate or max_gradient_norm{kept}"
            )
    return found


def _curves(points: list[int], rows: Rows, logs: Rows) -> dict[str, np.ndarray]:
    """Stacks what was measured at each point, and the means of what was learned between two, into [S, E]."""
    curves = {metric: np.stack([row[metric] for row in rows], 1) for metric in rows[0]}
    for metric in logs[0] if logs else ():
        means = [
            np.mean([log[metric] for log in logs[a // UNIT : b // UNIT]], 0) for a, b in pairwise(points)
        ]
        curves[f"learn/{metric}"] = np.stack([np.full_like(means[0], np.nan), *means], 1)
    return {"env_steps": np.asarray(points, np.int64), **curves}
