"""Model folders that can be loaded, but would give wrong scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from small_run import SETTINGS

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
safetensors = pytest.importorskip("safetensors.torch")
transformers = pytest.importorskip("transformers")

from ialp_jax import store  # noqa: E402
from ialp_jax.labelling import estimate_client, llm_client  # noqa: E402
from ialp_jax.llm.worker.worker import Worker  # noqa: E402

LLM = ("--config.llm.model=HERE/model", "--config.llm.threads=1")
AUDIT = (*SETTINGS, "--config.audit.enabled=true", "--overwrite", "--workdir=HERE/run", "--stage=audit", *LLM)
LORA = (*SETTINGS, "--overwrite", "--workdir=HERE/run", "--stage=lora", "--config.labelling.source=llm", *LLM)
LORA = (*LORA, "--config.llm.lora.steps=1")
DRY = (*SETTINGS, "--overwrite", "--workdir=HERE/run", "--dry_run", "--config.labelling.source=llm", *LLM)
CHOICE, ADAPTER = ("--config.llm.mode=choice",), ("--config.llm.adapter=HERE/adapter",)
SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "vocab_size": 8}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 2048}
UNUSED = "HERE/model: the model of its config.json does not use all stored weights, "
UNREADABLE = "HERE/model: not a readable causal language model ("
OTHER = "--config.llm.adapter=HERE/adapter: an adapter of another base model (...), or broken: "


class Here:
    """Answers requests to the worker in this process, so that torch is loaded only once for all cases."""

    def __init__(self, log: Path) -> None:
        self._worker = Worker()

    def ask(self, order: dict[str, Any], **arrays: Any) -> Any:
        return self._worker.answer(order, arrays)

    def close(self) -> None: ...


@pytest.fixture
def here(monkeypatch):
    for module in (llm_client, estimate_client):
        monkeypatch.setattr(module, "WorkerProcess", Here)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def save(folder: Path, kind: str = "mistral", pad: str = "<pad>", unknown: int = 3, **changes: Any) -> None:
    """Saves a random model of a few thousand parameters, and a word tokenizer with a small vocabulary."""
    config = transformers.AutoConfig.for_model(kind, **{**SIZES, **changes})
    torch.manual_seed(0)
    model = transformers.AutoModel if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    model = model.from_config(config)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3)
    model.save_pretrained(folder)
    words = {"<pad>": 0, "</s>": 1, "b": 2, "<unk>": unknown, "[PAD]": 8}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    special = {"pad_token": pad, "eos_token": "</s>", "unk_token": "<unk>"}
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    wrapped.save_pretrained(folder)


def configured(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def stored(path: Path, remove: str = "", **tensors: Any) -> None:
    held = safetensors.load_file(path)
    held.pop(remove, None)
    names = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    safetensors.save_file(held | names, path, metadata={"format": "pt"})


def weights(remove: str = "", **tensors: Any) -> Any:
    return lambda folder: stored(folder / "model/model.safetensors", remove, **tensors)


def settings(**changes: Any) -> Any:
    return lambda folder: configured(folder / "model", **changes)


def another(kind: str = "mistral", **changes: Any) -> Any:
    """Replaces the good model by a random model of this kind."""
    return lambda folder: save(folder / "model", kind, **changes)


def adapter(target: str = "q_proj", at: str = "adapter", **changes: Any) -> Any:
    """Makes an adapter of the good model, and adds tensors to its file."""

    def make(folder: Path) -> None:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder / "model")
        adapted = peft.get_peft_model(
            model, peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=[target])
        )
        adapted.save_pretrained(folder / at)
        (folder / at / "README.md").unlink(missing_ok=True)
        stored(folder / at / "adapter_model.safetensors", **changes)

    return make


def only_adapter(folder: Path) -> None:
    adapter(at="elsewhere")(folder)
    shutil.rmtree(folder / "model")
    (folder / "elsewhere").rename(folder / "model")


BESIDE = (
    "HERE/model: holds an adapter beside the model, adapter_config.json; move the adapter's files to "
    "another folder; to use the adapter, give that folder to --config.llm.adapter"
)
CASES = {  # case -> (damage to a good model, command, expected message)
    "an adapter beside the model": (adapter(at="model"), AUDIT, BESIDE),
    "an adapter beside the model, dry": (adapter(at="model"), DRY, BESIDE),
    "an adapter as the model": (
        only_adapter,
        AUDIT,
        "HERE/model: an adapter, not a model; give it to --config.llm.adapter, and to --config.llm.model the "
        "model that it belongs to",
    ),
    "biases that the model has not": (
        weights(model__layers__0__self_attn__q_proj__bias=torch.ones(16)),
        AUDIT,
        UNUSED
        + "model.layers.0.self_attn.q_proj.bias among 1; give the config.json that belongs to the weights",
    ),
    "half of the layers": (
        settings(num_hidden_layers=1),
        AUDIT,
        UNUSED + "model.layers.1.input_layernorm.weight among 9; give ...",
    ),
    "half of the layers, by letters": (
        settings(num_hidden_layers=1),
        (*AUDIT, *CHOICE),
        UNUSED + "model.layers.1.input_layernorm.weight among 9; give ...",
    ),
    "half of the layers, fine-tuned": (
        settings(num_hidden_layers=1),
        LORA,
        UNUSED + "model.layers.1.input_layernorm.weight among 9; give ...",
    ),
    "more layers than weights": (
        settings(num_hidden_layers=3),
        AUDIT,
        "HERE/model: weights are missing, model.layers.2.input_layernorm.weight among them",
    ),
    "a norm less": (
        weights(remove="model.norm.weight"),
        AUDIT,
        "HERE/model: weights are missing, model.norm.weight among them",
    ),
    "weights of another size": (settings(intermediate_size=20), AUDIT, UNREADABLE + "...size...)"),
    "a size that is a word": (settings(hidden_size="wide"), AUDIT, UNREADABLE + "...hidden_size...)"),
    "a size that is a word, dry": (settings(hidden_size="wide"), DRY, UNREADABLE + "...hidden_size...)"),
    "positions of no known kind": (
        settings(rope_parameters={"rope_type": "spiral", "rope_theta": 1e4}),
        AUDIT,
        UNREADABLE + "...spiral...)",
    ),
    "an encoder": (
        another("bert"),
        AUDIT,
        "HERE/model: not a causal language model, the outputs of BertLMHeadModel depend on later tokens",
    ),
    "an encoder with a decoder": (
        another("t5", d_model=16, num_layers=1, d_kv=8, d_ff=16, num_heads=2),
        AUDIT,
        UNREADABLE + "Unrecognized configuration class ...T5Config...)",
    ),
    "a pad token beyond the embedding": (
        another(pad="[PAD]"),
        AUDIT,
        "HERE/model: its pad token '[PAD]' is token 8, the model has embeddings for 8 tokens; set "
        "--config.llm.pad_token=</s>",
    ),
    "a pad token beyond the embedding, dry": (
        another(pad="[PAD]"),
        DRY,
        "HERE/model: its pad token '[PAD]' is token 8, the model has embeddings for 8 tokens; set "
        "--config.llm.pad_token=</s>",
    ),
    "a chosen pad token beyond the embedding": (
        lambda folder: None,
        (*AUDIT, "--config.llm.pad_token=[PAD]"),
        "--config.llm.pad_token=[PAD]: token 8 of HERE/model, the model has embeddings for 8 tokens; choose "
        "another",
    ),
    "words beyond the embedding": (
        another(unknown=9),
        AUDIT,
        "HERE/model: its tokenizer writes token 9 ('<unk>'), the model has embeddings for 8 tokens; use the "
        "tokenizer that belongs to the model",
    ),
    "an adapter with a layer more": (
        adapter(base_model__model__model__layers__7__mlp__up_proj__lora_A__weight=torch.ones(2, 16)),
        (*AUDIT, *ADAPTER),
        OTHER + "base_model.model.model.layers.7.mlp.up_proj.lora_A.weight is in only one of the two",
    ),
    "an adapter of a smaller model": (
        lambda folder: (adapter("embed_tokens")(folder), save(folder / "model", vocab_size=9)),
        (*AUDIT, *ADAPTER),
        OTHER + "...",
    ),
    "a recurrence fine-tuned by likelihood": (
        another("mamba", state_size=4),
        (*LORA, "--config.llm.lora.targets=in_proj"),
        "--config.llm.model=HERE/model: MambaForCausalLM takes no mask per token, so LoRA "
        "cannot train it for likelihood",
    ),
}


@pytest.fixture(scope="module")
def sound(finished, tmp_path_factory):
    """A run whose data stage is done, and a good model beside it."""
    folder = tmp_path_factory.mktemp("sound")
    shutil.copytree(finished / "data", folder / "run/data")
    shutil.copy(finished / store.MARKER, folder / "run")
    save(folder / "model")
    return folder


@pytest.mark.filterwarnings("ignore:.*takes no mask per token")
@pytest.mark.parametrize("case", CASES)
def test_models_whose_scores_would_be_wrong_are_refused(refused, here, sound, tmp_path, case):
    damage, command, message = CASES[case]
    for part in sound.iterdir():
        shutil.copytree(part, tmp_path / part.name)
    damage(tmp_path)
    refused(message, "main", *command)
    assert not (tmp_path / "run/audit").exists()
