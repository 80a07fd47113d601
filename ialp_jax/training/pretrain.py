"""Offline training on arrays: one trainer for iALP, ialp_soft, a2c_warm and the supervised SASRec."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ialp_jax.agents.base import Metrics, Params, adam, descend
from ialp_jax.agents.config import IALPConfig, SoftIALPConfig
from ialp_jax.agents.ialp import pretrain_loss
from ialp_jax.agents.ialp_soft import soft_loss
from ialp_jax.agents.sasrec import next_item_loss
from ialp_jax.errors import InputError
from ialp_jax.keys import stream
from ialp_jax.mesh import device_mesh, split_users
from ialp_jax.networks.heads import ActorCritic, Recommender, initial_params
from ialp_jax.training.config import DevicesConfig, PretrainConfig
from ialp_jax.training.loop import NO_HOOKS, Hooks, Training, train
from ialp_jax.training.packing import Row, Rows
from ialp_jax.training.seeds import over_seeds, placed, seed_keys
from ialp_jax.types import Array, Key

PIECE = 10  # maximum number of gradient steps in one compiled call, so that a call takes only seconds

# (params, target params, minibatch, key) -> (loss, metrics)
Loss = Callable[[Params, Params, Any, Key], tuple[Array, Metrics]]


class Learner(NamedTuple):
    """The state of offline training, per seed.

    Attributes:
      params: learned parameters.
      target: target parameters, a moving average of ``params``.
      opt_state: state of Adam.
    """

    params: Params
    target: Params
    opt_state: optax.OptState


def offline_loss(config: IALPConfig, network: ActorCritic) -> Loss:
    """The loss of the actor-critic on transitions, see `agents.ialp.pretrain_loss`."""

    def loss(params: Params, target: Params, batch: Any, key: Key) -> tuple[Array, Metrics]:
        del key
        return pretrain_loss(config, network, params, target, batch)

    return loss


def listwise_loss(config: SoftIALPConfig, network: ActorCritic) -> Loss:
    """The loss of the actor-critic on all scores of labels, see `agents.ialp_soft.soft_loss`."""

    def loss(params: Params, target: Params, batch: Any, key: Key) -> tuple[Array, Metrics]:
        del key
        return soft_loss(config, network, params, target, batch)

    return loss


def supervised_loss(network: Recommender) -> Loss:
    """The next-item loss on sequences, see `agents.sasrec.next_item_loss`."""

    def loss(params: Params, target: Params, batch: Any, key: Key) -> tuple[Array, Metrics]:
        del target
        return next_item_loss(network, params, batch, key)

    return loss


class Pretrainer:
    """Trains S seeds on one data set, phase by phase.

    The label stage trains one phase after each round. Pre-training on these labels repeats the same phases
    with the same keys. If their settings agree, both end with the same parameters.

    Attributes:
      updates: gradient steps of each phase.
      learner: per seed, [S, ...].
      mesh: mesh of the devices that share the seeds; None: one device.
    """

    def __init__(
        self,
        loss: Loss,
        network: nn.Module,
        config: PretrainConfig,
        updates: int,
        key: Key,
        num_seeds: int,
        length: int,
        seeds_by: str = "auto",
        name: str = "pretrain",
        devices: DevicesConfig | None = None,
    ) -> None:
        """Initialises the networks.

        Args:
          loss: loss on a minibatch.
          network: the network to train; its input is a history [L].
          config: batch size, learning rate, target rate.
          updates: gradient steps of each phase.
          key: key from which the keys of initialisation and minibatches are derived.
          num_seeds: S.
          length: L.
          seeds_by: see `over_seeds`.
          name: name in messages and in the progress bar.
          devices: how several devices share the work; None: one device.
        """
        self._keys = seed_keys(key, num_seeds)
        self._name = name
        self.updates = updates
        self._phases = 0  # number of phases done
        self._piece = next(n for n in range(min(PIECE, updates), 0, -1) if updates % n == 0)
        optimiser = adam(config.learning_rate, config.max_gradient_norm)

        def start(seed_key: Key) -> Learner:
            params = initial_params(network, stream(seed_key, "init"), jnp.zeros(length, jnp.int32))
            return Learner(params, params, optimiser.init(params))

        self.mesh = None
        if devices:
            self.mesh = device_mesh(devices.seeds, devices.users, num_seeds, config.batch_size)
        self._descend = over_seeds(_descend(loss, optimiser, config), seeds_by, shared=2, mesh=self.mesh)
        self.learner = jax.vmap(start)(self._keys)

    @property
    def params(self) -> Params:
        """Present parameters, [S, ...]."""
        return self.learner.params

    def advance(self, data: Any, size: int) -> Row:
        """Trains the next phase on the first ``size`` rows of ``data``, without checkpoints.

        Args:
          data: arrays with a leading axis of rows; if their shapes change between calls, JAX compiles again.
          size: number of rows that are filled, at least 1.

        Returns:
          Mean metrics, [S] each.

        Raises:
          NotFiniteError: a metric is not finite.
          InputError: no row is filled.
        """
        done, phase = self._phases, self._training(data, [size] * (self._phases + 1))
        progress = train(phase, self.learner, NO_HOOKS, done * self.updates // self._piece)
        self.learner, self._phases = progress.state, done + 1
        return {name: np.mean([row[name] for row in progress.learning], 0) for name in progress.learning[0]}

    def run(self, data: Any, sizes: Sequence[int], evaluate: Callable[[Params], Row], hooks: Hooks) -> Rows:
        """Trains all phases from the start, or from the last checkpoint.

        Args:
          data: arrays with a leading axis.
          sizes: for each phase, the number of rows that are filled, at least 1.
          evaluate: parameters [S, ...] -> metrics, [S] each, in this process's memory.
          hooks: checkpoints, TensorBoard and progress bar.

        Returns:
          The metrics before the first phase and after each phase.

        Raises:
          NotFiniteError, Terminated, InputError: see `loop.train` and `advance`.
        """
        training = self._training(data, sizes)
        ends = range(0, training.units + 1, self.updates // self._piece)
        training = dataclasses.replace(
            training,
            name=f"pretrain {self._name}",
            evaluate=lambda unit, learner: evaluate(learner.params),
            points=ends,
        )
        progress = train(training, self.learner, hooks)
        self.learner, self._phases = progress.state, len(sizes)
        return progress.evaluations

    def _training(self, data: Any, sizes: Sequence[int]) -> Training:
        """A phase for each size n, on the first n rows of ``data``; a unit is a piece of a phase."""
        if min(sizes) < 1:
            raise InputError(f"{self._name}: there is nothing to learn from (no valid label)")
        data, pieces = placed(data, self.mesh), self.updates // self._piece

        @functools.lru_cache(maxsize=1)
        def keys_of(phase: int) -> Key:
            return jax.vmap(lambda key: jax.random.split(stream(key, "learn", phase), self.updates))(
                self._keys
            )

        def step(unit: int, learner: Learner) -> tuple[Learner, Metrics]:
            phase, piece = divmod(unit, pieces)
            keys = keys_of(phase)[:, piece * self._piece : (piece + 1) * self._piece]
            return self._descend(data, jnp.int32(sizes[phase]), learner, keys)

        return Training(
            name=self._name,
            units=len(sizes) * pieces,
            size=self._piece,
            counted="gradient steps",
            step=step,
            remedy="lower --config.pretrain.learning_rate",
            place=lambda unit: f" (phase {unit // pieces + 1})",
        )


def _descend(
    loss: Loss, optimiser: optax.GradientTransformation, config: PretrainConfig
) -> Callable[..., tuple[Learner, Metrics]]:
    """Returns a function that trains one seed, with one gradient step per key.

    The function: (data, size, learner, keys) -> (learner, mean metrics).
    """

    def descent(data: Any, size: Array, learner: Learner, keys: Key) -> tuple[Learner, Metrics]:
        def step(learner: Learner, step_key: Key) -> tuple[Learner, Metrics]:
            rows = jax.random.randint(stream(step_key, "rows"), (config.batch_size,), 0, size)
            batch = split_users(jax.tree.map(lambda leaf: leaf[rows], data))
            params, opt_state, metrics = descend(
                optimiser,
                lambda p: loss(p, learner.target, batch, stream(step_key, "dropout")),
                learner.params,
                learner.opt_state,
            )
            target = optax.incremental_update(params, learner.target, config.target_rate)
            return Learner(params, target, opt_state), metrics

        learner, metrics = jax.lax.scan(step, learner, keys)
        return learner, jax.tree.map(jnp.mean, metrics)

    return descent
