"""The model computes with exactly the stored weights, and no other setting of the folder has an effect."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import sharpen, titles

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
transformers = pytest.importorskip("transformers")

import families  # noqa: E402

from ialp_jax.errors import InputError  # noqa: E402
from ialp_jax.llm import model_files  # noqa: E402
from ialp_jax.llm.config import LLMConfig  # noqa: E402
from ialp_jax.llm.model import loading, weights  # noqa: E402
from ialp_jax.llm.model.scorer import Scorer  # noqa: E402
from ialp_jax.llm.prompting import templates  # noqa: E402

IDS = torch.arange(3, 23)[None]


@pytest.fixture
def copy(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "copy")


def load(folder):
    return loading.load_model(folder, "cpu", "float32")


def stored(folder, change):
    path = folder / "model.safetensors"
    tensors = safetensors.load_file(path)
    change(tensors)
    safetensors.save_file(tensors, path, metadata={"format": "pt"})


def configured(folder, name="config.json", **changes):
    path = folder / name
    settings = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(settings | changes))


def with_biases(folder):
    rows = {"q": 32, "k": 16, "v": 16}
    names = {f"model.layers.{n}.self_attn.{x}_proj.bias": size for n in range(2) for x, size in rows.items()}
    stored(folder, lambda tensors: tensors.update({name: torch.ones(size) for name, size in names.items()}))


UNUSED = {
    "biases": (with_biases, r"model\.layers\.0\.self_attn\.k_proj\.bias among 6"),
    "a layer less": (lambda f: configured(f, num_hidden_layers=1), r"model\.layers\.1\..* among 9"),
    "a head of another name": (
        lambda f: stored(f, lambda t: t.update({"output.weight": torch.ones(320, 32)})),
        r"output\.weight among 1",
    ),
    "norms of queries": (
        lambda f: stored(f, lambda t: t.update({"model.layers.0.self_attn.q_norm.weight": torch.ones(16)})),
        r"q_norm\.weight among 1",
    ),
}


@pytest.mark.parametrize("case", UNUSED)
def test_stored_weights_that_would_not_be_used_are_refused(copy, case):
    change, message = UNUSED[case]
    change(copy)
    with pytest.raises(
        InputError, match=rf"{copy}: the model of its config\.json .*{message}; give the"
    ) as error:
        load(copy)
    assert "\n" not in str(error.value)


IDLE = {
    "rotary buffers of older formats": {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)},
    "causal masks of older formats": {
        "h.0.attn.bias": torch.ones(4, 4),
        "h.0.attn.masked_bias": torch.ones(1),
    },
    "a copy of a tied head": {"lm_head.weight": torch.ones(320, 32)},
    "eyes": {
        "vision_tower.encoder.weight": torch.ones(4),
        "multi_modal_projector.linear.bias": torch.ones(4),
    },
}


@pytest.mark.parametrize("case", IDLE)
def test_stored_tensors_that_text_does_not_use_are_accepted(model_folder, copy, case):
    tensors = dict(IDLE[case])
    if "lm_head.weight" in tensors:
        tensors["lm_head.weight"] = load(model_folder).lm_head.weight.detach().clone()
    stored(copy, lambda held: held.update(tensors))
    torch.testing.assert_close(load(copy)(input_ids=IDS).logits, load(model_folder)(input_ids=IDS).logits)


def test_a_stored_head_that_differs_from_its_tied_embedding(model_folder, copy):
    """The model uses the stored head, or the folder is refused."""
    head = torch.randn(320, 32, generator=torch.Generator().manual_seed(0))
    stored(copy, lambda held: held.update({"lm_head.weight": head}))
    try:
        model = load(copy)
    except InputError:
        return
    torch.testing.assert_close(model.lm_head.weight, head)


def test_an_adapter_in_the_models_folder_is_refused(copy):
    (copy / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    for act in (load, lambda folder: model_files.resolve(str(folder), "")):
        with pytest.raises(InputError, match=r"holds an adapter beside the model, adapter_config\.json"):
            act(copy)
    (copy / "config.json").unlink()
    with pytest.raises(InputError, match=r"an adapter, not a model; give it to --config\.llm\.adapter"):
        model_files.resolve(str(copy), "")


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_an_encoder_is_refused(tmp_path, name):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.AutoConfig.for_model(name, vocab_size=320, pad_token_id=0, **sizes)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    sharpen(model)
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"not a causal language model, the outputs of \w+ depend on later"):
        load(tmp_path)


def test_attention_is_exact():
    for name in ("gemma2", "gpt_oss", "bloom", "mamba"):
        assert weights.attention_of(families.configuration(name, 320)) == "eager"
    for name in ("mistral", "gemma3", "cohere", "llama"):
        assert weights.attention_of(families.configuration(name, 320)) == "sdpa"


def scorer(folder, **settings):
    return Scorer(folder, titles(), templates.TEMPLATES["titles"], LLMConfig(**settings))


def tokenizer_with(folder, *tokens):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(list(tokens))
    return tokenizer


def test_a_pad_token_outside_the_embedding_gives_a_one_line_error(copy):
    tokenizer = tokenizer_with(copy, "[PAD]")
    tokenizer.pad_token = "[PAD]"
    tokenizer.save_pretrained(copy)
    message = (
        r"its pad token '\[PAD\]' is token 320, the model has embeddings for 320 tokens; set --config\.llm"
    )
    with pytest.raises(InputError, match=rf"{copy}: {message}\.pad_token=</s>") as error:
        scorer(copy)
    assert "\n" not in str(error.value)
    assert scorer(copy, pad_token="</s>").padding == 2
    with pytest.raises(
        InputError, match=r"--config\.llm\.pad_token=\[PAD\]: token 320 of .*/copy, the model"
    ):
        scorer(copy, pad_token="[PAD]")


@pytest.mark.parametrize("mode", ["likelihood", "choice"])
def test_a_token_outside_the_embedding_gives_a_one_line_error(wide_folder, tmp_path, mode):
    folder = shutil.copytree(wide_folder, tmp_path / "copy")
    tokenizer_with(folder, "Sonata").save_pretrained(folder)
    with pytest.raises(InputError, match=r"its tokenizer writes token 320 \('Sonata'\), the model has"):
        scorer(folder, mode=mode)


def test_tokens_outside_all_prompts_are_accepted(copy):
    tokenizer_with(copy, "[UNUSED]").save_pretrained(copy)
    assert np.isfinite(scorer(copy).score(draw(2))[0]).all()


def test_samplers_and_penalties_of_the_folder_do_not_change_answers(wide_folder, tmp_path):
    folder = shutil.copytree(wide_folder, tmp_path / "copy")
    expected, _ = scorer(folder, mode="generate").asker.write(draw(6))
    acts = {"do_sample": True, "temperature": 9.0, "repetition_penalty": 50.0, "suppress_tokens": [5, 6, 7]}
    configured(folder, "generation_config.json", no_repeat_ngram_size=1, **acts)
    texts, _ = scorer(folder, mode="generate").asker.write(draw(6))
    assert texts == expected
    assert scorer(folder, mode="generate").model.generation_config.eos_token_id == 2


def test_outputs_besides_the_logits_are_switched_off(copy):
    configured(copy, output_hidden_states=True)
    assert not load(copy).config.output_hidden_states


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_positions_that_depend_on_the_batch_are_not_used(kind):
    rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 100}
    rope |= {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4} if kind == "longrope" else {}
    config = families.configuration("phi3", 320)
    config.rope_parameters = rope
    assert loading.context_of(config) == 100
    assert loading.context_of(families.configuration("phi3", 320)) == 1024
