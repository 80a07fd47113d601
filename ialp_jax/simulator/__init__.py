"""Simulated users: the model of their taste, the dynamics of their sessions, the environment.

``ialp_jax.simulator.make("demo", preset="hard")`` returns an environment and its parameters, see
``registry.make``. It is looked up late, for settings are read where JAX must not be loaded.
"""

from __future__ import annotations

from typing import Any

__all__ = ["make"]


def __getattr__(name: str) -> Any:
    """``make``, once somebody asks for it."""
    if name == "make":
        from ialp_jax.simulator.make_world import make

        return make
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
