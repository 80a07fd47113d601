"""Environment variables of jax and XLA that change results are refused, or are part of every stage's key."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ialp_jax.errors import InputError

# Other types or other random numbers: a run with them has nothing in common with one without.
_REFUSED = {
    "JAX_ENABLE_X64": False,
    "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
    "JAX_THREEFRY_PARTITIONABLE": True,
    "JAX_RANDOM_SEED_OFFSET": 0,
    "JAX_NUMPY_DTYPE_PROMOTION": "standard",
}
# Other rounding: legitimate, for speed or to look for errors, but never to be taken for the usual result.
_RECORDED = {"JAX_DEFAULT_MATMUL_PRECISION": None, "JAX_DISABLE_JIT": False}
_OF_LIBRARIES = ("NVIDIA_TF32_OVERRIDE",)
# Flags of XLA that change no result begin so.
_NEUTRAL = ("--xla_force_host_platform_device_count", "--xla_dump", "--xla_hlo_profile")


def check(environment: Mapping[str, str] = os.environ) -> None:
    """Imports jax, and refuses variables that give other types or other random numbers.

    Raises:
      InputError: such a variable is set, or jax does not understand the value of one.
    """
    try:
        import jax
    except ValueError as error:  # how jax refuses a value
        text = str(error)
        named = [name for name in environment if name.startswith("JAX_") and name.lower() in text.lower()]
        raise InputError(f"environment: {', '.join(named)}: {text}; unset or correct it") from None
    for name, usual in _REFUSED.items():
        value = getattr(jax.config, name.lower(), usual)
        if name in environment and getattr(value, "value", value) != usual:
            raise InputError(
                f"environment: {name}={environment[name]} gives other types or random numbers; unset it"
            )


def start_backend() -> str:
    """Starts jax's devices and returns the backend's name. Raises InputError if there is no such device."""
    import jax

    try:
        return jax.default_backend()
    except Exception as error:  # a plugin may raise any of them: RuntimeError, AssertionError, ...
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        chosen = os.environ.get("JAX_PLATFORMS", "")
        remedy = f"unset JAX_PLATFORMS={chosen}, or name a device of this machine" if chosen else "see above"
        raise InputError(f"environment: jax finds no device to run on ({reason}); {remedy}") from None


def numerics(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that are set and change the rounding of results, by name; usually none."""
    found = {name: environment[name] for name in _OF_LIBRARIES if environment.get(name)}
    if any(name in environment for name in _RECORDED):
        import jax  # late: the plan of a sweep needs no jax

        for name, usual in _RECORDED.items():
            if name in environment and getattr(jax.config, name.lower(), usual) != usual:
                found[name] = environment[name]
    flags = [flag for flag in environment.get("XLA_FLAGS", "").split() if not flag.startswith(_NEUTRAL)]
    return found | ({"XLA_FLAGS": " ".join(sorted(flags))} if flags else {})
