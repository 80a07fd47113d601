"""A GPU that torch and JAX share, and one that JAX does not see. Nothing here imports either."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import MutableMapping
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder per GPU
SILENCE = "JAX_PLATFORMS=cpu"


def share_memory(environment: MutableMapping[str, str] = os.environ) -> None:
    """Lets JAX take GPU memory as it needs it; to be called before JAX starts.

    By default it takes three quarters at once, and the label model, which torch loads in a process of its
    own, finds no room. What the user has set about that stays.
    """
    if not any(name.startswith("XLA_PYTHON_CLIENT_") for name in environment):
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"


def visible_gpus() -> list[str]:
    """Ids of the NVIDIA GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in chosen.split(",") if name.strip() and name.strip() != "-1"]
    return [str(number) for number in range(_count())]


def _count() -> int:
    """How many the driver lists, or nvidia-smi where the driver's folder is not to be seen (WSL)."""
    if DRIVER.is_dir():
        return len(list(DRIVER.iterdir()))
    if not shutil.which("nvidia-smi"):
        return 0
    try:
        said = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in said.stdout.splitlines()) if not said.returncode else 0


def unseen_gpu(backend: str) -> str:
    """What to say where there is an NVIDIA GPU and JAX runs on the CPU all the same; else nothing.

    Args:
      backend: what ``jax.default_backend()`` says.
    """
    if backend != "cpu" or os.environ.get("JAX_PLATFORMS") or not visible_gpus():
        return ""
    return (
        "note: this machine has an NVIDIA GPU, but jax sees only the CPU; install its CUDA build with "
        f"python -m pip install -r requirements.txt -r requirements-cuda.txt, or silence this with {SILENCE}"
    )
