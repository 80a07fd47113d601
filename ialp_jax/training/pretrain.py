"""Offline training on arrays: one trainer for iALP, its control a2c_warm and the supervised SASRec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ialp_jax.agents.base import Metrics, Params, adam, descend
from ialp_jax.agents.config import IALPConfig
from ialp_jax.agents.ialp import pretrain_loss
from ialp_jax.agents.sasrec import next_item_loss
from ialp_jax.errors import InputError, NotFiniteError
from ialp_jax.keys import stream
from ialp_jax.networks.heads import ActorCritic, Recommender
from ialp_jax.training.checkpoint import Rows, Saved
from ialp_jax.training.config import PretrainConfig
from ialp_jax.training.seeds import over_seeds, seed_keys
from ialp_jax.types import Array, Key

PIECE = 10  # gradient steps of one compiled call at most, so that one takes seconds

# (params, target params, minibatch, key) -> (loss, metrics)
Loss = Callable[[Params, Params, Any, Key], tuple[Array, Metrics]]


class Learner(NamedTuple):
    """What offline training carries, per seed.

    Attributes:
      params: learned.
      target: slow copy of them.
      opt_state: of Adam.
    """

    params: Params
    target: Params
    opt_state: optax.OptState


def offline_loss(config: IALPConfig, network: ActorCritic) -> Loss:
    """The actor-critic's loss on transitions, see `agents.ialp.pretrain_loss`."""

    def loss(params: Params, target: Params, batch: Any, key: Key) -> tuple[Array, Metrics]:
        del key
        return pretrain_loss(config, network, params, target, batch)

    return loss


def supervised_loss(network: Recommender) -> Loss:
    """The next-item loss on sequences, see `agents.sasrec.next_item_loss`."""

    def loss(params: Params, target: Params, batch: Any, key: Key) -> tuple[Array, Metrics]:
        del target
        return next_item_loss(network, params, batch, key)

    return loss


class Pretrainer:
    """Trains S seeds on one data set, phase by phase.

    The label stage and the pre-training from a finished label store drive the same phases with the same
    keys, so that the second repeats the first.

    Attributes:
      updates: gradient steps per phase.
      learner: per seed, [S, ...].
      done: gradient steps so far.
      logs: mean metrics of every few of them, [S] each.
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
    ) -> None:
        """Initialises the networks.

        Args:
          loss: on minibatches.
          network: what is trained; histories [L] are its input.
          config: batch size, learning rate, target rate.
          updates: gradient steps per phase.
          key: streams of initialisation and minibatches are derived from it.
          num_seeds: S.
          length: L.
          seeds_by: see `over_seeds`.
          name: for messages.
        """
        self._keys = seed_keys(key, num_seeds)
        self._name = name
        self.updates = updates
        self._phases, self.done = 0, 0
        self._piece = next(n for n in range(min(PIECE, updates), 0, -1) if updates % n == 0)
        self.logs: Rows = []
        optimiser = adam(config.learning_rate, config.max_gradient_norm)

        def start(seed_key: Key) -> Learner:
            params = network.init(stream(seed_key, "init"), jnp.zeros(length, jnp.int32))
            return Learner(params, params, optimiser.init(params))

        self._descend = over_seeds(_descend(loss, optimiser, config), seeds_by, shared=2)
        self.learner = jax.vmap(start)(self._keys)

    @property
    def params(self) -> Params:
        """Present parameters, [S, ...]."""
        return self.learner.params

    def resume(self, phases: int, saved: Saved) -> None:
        """Goes on from a checkpoint of the learner with the table ``logs``, in phase number ``phases``."""
        self._phases, self.done, self.learner = phases, saved.step, saved.state
        self.logs = saved.tables.get("logs", [])

    def advance(
        self, data: Any, size: int, after: Callable[[], None] = lambda: None
    ) -> dict[str, np.ndarray]:
        """Takes the next ``updates`` gradient steps on the first ``size`` rows of ``data``.

        Args:
          data: arrays with a leading axis; the same shapes at every call, or it compiles anew.
          size: rows that are filled, at least 1.
          after: called after every few steps.

        Returns:
          Mean metrics, [S] each.

        Raises:
          NotFiniteError: a metric is not finite.
          InputError: no row is filled.
        """
        if size < 1:
            raise InputError(f"{self._name}: there is nothing to learn from (no valid label)")
        keys = jax.vmap(lambda key: jax.random.split(stream(key, "learn", self._phases), self.updates))(
            self._keys
        )
        while self.done < (self._phases + 1) * self.updates:
            first = self.done % self.updates
            some = keys[:, first : first + self._piece]
            learner, metrics = self._descend(data, jnp.int32(size), self.learner, some)
            self.logs.append(self._checked(metrics))
            self.learner, self.done = learner, self.done + self._piece
            after()
        self._phases += 1
        logs = self.logs[-(self.updates // self._piece) :]
        return {name: np.mean([log[name] for log in logs], 0) for name in logs[0]}

    def _checked(self, metrics: Metrics) -> dict[str, np.ndarray]:
        """The metrics on the host. Raises NotFiniteError at the first that is not finite."""
        host = {name: np.asarray(values) for name, values in metrics.items()}
        for name, values in host.items():
            if not np.isfinite(values).all():
                seed = int(np.flatnonzero(~np.isfinite(values))[0])
                raise NotFiniteError(
                    f"{self._name}: {name} is {values[seed]} in phase {self._phases + 1}, gradient steps "
                    f"{self.done + 1} to {self.done + self._piece}, seed {seed}; "
                    "lower --config.pretrain.learning_rate"
                )
        return host


def _descend(
    loss: Loss, optimiser: optax.GradientTransformation, config: PretrainConfig
) -> Callable[..., tuple[Learner, Metrics]]:
    """A gradient step of one seed per key: (data, size, learner, keys) -> (learner, mean metrics)."""

    def descent(data: Any, size: Array, learner: Learner, keys: Key) -> tuple[Learner, Metrics]:
        def step(learner: Learner, step_key: Key) -> tuple[Learner, Metrics]:
            rows = jax.random.randint(stream(step_key, "rows"), (config.batch_size,), 0, size)
            batch = jax.tree.map(lambda leaf: leaf[rows], data)
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
