"""LoRA adapters (arXiv 2106.09685) on a loaded model, with peft. Needs torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import safetensors
import safetensors.torch
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from ialp_jax.errors import InputError
from ialp_jax.llm import adapter_files
from ialp_jax.llm.config import LoraConfig

# Errors that peft raises if an adapter is broken or does not fit the model.
_UNFIT = (
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    RuntimeError,
    safetensors.SafetensorError,
)


def apply(model: Any, folder: Path, use: str) -> Any:
    """Applies an adapter to a model.

    Args:
      model: causal language model, changed in place.
      folder: folder of the adapter; `adapter_files.check` has checked it.
      use: ``merge`` adds the updates to the model's weights, in the dtype of the weights. ``attach`` computes
        the updates separately.

    Returns:
      The model as an instance of its original class, so that callers do not need peft.

    Raises:
      InputError: the adapter's modules or shapes do not fit the model, or the adapter is broken.
    """
    adapter_files.check(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing keys are reported below
            adapted = peft.PeftModel.from_pretrained(model, folder)
            unfit = _unfit_name(adapted, safetensors.torch.load_file(folder / adapter_files.WEIGHTS))
    except _UNFIT as error:
        raise _does_not_fit(folder, (str(error).strip() or type(error).__name__).splitlines()[0]) from None
    if unfit:
        raise _does_not_fit(folder, f"{unfit} is in only one of the two")
    if use == "attach":
        return adapted.get_base_model().eval()
    _untie(adapted)
    return adapted.merge_and_unload().eval()


def _unfit_name(adapted: peft.PeftModel, stored: dict[str, torch.Tensor]) -> str:
    """Name of a tensor that differs between the loaded adapter and its file; empty if no tensor differs.

    If an adapter updates the embedding, peft also saves and loads the embedding itself.
    """
    taken = peft.get_peft_model_state_dict(adapted, save_embedding_layers=True)
    idle = [
        name
        for name, tensor in stored.items()
        if name not in taken or not torch.equal(tensor.to(taken[name]), taken[name])
    ]
    return min([*idle, *(state(adapted).keys() - stored.keys())], default="")


def _untie(adapted: peft.PeftModel) -> None:
    """Separates the shared weight of two layers if the adapter updates only one of these layers.

    Otherwise a merged update of the embedding would also change the head that is tied to it.
    """
    layers = [module for module in adapted.modules() if isinstance(module, BaseTunerLayer)]
    updated = {id(getattr(layer.get_base_layer(), "weight", None)) for layer in layers}
    visited: set[int] = set()
    for module in adapted.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if id(parameter) in visited & updated:
                setattr(module, name, torch.nn.Parameter(parameter.detach().clone(), requires_grad=False))
            visited.add(id(parameter))


def _does_not_fit(folder: Path, reason: str) -> InputError:
    name = adapter_files.read_config(folder).get("base_model_name_or_path") or "unnamed"
    return InputError(
        f"--config.llm.adapter={folder}: an adapter of another base model ({name}), or broken: {reason[:200]}"
    )


def add(model: Any, config: LoraConfig, name: str) -> peft.PeftModel:
    """Adds new LoRA matrices to a model, in place. All other parameters are frozen.

    The initial values are drawn from torch's global random generator.

    Args:
      model: causal language model.
      config: rank, alpha, dropout, targets.
      name: name of the model; it is stored in the adapter.

    Raises:
      InputError: no module of the model has a target's name, or LoRA cannot update that module.
    """
    targets = config.target_modules()
    modules = {path.rpartition(".")[2]: module for path, module in model.named_modules()}
    matrices = [n for n, module in modules.items() if getattr(module, "weight", torch.ones(1)).dim() == 2]
    for target in targets:
        if target not in modules:
            raise InputError(
                f"--config.llm.lora.targets: {type(model).__name__} has no module {target!r}; it has "
                f"{', '.join(sorted(matrices))}"
            )
    settings = peft.LoraConfig(
        task_type=peft.TaskType.CAUSAL_LM,
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the name is set below
            adapted = peft.get_peft_model(model, settings)
        settings.base_model_name_or_path = name
        return adapted
    except ValueError as error:
        raise InputError(f"--config.llm.lora.targets: {str(error).splitlines()[0][:200]}") from None


def state(adapted: peft.PeftModel) -> dict[str, torch.Tensor]:
    """The tensors of the LoRA matrices, under the names that peft uses in files."""
    return peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)


def restore(adapted: peft.PeftModel, tensors: dict[str, torch.Tensor]) -> None:
    """Sets the LoRA matrices to ``tensors``, which come from `state`."""
    peft.set_peft_model_state_dict(adapted, tensors)


def save(adapted: peft.PeftModel, folder: Path) -> None:
    """Writes the adapter in peft's format, only as safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = adapted.peft_config["default"]
    settings.inference_mode = True
    settings.save_pretrained(folder)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state(adapted).items()}
    safetensors.torch.save_file(weights, folder / adapter_files.WEIGHTS, metadata={"format": "pt"})
