"""Online adaptation: one training procedure for all agents, with all seeds in one process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.agents.base import Agent, AgentState, Metrics, Params
from ialp_jax.errors import InputError
from ialp_jax.keys import stream
from ialp_jax.mesh import device_mesh
from ialp_jax.simulator.environment import SessionEnvironment
from ialp_jax.simulator.types import SessionParams
from ialp_jax.training import kept as kept_states
from ialp_jax.training.config import UNIT, AdaptConfig, DevicesConfig, EvaluationConfig
from ialp_jax.training.kept import BEST, LAST, NONE, Kept
from ialp_jax.training.loop import ONLY_BAR, Hooks, Training, show_evaluation, train
from ialp_jax.training.packing import Row, Rows
from ialp_jax.training.rollout import Groups, Users, collect, start_users
from ialp_jax.training.seeds import over_seeds, placed, seed_keys
from ialp_jax.training.sessions import COMMON, levelled, measurer, metrics_of, player
from ialp_jax.types import Key

EARLY_POINTS = (0, 1, 2, 3, 5, 7, 10, 15, 20)  # thousands of env steps


@dataclasses.dataclass(frozen=True)
class OnlineTask:
    """Settings and inputs of a comparison, which are the same for all compared agents.

    Attributes:
      env: the environment of the world.
      online: parameters of the world, with the users from whom the agent learns.
      evaluation: parameters of the world, with the users on whom the agent is evaluated.
      key: key of the run, from which the key of each purpose and seed is derived.
      num_seeds: S.
      adapt_config: number of env steps, and how seeds share a device.
      evaluation_config: sessions and points of evaluation.
      groups: groups of items and users for which metrics are reported separately.
      devices: how several devices share the work; None: one device.
    """

    env: SessionEnvironment
    online: SessionParams
    evaluation: SessionParams
    key: Key
    num_seeds: int
    adapt_config: AdaptConfig
    evaluation_config: EvaluationConfig
    groups: Groups | None = None
    devices: DevicesConfig | None = None


class Adapted(NamedTuple):
    """What an adaptation leaves.

    Attributes:
      curves: see `adapt`.
      kept: states of the seeds as ``adapt_config.keep`` asks; None if it asks for none.
    """

    curves: dict[str, np.ndarray]
    kept: Kept | None


def evaluation_points(env_steps: int, points: int) -> list[int]:
    """Env steps at which policies are evaluated: fixed early points, then evenly spaced points to the end.

    Args:
      env_steps: a multiple of `UNIT`.
      points: approximate number of all points; the early points are always included.
    """
    early = [UNIT * point for point in EARLY_POINTS if UNIT * point < env_steps]
    later = max(1, points - len(early))
    ends = np.linspace(early[-1], env_steps, later + 1)[1:]
    return sorted({*early, *(round(end / UNIT) * UNIT for end in ends)})


def evaluator(
    env: SessionEnvironment, agent: Agent, key: Key, config: EvaluationConfig, groups: Groups | None = None
) -> Callable[[SessionParams, AgentState, Key], Metrics]:
    """Returns a function: (params, agent state, key of the seed) -> metrics of ``config.episodes`` sessions.

    All agents and seeds get the same users, whose answers use the same random numbers. With ``groups``, the
    metrics of `summarise_groups` are included.
    """
    play_batch = player(env, agent, key, config)

    def evaluate(params: SessionParams, state: AgentState, seed_key: Key) -> Metrics:
        return metrics_of(play_batch(params, jnp.int32(0), state, seed_key), params, groups)

    return evaluate


def adapt(
    task: OnlineTask,
    agent: Agent,
    pretrained: Params | None = None,
    name: str = "",
    hooks: Hooks = ONLY_BAR,
) -> dict[str, np.ndarray]:
    """Trains and evaluates like `adapted`, but keeps no states.

    Returns:
      ``env_steps`` int64 [E]; ``return``, ``length``, ``reward_per_step``, ``coverage``, ``gini`` float32
      [S, E], see `sessions.levelled`; with ``groups``, also ``category_entropy`` and ``return/<group>``; if
      users have segments, also ``return/<segment>`` and ``length/<segment>``. ``learn/<metric>`` [S, E] is
      the mean of a learning metric since the previous point (NaN at the first point).
    """
    no_states = dataclasses.replace(task.adapt_config, keep=NONE)
    return adapted(dataclasses.replace(task, adapt_config=no_states), agent, pretrained, name, hooks).curves


def adapted(
    task: OnlineTask,
    agent: Agent,
    pretrained: Params | None = None,
    name: str = "",
    hooks: Hooks = ONLY_BAR,
) -> Adapted:
    """Trains S seeds of an agent on online users and evaluates them on evaluation users.

    Args:
      task: world, users, seeds, env steps, evaluation, and which states are kept.
      agent: the learner. An agent without ``update`` is evaluated once, and this result is the first and the
        last point of its curve.
      pretrained: initial parameters of the agent, [S, ...]; None: the agent initialises its own.
      name: name in messages and in the progress bar.
      hooks: checkpoints, TensorBoard and progress bar.

    Raises:
      NotFiniteError, Terminated, InputError: see `loop.train`.
    """
    keys, seeds_by = seed_keys(task.key, task.num_seeds), task.adapt_config.seeds_by
    batch = agent.num_users if agent.update else task.evaluation_config.episodes
    mesh = None
    if task.devices:
        mesh = device_mesh(task.devices.seeds, task.devices.users, task.num_seeds, batch)
    evaluation, online = placed(task.evaluation, mesh), placed(task.online, mesh)
    play_seed, sizes = player(task.env, agent, task.key, task.evaluation_config), task.evaluation_config
    measure = measurer(play_seed, (evaluation, task.evaluation), sizes, task.groups, seeds_by, mesh)
    states, env_steps = _initial_states(task, agent, keys, pretrained), task.adapt_config.env_steps
    rule = task.adapt_config.keep
    read = [] if rule == NONE else kept_states.read_by_act(agent, task.env, task.evaluation, states)
    if agent.update is None:
        row, ends = measure(states, keys, True), [0, env_steps]
        for point in ends:
            show_evaluation(hooks.watch, point, row)
        kept = None if rule == NONE else kept_states.taken(states, read, row["return"], 0)
        return Adapted(_curves(ends, [row, row], []), kept)
    learn = over_seeds(_unit(task.env, agent), seeds_by, shared=1, mesh=mesh)

    def step(number: int, state: Learning) -> tuple[Learning, Metrics]:
        unit_keys = jax.vmap(lambda key: stream(key, "learn", number))(keys)
        states, users, metrics = learn(online, state.agent, state.users, unit_keys)
        return Learning(states, users, state.best), metrics

    def with_best(state: Learning, unit: int, row: Row) -> Learning:
        new = kept_states.taken(state.agent, read, row[COMMON + "return"], unit * UNIT)
        return state._replace(best=kept_states.better(state.best, new))

    points = evaluation_points(env_steps, task.evaluation_config.points)
    training = Training(
        name=f"adapt {name}",
        units=env_steps // UNIT,
        size=UNIT,
        counted="env steps",
        step=step,
        evaluate=lambda unit, state: measure(state.agent, keys, unit * UNIT in (0, env_steps)),
        evaluated=with_best if rule == BEST else lambda state, unit, row: state,
        points=[point // UNIT for point in points],
        remedy="lower the agent's learning_rate or max_gradient_norm",
    )
    users = jax.vmap(lambda key: start_users(task.env, task.online, stream(key, "user"), agent.num_users))
    # Before the first evaluation, the best return is below every other.
    best = kept_states.taken(states, read, np.full(task.num_seeds, -np.inf), 0) if rule == BEST else None
    progress = train(training, Learning(states, users(keys), best), hooks)
    kept = progress.state.best
    if rule == LAST:
        kept = kept_states.taken(progress.state.agent, read, progress.evaluations[-1]["return"], env_steps)
    return Adapted(_curves(points, progress.evaluations, progress.learning), kept)


class Learning(NamedTuple):
    """The state of an adaptation of S seeds.

    Attributes:
      agent: state of the agent, [S, ...].
      users: the online users, [S, B, ...].
      best: the best states so far; None if they are not kept.
    """

    agent: AgentState
    users: Users
    best: Kept | None = None


def _initial_states(task: OnlineTask, agent: Agent, keys: Key, pretrained: Params | None) -> AgentState:
    """The initial state of the agent for each seed, [S, ...]."""
    observation, _ = task.env.reset(keys[0], task.online)
    if pretrained is None:
        return jax.vmap(lambda key: agent.init(stream(key, "init"), observation, None))(keys)
    return jax.vmap(lambda key, params: agent.init(stream(key, "init"), observation, params))(
        keys, pretrained
    )


def _unit(env: SessionEnvironment, agent: Agent) -> Callable[..., Any]:
    """Returns a function that trains one seed for `UNIT` env steps.

    The function: (params, state, users, key) -> (state, users, mean metrics).
    """
    learn = agent.update
    assert learn is not None
    steps_per_update = agent.num_users * agent.rollout_length
    if UNIT % steps_per_update:
        raise InputError(
            f"num_users * rollout_length = {steps_per_update} of an agent must divide {UNIT} env steps"
        )

    def unit(
        params: SessionParams, state: AgentState, users: Users, key: Key
    ) -> tuple[AgentState, Users, Metrics]:
        def update(carry: tuple[AgentState, Users], key: Key) -> tuple[tuple[AgentState, Users], Metrics]:
            state, users = carry
            users, transitions = collect(env, params, agent, state, users, stream(key, "collect"))
            state, metrics = learn(state, transitions, stream(key, "update"))
            return (state, users), metrics

        keys = jax.random.split(key, UNIT // steps_per_update)
        (state, users), metrics = jax.lax.scan(update, (state, users), keys)
        return state, users, jax.tree.map(jnp.mean, metrics)

    return unit


def _curves(points: list[int], evaluations: Rows, learning: Rows) -> dict[str, np.ndarray]:
    """Curves [S, E]: `levelled` evaluation metrics by point, and means of learning metrics between points."""
    curves = levelled(points, evaluations)
    for metric in learning[0] if learning else ():
        means = [
            np.mean([row[metric] for row in learning[a // UNIT : b // UNIT]], 0) for a, b in pairwise(points)
        ]
        curves[f"learn/{metric}"] = np.stack([np.full_like(means[0], np.nan), *means], 1)
    return {"env_steps": np.asarray(points, np.int64), **curves}
