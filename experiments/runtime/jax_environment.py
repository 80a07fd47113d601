"""Refuses environment variables of jax and XLA that change results, or records them in every recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ialp_jax.errors import InputError

# These variables change types or random numbers. Runs with and without them cannot be compared.
_REFUSED = {
    "JAX_ENABLE_X64": False,
    "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
    "JAX_THREEFRY_PARTITIONABLE": True,
    "JAX_RANDOM_SEED_OFFSET": 0,
    "JAX_NUMPY_DTYPE_PROMOTION": "standard",
}
# These variables change rounding, and therefore results. They are allowed because they help to find errors
# or to save time.
_RECORDED = {"JAX_DEFAULT_MATMUL_PRECISION": None, "JAX_DISABLE_JIT": False}
_OF_LIBRARIES = ("NVIDIA_TF32_OVERRIDE",)
# XLA flags that begin with one of these texts do not change results.
_NEUTRAL = ("--xla_force_host_platform_device_count", "--xla_dump", "--xla_hlo_profile")


def check(environment: Mapping[str, str] = os.environ) -> None:
    """Imports jax, and refuses variables that change types or random numbers.

    Raises:
      InputError: such a variable is set, or jax refuses the value of a variable.
    """
    try:
        import jax
    except ValueError as error:  # jax refuses a value
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
    """Starts jax's devices and returns the backend's name. Raises InputError if jax finds no device."""
    import jax

    try:
        return jax.default_backend()
    except Exception as error:  # plugins raise any type: RuntimeError, AssertionError, ...
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        chosen = os.environ.get("JAX_PLATFORMS", "")
        remedy = f"unset JAX_PLATFORMS={chosen}, or name a device of this machine" if chosen else "see above"
        raise InputError(f"environment: jax finds no device to run on ({reason}); {remedy}") from None


def numerics(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment variables that change rounding, with their values; usually none is set."""
    variables = {name: environment[name] for name in _OF_LIBRARIES if environment.get(name)}
    if any(name in environment for name in _RECORDED):
        import jax  # imported late, because the planning of a sweep needs no jax

        for name, usual in _RECORDED.items():
            if name in environment and getattr(jax.config, name.lower(), usual) != usual:
                variables[name] = environment[name]
    flags = [flag for flag in environment.get("XLA_FLAGS", "").split() if not flag.startswith(_NEUTRAL)]
    return variables | ({"XLA_FLAGS": " ".join(sorted(flags))} if flags else {})
