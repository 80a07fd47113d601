"""Parameters and state of a session.

They stand apart from the rules (`dynamics`) and the environment (`environment`), both of which use them.
"""

from __future__ import annotations

from typing import NamedTuple

from flax import struct
from gymnax.environments import environment

from ialp_jax.simulator.dynamics_params import Dynamics
from ialp_jax.types import Array, UserModel


class Visit(NamedTuple):
    """Where users return: which visit this is (from 0), its steps and its likes; int32 []."""

    number: Array
    steps: Array
    likes: Array


@struct.dataclass
class Mood:
    """What a user carries from step to step besides patience; None where the part is off.

    Attributes:
      recent: int32 [W], the last recommendations of this visit, oldest first, left-padded with 0.
      satiation: float32 [C], by category.
      taste: float32 [F], the user's vector as it is now.
      visit: see ``Visit``.
    """

    recent: Array | None = None
    satiation: Array | None = None
    taste: Array | None = None
    visit: Visit | None = None


@struct.dataclass(kw_only=True)
class SessionParams(environment.EnvParams):
    """A world, restricted to the users that sessions are drawn from.

    Attributes:
      user_model: like probabilities of U users and N items.
      start_histories: int32 [U, L], left-padded.
      users: int32 [M], ids (rows of ``start_histories``) that sessions are drawn from.
      patience, dislike_cost, recovery: float scalars, see ``SimulatorConfig``.
      dynamics: what makes users hard; by default nothing.
      max_steps_in_episode: H; static, for it is a shape.
    """

    user_model: UserModel
    start_histories: Array
    users: Array
    patience: Array
    dislike_cost: Array
    recovery: Array
    dynamics: Dynamics = Dynamics()
    max_steps_in_episode: int = struct.field(pytree_node=False, default=50)


@struct.dataclass
class SessionState(environment.EnvState):
    """One session.

    Attributes:
      time: int32 [], steps taken.
      user: int32 [].
      history: int32 [L], liked items, oldest first, left-padded.
      shown: int32 [L + H], the starting history, then the recommended items.
      patience: float32 []; the user leaves at 0.
      mood: what the parts of ``params.dynamics`` remember; empty where they are off.
    """

    user: Array
    history: Array
    shown: Array
    patience: Array
    mood: Mood
