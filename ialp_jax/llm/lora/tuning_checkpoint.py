"""Where a tuning stands: one file, replaced atomically, safetensors with JSON in its metadata."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import peft
import safetensors
import safetensors.torch
import torch

from ialp_jax.llm.model import adapters

NAME = "checkpoint.safetensors"
_ADAPTER, _OPTIMISER = "adapter/", "optimiser/"


class Progress(NamedTuple):
    """How far a tuning has come.

    Attributes:
      losses: of each step done.
      seconds: spent, in whatever number of processes.
    """

    losses: list[float]
    seconds: float


def save(
    folder: Path, key: str, tuned: peft.PeftModel, optimiser: torch.optim.Optimizer, progress: Progress
) -> None:
    """Replaces the checkpoint of a folder; ``key`` names what the tuning is of."""
    tensors = {_ADAPTER + name: tensor for name, tensor in adapters.state(tuned).items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{index}/{name}": tensor for name, tensor in state.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{NAME}"
    safetensors.torch.save_file(
        tensors, partial, metadata={"key": key, "progress": json.dumps(progress._asdict())}
    )
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(folder / NAME)


def restore(folder: Path, key: str, tuned: peft.PeftModel, optimiser: torch.optim.Optimizer) -> Progress:
    """Sets adapter and optimiser to where a killed tuning of the same key stood; else changes nothing."""
    path = folder / NAME
    if not path.exists():
        return Progress([], 0.0)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        progress = Progress(**json.loads(metadata["progress"]))
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        warnings.warn(f"{path}: not a readable checkpoint ({error}); tuning begins anew", stacklevel=2)
        return Progress([], 0.0)
    if metadata.get("key") != key:
        return Progress([], 0.0)
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(_ADAPTER)}
    peft.set_peft_model_state_dict(tuned, {name.removeprefix(_ADAPTER): t for name, t in own.items()})
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name in tensors.keys() - own.keys():
        index, _, slot = name.removeprefix(_OPTIMISER).partition("/")
        state.setdefault(int(index), {})[slot] = tensors[name]
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return progress


def remove(folder: Path) -> None:
    """Takes the checkpoint away, after the adapter itself was saved."""
    for name in (NAME, f".{NAME}"):
        (folder / name).unlink(missing_ok=True)
