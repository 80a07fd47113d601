"""Files of a LoRA adapter in peft's format: checks and fingerprint. No torch.

peft reads and writes ``adapter_config.json`` and ``adapter_model.safetensors``. Adapters from the lora stage
also have a ``manifest.json`` with the fingerprint of their base model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ialp_jax import store
from ialp_jax.errors import InputError

FOLDER = "lora"  # folder name within a run
CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
_ELSEWHERE = (
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "peft_version",
)  # do not affect the weights


def check(folder: Path) -> None:
    """Raises InputError if a folder's LoRA adapter is missing, unreadable, altered or not safetensors."""
    import safetensors  # of the extra llm

    if not folder.is_dir():
        raise InputError(f"--config.llm.adapter={folder}: no such folder")
    if store.read_manifest(folder) is not None:
        store.verify(folder)
    settings = read_config(folder)
    if settings.get("peft_type") != "LORA" or settings.get("megatron_config"):
        raise InputError(f"{folder}: an adapter of type {settings.get('peft_type')}; only LoRA is read")
    if not (folder / WEIGHTS).is_file():
        pickled = (folder / PICKLE).is_file()
        beside = f"; {PICKLE} is a pickle and is not read, save it again in safetensors" if pickled else ""
        raise InputError(f"{folder}: no adapter weights, it has no {WEIGHTS}{beside}")
    try:
        with safetensors.safe_open(folder / WEIGHTS, framework="numpy") as file:
            names = list(file.keys())
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{folder / WEIGHTS}: not readable safetensors ({error})") from None
    if not names:
        raise InputError(f"{folder / WEIGHTS}: holds no weights")


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's settings. Raises InputError if the settings are missing or broken."""
    settings = store.read_json(folder / CONFIG)
    if settings is None:
        raise InputError(f"{folder}: not an adapter folder, it has no {CONFIG}")
    return settings


def check_base(folder: Path, model: str, fingerprint: str) -> None:
    """Raises InputError if an adapter belongs to another base model.

    An adapter of the lora stage stores the fingerprint of its base model. Other adapters may store the hub id
    of their base model. If an adapter stores neither, a mismatch only shows when its weights are loaded.

    Args:
      folder: folder of the adapter.
      model: ``--config.llm.model``.
      fingerprint: fingerprint of the model's files.
    """
    recorded = (store.read_manifest(folder) or {}).get("base_fingerprint")
    named = read_config(folder).get("base_model_name_or_path") or ""
    if recorded is not None:
        differs = recorded != fingerprint
    else:
        differs = _is_hub_id(model) and _is_hub_id(named) and model != named
    if differs:
        raise InputError(
            f"{folder}: an adapter of another base model ({named or 'unnamed'}) than "
            f"{model or 'the embedded one of this run'}; give its own model, or run --stage=lora again"
        )


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith(("/", ".", "~")) and not Path(name).exists()


def fingerprint(folder: Path) -> str:
    """sha256 of the adapter's weights and settings, without the paths of the adapter and its model."""
    settings = {name: value for name, value in read_config(folder).items() if name not in _ELSEWHERE}
    if isinstance(settings.get("target_modules"), list):
        settings["target_modules"] = sorted(settings["target_modules"])  # peft stores these names unordered
    return store.fingerprint([settings, store.file_fingerprint(folder / WEIGHTS)])
