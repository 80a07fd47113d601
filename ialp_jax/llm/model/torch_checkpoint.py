"""Checkpoints of a torch training, as safetensors with JSON metadata. Each write is atomic.

The folder also keeps the previous checkpoint, in case the newest one is damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch

NAME, BEFORE = "checkpoint.safetensors", "checkpoint-before.safetensors"
_OPTIMISER = "optimiser/"


class Saved(NamedTuple):
    """Content of a checkpoint besides the optimisers' state.

    Attributes:
      tensors: tensors of the model.
      progress: plain data.
    """

    tensors: dict[str, torch.Tensor]
    progress: dict[str, Any]


def save(
    folder: Path,
    fingerprint: str,
    tensors: Mapping[str, torch.Tensor],
    optimisers: Sequence[torch.optim.Optimizer],
    progress: Mapping[str, Any],
) -> None:
    """Saves a checkpoint in a folder. ``fingerprint`` identifies the training."""
    all_tensors = dict(tensors)
    for number, optimiser in enumerate(optimisers):
        for index, state in optimiser.state_dict()["state"].items():
            all_tensors |= {f"{_OPTIMISER}{number}/{index}/{name}": tensor for name, tensor in state.items()}
    # The tensors are cloned, because tied weights share memory and safetensors does not allow that.
    all_tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in all_tensors.items()}
    facts = {"fingerprint": fingerprint, "progress": json.dumps(progress)}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{NAME}"
    try:
        safetensors.torch.save_file(
            all_tensors, partial, metadata={**facts, "sha256": _checksum(all_tensors, facts)}
        )
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        if (folder / NAME).exists():
            (folder / NAME).replace(folder / BEFORE)
        partial.replace(folder / NAME)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def restore(folder: Path, fingerprint: str, optimisers: Sequence[torch.optim.Optimizer]) -> Saved | None:
    """Restores the optimisers from the newest intact checkpoint of this training. Returns it, or None."""
    for name in (NAME, BEFORE):
        path = folder / name
        if not path.exists():
            continue
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                facts = file.metadata() or {}
                stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            if facts.pop("sha256", "") != _checksum(stored, facts):
                raise ValueError("altered: its sha256 differs")
            progress = json.loads(facts["progress"])
        except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            warnings.warn(
                f"{path}: not a readable checkpoint ({error}); the previous one is used, if there is one",
                stacklevel=2,
            )
            continue
        if facts.get("fingerprint") != fingerprint:
            return None
        of_model = {name: tensor for name, tensor in stored.items() if not name.startswith(_OPTIMISER)}
        for number, optimiser in enumerate(optimisers):
            state: dict[int, dict[str, torch.Tensor]] = {}
            for name in stored.keys() - of_model.keys():
                owner, index, slot = name.removeprefix(_OPTIMISER).split("/", 2)
                if int(owner) == number:
                    state.setdefault(int(index), {})[slot] = stored[name]
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
        return Saved(of_model, progress)
    return None


def remove(folder: Path) -> None:
    """Deletes the checkpoints. Call this function after the result of the training is saved."""
    for name in (NAME, BEFORE, f".{NAME}"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the folder is missing, or holds other files
        folder.rmdir()


def _checksum(tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> str:
    """sha256 of the tensors (names, dtypes, shapes, values) and of ``facts``."""
    content = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        content.update(f"|{name} {tensor.dtype} {tuple(tensor.shape)}|".encode())
        content.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()
