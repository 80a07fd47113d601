"""A world: a data set together with the simulated users fitted to it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ialp_jax.data.splits import start_histories
from ialp_jax.errors import InputError
from ialp_jax.simulator.config import SimulatorConfig, resolved
from ialp_jax.simulator.dynamics_params import build_dynamics
from ialp_jax.simulator.environment import SessionEnvironment
from ialp_jax.simulator.types import SessionParams
from ialp_jax.types import SPLITS, Array, Dataset, UserModel
from ialp_jax.users.predict import like_probability

MOST_PAIRS = 2**23  # entries of `SessionParams.like_table`; 32 MiB


@dataclasses.dataclass(frozen=True)
class World:
    """A world in which agents are trained or evaluated.

    Attributes:
      env: the environment, which is the same for every split of users.
      params: parameters for sessions of all U users; the method `of` restricts them to one split.
      dataset: the data of the world.
    """

    env: SessionEnvironment
    params: SessionParams
    dataset: Dataset

    def of(self, split: int) -> SessionParams:
        """Returns the parameters with only the users of one split (OFFLINE, ONLINE, ...).

        Raises:
          InputError: the split has no user.
        """
        users = self.dataset.users(split)
        if not len(users):
            raise InputError(f"{self.dataset.name}: no {SPLITS[split]} users; run the data stage again")
        return self.params.replace(users=jnp.asarray(users))


def build(dataset: Dataset, user_model: UserModel, config: SimulatorConfig) -> World:
    """Builds a world from a data set, a fitted user model and the settings of the simulator.

    Settings that are None get the value of ``config.preset``.
    """
    config = resolved(config)
    starts = np.zeros((dataset.num_users, config.history_length), np.int32)
    starts[:, config.history_length - config.start_length :] = start_histories(
        dataset.histories, config.start_length
    )
    user_model = jax.tree.map(jnp.asarray, user_model)
    dynamics = build_dynamics(dataset, user_model, config.dynamics)
    params = SessionParams(
        user_model=user_model,
        start_histories=jnp.asarray(starts),
        users=jnp.arange(dataset.num_users, dtype=jnp.int32),
        patience=jnp.float32(config.patience),
        dislike_cost=jnp.float32(config.dislike_cost),
        recovery=jnp.float32(config.recovery),
        like_table=None if dynamics.moves_scores else like_table(user_model),
        dynamics=dynamics,
        max_steps_in_episode=config.horizon,
    )
    return World(SessionEnvironment(), params, dataset)


def like_table(model: UserModel) -> Array | None:
    """Returns the like probability of every pair, float32 [U, N + 1]; None if the table would be large."""
    num_users, size = model.user_factors.shape[0], model.item_bias.shape[0]
    if num_users * size > MOST_PAIRS:
        return None
    return _like_table(model)


@jax.jit
def _like_table(model: UserModel) -> Array:
    items = jnp.arange(1, model.item_bias.shape[0])
    users = jnp.arange(model.user_factors.shape[0])
    rows = jax.lax.map(lambda user: like_probability(model, user, items), users, batch_size=64)
    return jnp.pad(rows, ((0, 0), (1, 0)))
