"""Parameters and state of a session, used by the rules (`dynamics`) and the environment (`environment`)."""

from __future__ import annotations

from typing import NamedTuple

from flax import struct
from gymnax.environments import environment

from ialp_jax.simulator.dynamics_params import Dynamics
from ialp_jax.types import Array, UserModel


class Visit(NamedTuple):
    """The current visit of a user who may return; int32 [] each.

    Attributes:
      number: 0 for the first visit of the session.
      steps: recommendations in this visit.
      likes: likes in this visit.
    """

    number: Array
    steps: Array
    likes: Array


@struct.dataclass
class Mood:
    """State of the effects that are switched on; the fields of all other effects are None.

    Attributes:
      recent: int32 [W], the last recommendations of this visit, oldest first, left-padded with 0.
      satiation: float32 [C], by category.
      taste: float32 [F], the user's current vector in the user model.
      visit: see ``Visit``.
    """

    recent: Array | None = None
    satiation: Array | None = None
    taste: Array | None = None
    visit: Visit | None = None


@struct.dataclass(kw_only=True)
class SessionParams(environment.EnvParams):
    """All arrays of a world, and the users who may start a session.

    Attributes:
      user_model: probabilities that each of U users likes each of N items.
      start_histories: int32 [U, L], left-padded.
      users: int32 [M], ids of the users whose sessions are simulated (rows of ``start_histories``).
      patience, dislike_cost, recovery: float scalars, see ``SimulatorConfig``.
      like_table: float32 [U, N + 1], the probabilities of ``user_model``; column 0 is 0. A step then reads a
        number instead of computing it. None if the table would be large, see ``world.MOST_PAIRS``.
      dynamics: arrays of the effects that make users harder to please; by default all effects are off.
      max_steps_in_episode: H; this field is static, because it determines array shapes.
    """

    user_model: UserModel
    start_histories: Array
    users: Array
    patience: Array
    dislike_cost: Array
    recovery: Array
    like_table: Array | None = None
    dynamics: Dynamics = Dynamics()
    max_steps_in_episode: int = struct.field(pytree_node=False, default=50)


@struct.dataclass
class SessionState(environment.EnvState):
    """The state of one session.

    Attributes:
      time: int32 [], steps taken.
      user: int32 [].
      history: int32 [L], liked items, oldest first, left-padded.
      shown: int32 [L + H], the starting history, then the recommended items.
      patience: float32 []; the user leaves at 0.
      mood: state of ``params.dynamics``.
    """

    user: Array
    history: Array
    shown: Array
    patience: Array
    mood: Mood
