"""Keeps the states of agents after adaptation: chooses, saves and loads the arrays that acting needs.

Replay buffers, the state of the optimiser and target networks are not kept, because acting does not read
them. So a kept state can act, but it cannot go on learning.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as tensors

from ialp_jax import store
from ialp_jax.agents.base import Agent, AgentState
from ialp_jax.errors import InputError, one_line
from ialp_jax.needed import needed
from ialp_jax.simulator.environment import SessionEnvironment
from ialp_jax.simulator.types import SessionParams
from ialp_jax.training.packing import is_key
from ialp_jax.training.processes import host

NONE, LAST, BEST = "none", "last", "best"  # values of ``adapt.keep``
ENTRY, FOLDER = "states", "states"  # entry of the part's manifest, and subfolder of the part


class Kept(NamedTuple):
    """States of S seeds.

    Attributes:
      arrays: path in the agent's state -> array [S, ...]; only the arrays that ``act`` reads.
      returns: float32 [S], mean return of the evaluation sessions with these states.
      env_steps: int32 [S], env steps of adaptation before these states.
    """

    arrays: dict[str, np.ndarray]
    returns: np.ndarray
    env_steps: np.ndarray


def read_by_act(
    agent: Agent, env: SessionEnvironment, params: SessionParams, states: AgentState
) -> list[str]:
    """Paths of the arrays in an agent's state on which its actions and their extras depend.

    Args:
      agent: its ``act`` is traced, but not run.
      env, params: a world, for the shapes of an observation.
      states: states of S seeds, or their shapes.
    """
    state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), states)
    one_key = jax.random.split(jax.random.key(0), 1)
    users = jax.eval_shape(jax.vmap(env.reset, in_axes=(0, None)), one_key, params)
    observed = users if agent.privileged else users[0]
    read = set().union(*(_read(agent, state, observed, greedy) for greedy in (False, True)))
    return [name for name in _names(state) if name in read]


def _read(agent: Agent, state: AgentState, observed: Any, greedy: bool) -> set[str]:
    """`read_by_act` for one value of ``greedy``; ``state`` and ``observed`` may be shapes."""
    act = functools.partial(agent.act, greedy=greedy)
    traced = jax.make_jaxpr(act)(state, observed, jax.random.key(0)).jaxpr
    _, variables = needed(traced)
    names = _names(state)
    inputs = traced.invars[: len(names)]  # the arrays of the state come first
    return {name for name, variable in zip(names, inputs, strict=True) if variable in variables}


def taken(states: AgentState, names: list[str], returns: np.ndarray, env_steps: int) -> Kept:
    """Copies the named arrays of S states to this process's memory. All processes must call `taken`."""
    leaves = dict(zip(_names(states), jax.tree.leaves(states), strict=True))
    chosen = {name: leaves[name] for name in names}
    data = {name: jax.random.key_data(leaf) if is_key(leaf) else leaf for name, leaf in chosen.items()}
    returns = np.array(returns, np.float32)
    return Kept(host(data), returns, np.full(len(returns), env_steps, np.int32))


def better(old: Kept, new: Kept) -> Kept:
    """For each seed, the states with the higher return; the older ones if the returns are equal."""
    wins = new.returns > old.returns

    def chosen(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(wins.reshape(-1, *[1] * (a.ndim - 1)), b, a)

    return jax.tree.map(chosen, old, new)


def save(folder: Path, kept: Kept) -> dict[str, Any]:
    """Writes ``seed<k>.safetensors`` for each seed to a new folder; returns an entry for a manifest."""
    folder.mkdir()
    seeds = []
    for seed, (returned, env_steps) in enumerate(zip(kept.returns, kept.env_steps, strict=True)):
        file = folder / f"seed{seed}.safetensors"
        arrays = {name: np.array(array[seed], order="C") for name, array in kept.arrays.items()}
        file.write_bytes(tensors.save(arrays))
        seeds.append({"seed": seed, "return": float(returned), "env_steps": int(env_steps)})
    return {"seeds": seeds, "bytes": sum(file.stat().st_size for file in folder.iterdir())}


def load(
    part: Path,
    name: str,
    agent: Agent,
    env: SessionEnvironment,
    params: SessionParams,
    catalogue: Mapping[str, Any],
) -> AgentState:
    """Reads the states of S seeds, from which the agent can act.

    Arrays that ``act`` does not read are zeros, so the states cannot go on learning.

    Args:
      part: the folder ``adapt/<name>`` of a run.
      name: id of the agent.
      agent: the agent, with the settings of that run.
      env, params: the world in which the agent shall act.
      catalogue: facts about the catalogue of this world, see `labelling.label_files.catalogue_facts`.

    Returns:
      The states, [S, ...]; ``agent.act`` takes the state of one seed.

    Raises:
      InputError: the run has kept no states, the files are damaged, or the states belong to another agent or
        catalogue, or have another shape.
    """
    manifest = store.verify(part)
    entry = manifest.get(ENTRY)
    if not isinstance(entry, dict) or not entry.get("seeds"):
        raise InputError(f"{part}: no states are kept here; run --stage=adapt with --config.adapt.keep=last")
    if manifest.get("agent") != name:
        raise InputError(f"{part}: states of the agent {manifest.get('agent')!r}, not of {name!r}")
    if entry.get("catalogue") != dict(catalogue):
        raise InputError(
            f"{part}: states for another catalogue, {_words(entry.get('catalogue'))}, not {_words(catalogue)}"
        )
    files = [part / FOLDER / f"seed{seed}.safetensors" for seed in range(len(entry["seeds"]))]
    try:
        seeds = [tensors.load(file.read_bytes()) for file in files]
    except (OSError, SafetensorError) as error:
        raise InputError(f"{part / FOLDER}: not readable ({one_line(str(error))})") from None
    like = _like(agent, env, params, len(seeds))
    return _filled(part, like, set(read_by_act(agent, env, params, like)), seeds)


def _like(agent: Agent, env: SessionEnvironment, params: SessionParams, num_seeds: int) -> AgentState:
    """Shapes and dtypes of the states of S seeds."""

    def init(key: jax.Array) -> AgentState:
        return agent.init(key, env.reset(key, params)[0], None)

    return jax.eval_shape(jax.vmap(init), jax.random.split(jax.random.key(0), num_seeds))


def _filled(part: Path, like: AgentState, read: set[str], seeds: list[dict[str, np.ndarray]]) -> AgentState:
    """States with the shapes of ``like``: arrays in ``read`` come from ``seeds``, all others are zeros."""
    leaves = []
    for name, leaf in zip(_names(like), jax.tree.leaves(like), strict=True):
        data = jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else leaf
        if name in read:
            arrays = [seed.get(name) for seed in seeds]
            if any(one is None or (one.shape, one.dtype) != (data.shape[1:], data.dtype) for one in arrays):
                raise InputError(
                    f"{part / FOLDER}: {name} is missing or has another shape than {list(data.shape[1:])}; "
                    "the states are of an agent with other settings"
                )
            array = np.stack(arrays)
        else:  # one zero in memory, even for a large replay buffer
            array = np.broadcast_to(np.zeros((), data.dtype), data.shape)
        leaves.append(jax.random.wrap_key_data(jnp.asarray(array)) if is_key(leaf) else array)
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _names(tree: Any) -> list[str]:
    """The path of each array in a tree, such as ``params/params/actor/bias``."""
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]


def _words(catalogue: Any) -> str:
    facts = catalogue if isinstance(catalogue, Mapping) else {}
    return f"{facts.get('items')} items of {facts.get('world')}, sha256 {str(facts.get('sha256'))[:8]}"
