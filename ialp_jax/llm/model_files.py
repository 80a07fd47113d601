"""Paths and fingerprint of a model's files. Uses no torch: a run whose labels are all stored needs none."""

from __future__ import annotations

from pathlib import Path

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.llm import adapter_files

INDEX = "model.safetensors.index.json"  # lists weights that are split over several files
_SUFFIX = ".safetensors"
_WEIGHTS = f"*{_SUFFIX}"
_WANTED = ("*.json", _WEIGHTS, "*.model", "*.jinja", "*.txt")
_LONGEST = 4096  # tokens of the longest prompt
_REACHES = ("sliding_window", "attention_chunk_size")
_AFTER_THE_HEAD = ("logit_scale", "logits_scaling", "final_logit_softcapping", "lm_head_multiplier")
_ON_ANSWERS = (
    *("repetition_penalty", "no_repeat_ngram_size", "suppress_tokens", "bad_words_ids"),
    *("begin_suppress_tokens", "min_new_tokens", "num_beams", "encoder_repetition_penalty"),
)
_DUPLICATES = ("consolidated*", "original/*")  # the same weights in the publisher's own formats


def resolve(model: str, revision: str, weights: bool = True) -> Path:
    """The folder of a model: the given folder, or the local copy of a hub model, downloaded if necessary.

    Args:
      model: folder or hub id.
      revision: revision of a hub id.
      weights: whether to download the weights too, or only configuration and tokenizer.

    Raises:
      InputError: there is no such folder or hub model, or the hub cannot be reached.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        check_no_adapter(folder)
        if revision:
            raise InputError(f"--config.llm.revision={revision}: {folder} is a folder and has no revisions")
        return folder
    if folder.exists() or model.startswith(("/", ".", "~")) or model.count("/") > 1:
        raise InputError(f"--config.llm.model={model}: no such folder")
    return _download(model, revision, weights)


def _download(model: str, revision: str, weights: bool) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(
            huggingface_hub.snapshot_download(
                model,
                revision=revision or None,
                allow_patterns=[name for name in _WANTED if weights or name != _WEIGHTS],
                ignore_patterns=[*_DUPLICATES, adapter_files.CONFIG, adapter_files.WEIGHTS],
            )
        )
    except errors.HFValidationError:
        raise InputError(f"--config.llm.model={model}: neither a folder nor a hub id") from None
    except errors.RevisionNotFoundError:
        raise InputError(f"--config.llm.revision={revision}: {model} has no such revision") from None
    except errors.GatedRepoError:
        raise InputError(
            f"--config.llm.model={model}: the hub asks for access; accept its terms and run 'hf auth login'"
        ) from None
    except errors.RepositoryNotFoundError:
        raise InputError(f"--config.llm.model={model}: neither a folder nor a model on the hub") from None
    except Exception as error:  # the error type differs between versions of the hub client
        raise InputError(
            f"--config.llm.model={model}: not a folder here, and the hub is out of reach or offline "
            f"({type(error).__name__}); give a folder, or download the model while there is a network"
        ) from None


def check_no_adapter(folder: Path) -> None:
    """Raises InputError if a model's folder holds an adapter, which transformers would apply silently."""
    if not (folder / adapter_files.CONFIG).is_file():
        return
    if (folder / "config.json").is_file():
        raise InputError(
            f"{folder}: holds an adapter beside the model, {adapter_files.CONFIG}; move the adapter's "
            "files to another folder; to use the adapter, give that folder to --config.llm.adapter"
        )
    raise InputError(
        f"{folder}: an adapter, not a model; give it to --config.llm.adapter, and to --config.llm.model the "
        "model that it belongs to"
    )


def check(folder: Path) -> None:
    """Raises InputError if the configuration, the safetensors weights or a part of the weights is missing."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: not a model folder, it has no config.json")
    if not any(folder.glob(_WEIGHTS)):
        raise InputError(f"{folder}: no weights in safetensors, the only format that is read")
    index = folder / INDEX
    if not index.exists():
        shard = min(folder.glob("model-*-of-*.safetensors"), default=None)
        if shard and not (folder / "model.safetensors").exists():
            raise InputError(f"{index}: missing, though {shard.name} is there; download the model again")
        return
    shards = (store.read_json(index) or {}).get("weight_map")
    names = {str(name) for name in shards.values()} if isinstance(shards, dict) else {""}
    if any(Path(name).name != name or not name.endswith(_SUFFIX) for name in names):
        raise InputError(f"{index}: not an index of weights beside it; download the model again")
    for name in sorted(names):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: missing, though {INDEX} names it; download it again")


def acting(folder: Path, mode: str) -> list[str]:
    """Names of settings in a model's folder that earlier versions of this package did not treat correctly.

    Those versions ignored the settings or wrongly applied them to free text, so their labels may be wrong.
    Therefore the names are part of the address of stored labels, and the old labels are not used again.

    Args:
      folder: folder of the model.
      mode: ``llm.mode``.
    """
    settings = store.read_json(folder / "config.json") or {}
    settings = settings | (settings.get("text_config") or {})
    near = [name for name in _REACHES if isinstance(settings.get(name), int) and settings[name] < _LONGEST]
    after = [name for name in _AFTER_THE_HEAD if settings.get(name) not in (None, 1)]
    drawn = store.read_json(folder / "generation_config.json") or {}
    penal = [name for name in _ON_ANSWERS if drawn.get(name) not in (None, 0, 1, [])]
    return sorted(penal if mode == "generate" else near + after)


def fingerprint(folder: Path) -> str:
    """sha256 of the names and contents of a model's files: weights, configuration, tokenizer.

    Raises:
      InputError: the folder is incomplete, see `check`.
    """
    check(folder)
    files = sorted(
        path
        for pattern in _WANTED
        for path in folder.glob(pattern)
        if path.name != store.MANIFEST and not any(path.match(other) for other in _DUPLICATES)
    )
    return store.fingerprint({path.name: store.file_fingerprint(path) for path in files})
