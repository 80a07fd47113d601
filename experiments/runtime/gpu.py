"""Lets torch and JAX share GPU memory, and warns if JAX does not see a GPU. Imports neither library."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import MutableMapping
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder per GPU
SILENCE = "JAX_PLATFORMS=cpu"


def share_memory(environment: MutableMapping[str, str] = os.environ) -> None:
    """Makes JAX allocate GPU memory on demand; must run before JAX starts.

    By default, JAX reserves three quarters of the GPU memory when it starts. Then there is not enough memory
    for the label model, which torch loads in another process. If the user has set an environment variable
    ``XLA_PYTHON_CLIENT_*``, this function changes nothing.
    """
    if not any(name.startswith("XLA_PYTHON_CLIENT_") for name in environment):
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"


def visible_gpus() -> list[str]:
    """Ids of the NVIDIA GPUs that this process may use, as in ``CUDA_VISIBLE_DEVICES``."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in chosen.split(",") if name.strip() and name.strip() != "-1"]
    return [str(number) for number in range(_count())]


def _count() -> int:
    """The number of GPUs in the driver's folder; if it is missing (WSL), the number in nvidia-smi's list."""
    if DRIVER.is_dir():
        return len(list(DRIVER.iterdir()))
    if not shutil.which("nvidia-smi"):
        return 0
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    if listing.returncode:
        return 0
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())


def unseen_gpu(backend: str) -> str:
    """A note for the user if there is an NVIDIA GPU but JAX runs on the CPU; otherwise "".

    Args:
      backend: the value of ``jax.default_backend()``.
    """
    if backend != "cpu" or os.environ.get("JAX_PLATFORMS") or not visible_gpus():
        return ""
    return (
        "note: this machine has an NVIDIA GPU, but jax sees only the CPU; install its CUDA build with "
        f"python -m pip install -r requirements.txt -r requirements-cuda.txt, or silence this with {SILENCE}"
    )
