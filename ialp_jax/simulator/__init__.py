"""Simulated users: turns a data set and a user model into an environment for agents.

    env, params = ialp_jax.simulator.make("demo", preset="hard")

`make_world.make` runs all these steps; the stages of a run do the same:

1. ``ialp_jax.data`` reads the data set; ``ialp_jax.users`` fits the user model.
2. ``config.py`` holds the settings (``--config.simulator``). ``presets.py`` has the values of settings
   that you do not set: for the users ``easy``, ``paper`` and ``hard``, and for each world.
3. ``world.py`` builds a `World`: environment and parameters.
4. ``types.py``: the parameters of a world and the state of a session.
5. ``environment.py``: `SessionEnvironment`, a session as a gymnax environment. ``actions.py`` checks actions.
6. ``dynamics_config.py``, ``dynamics_params.py``, ``dynamics.py``: settings, arrays and rules of the effects
   that make users harder (dislikes, boredom, satiation, drift, segments, noise, returns).
7. ``adapters/``: the environment for agents written for gymnasium, stable-baselines3 or older gymnax.

How to use the simulator: ``README.md`` in this folder. This module imports ``make`` only when it is used,
because code without JAX must be able to read the settings.
"""

from __future__ import annotations

from typing import Any

__all__ = ["make"]


def __getattr__(name: str) -> Any:
    """Imports ``make`` when it is first used."""
    if name == "make":
        from ialp_jax.simulator.make_world import make

        return make
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
