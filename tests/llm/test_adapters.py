"""A model with a merged or attached adapter equals the fine-tuned model, for adapters on any module."""

from __future__ import annotations

import json
import warnings

import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
safetensors = pytest.importorskip("safetensors.torch")
transformers = pytest.importorskip("transformers")

from ialp_jax.errors import InputError  # noqa: E402
from ialp_jax.llm import adapter_files  # noqa: E402
from ialp_jax.llm.model import adapters, loading  # noqa: E402

CASES = {
    "attention": {"target_modules": ["q_proj", "v_proj"]},
    "embedding": {"target_modules": ["embed_tokens"]},
    "embedding and attention": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "embedding kept whole": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "head kept whole": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "some tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [1, 5]},
    "dora": {"target_modules": ["q_proj"], "use_dora": True},
}
IDS = torch.arange(3, 23)[None]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def base(request, model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    model = loading.load_model(model_folder, "cpu", "float32")
    if not request.param:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.flip(0))
    model.save_pretrained(folder)
    return folder


def adapted(base, folder, save="auto", **settings):
    """Saves an adapter with random updates, and returns the logits of the adapted model."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, init_lora_weights=False, **settings)
        model = peft.get_peft_model(loading.load_model(base, "cpu", "float32"), config).eval()
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.add_(0.3 * torch.randn_like(parameter))
        model.save_pretrained(folder, save_embedding_layers=save)
    return model(input_ids=IDS).logits


@pytest.mark.parametrize("use", ["merge", "attach"])
@pytest.mark.parametrize("case", CASES)
def test_the_model_is_the_fine_tuned_one(base, tmp_path, case, use):
    expected = adapted(base, tmp_path, **CASES[case])
    plain = loading.load_model(base, "cpu", "float32")
    assert (plain(input_ids=IDS).logits - expected).abs().max() > 0.05
    logits = adapters.apply(plain, tmp_path, use)(input_ids=IDS).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("save", [True, False])
def test_an_embedding_stored_with_its_updates_is_accepted(base, tmp_path, save):
    expected = adapted(base, tmp_path, save, **CASES["embedding"])
    names = safetensors.load_file(tmp_path / adapter_files.WEIGHTS).keys()
    assert any("base_layer" in name for name in names) == save
    logits = adapters.apply(loading.load_model(base, "cpu", "float32"), tmp_path, "merge")
    torch.testing.assert_close(logits(input_ids=IDS).logits, expected, atol=1e-4, rtol=1e-4)


def changed(folder, change):
    weights = safetensors.load_file(folder / adapter_files.WEIGHTS)
    change(weights)
    safetensors.save_file(weights, folder / adapter_files.WEIGHTS)


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights.update({"base_model.model.model.layers.9.x.lora_A.weight": torch.ones(4, 8)}),
        lambda weights: weights.pop(min(name for name in weights if "lora" in name)),
        lambda weights: weights.update({"base_model.model.lm_head.other.weight": torch.ones(4, 8)}),
    ],
    ids=["a layer more", "one less", "a part that is not there"],
)
def test_updates_that_would_not_be_loaded_are_refused(base, tmp_path, change):
    adapted(base, tmp_path, **CASES["embedding and attention"])
    changed(tmp_path, change)
    with pytest.raises(
        InputError, match=r"an adapter of another base model.*is in only one of the two"
    ) as error:
        adapters.apply(loading.load_model(base, "cpu", "float32"), tmp_path, "merge")
    assert "\n" not in str(error.value)


def test_a_module_that_the_model_lacks_is_refused(base, tmp_path):
    adapted(base, tmp_path, **CASES["attention"])
    settings = json.loads((tmp_path / adapter_files.CONFIG).read_text()) | {"target_modules": ["c_attn"]}
    (tmp_path / adapter_files.CONFIG).write_text(json.dumps(settings))
    with pytest.raises(InputError, match="an adapter of another base model"):
        adapters.apply(loading.load_model(base, "cpu", "float32"), tmp_path, "attach")
