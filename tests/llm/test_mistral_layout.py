"""Runs the whole label stage with a tiny model in the published layout of Mistral-7B-Instruct."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import recipe, save, titles

pytest.importorskip("torch")

import mistral_layout
import transformers

from ialp_jax.errors import InputError
from ialp_jax.labelling.llm_labeller import LLMLabeller
from ialp_jax.llm import engines, model_files
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.modes.answers import CAUSES
from ialp_jax.llm.prompting import templates

MODES = ("likelihood", "choice", "generate")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A model folder; tests must not change it."""
    return mistral_layout.build(tmp_path_factory.mktemp("hub") / "Mistral-7B-Instruct-v0.3")


@pytest.fixture
def copy(published, tmp_path):
    return shutil.copytree(published, tmp_path / "copy")


def settings(folder, **changes):
    fixed_settings = {
        "model": str(folder),
        "pad_token": "</s>",
        "threads": 1,
        "shard_size": 16,
        "embedded": recipe(),
    }
    return LLMConfig(**{**fixed_settings, **changes})


def label(folder, tmp_path, **changes):
    data = save(tmp_path)
    with LLMLabeller(settings(folder, **changes), data, tmp_path / "labels", seed=0) as worker:
        return worker.label(draw(20)), worker.manifest()


def test_the_folder_has_the_files_of_the_published_one(published):
    names = {path.name for path in published.iterdir()}
    shards = {name for name in names if name.endswith(".safetensors")}
    count = len(shards)
    assert count >= 3
    assert shards == {f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)}
    assert names - shards == {
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    index = json.loads((published / model_files.INDEX).read_text())
    assert set(index["weight_map"].values()) == shards
    assert {"model.embed_tokens.weight", "model.layers.0.self_attn.k_proj.weight", "lm_head.weight"} <= set(
        index["weight_map"]
    )


def test_the_tokenizer_is_a_llama_tokenizer_with_bytes_and_turns(published):
    tokenizer = transformers.AutoTokenizer.from_pretrained(published)
    assert tokenizer.pad_token is None
    text = "Queens of the Stone Age — Ætherium 東京\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    pieces = tokenizer.convert_ids_to_tokens(ids)
    assert "<0xE6>" in pieces
    assert pieces[-1] == "<0x0A>"
    chat = [{"role": "user", "content": "A or B?"}]
    turn = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert turn == "<s>[INST] A or B? [/INST]"


@pytest.mark.parametrize("mode", MODES)
def test_labels_come_from_the_published_layout(published, tmp_path, mode):
    labels, manifest = label(published, tmp_path, mode=mode)
    assert np.isfinite(labels.scores).all()
    assert manifest["model"] == str(published)
    assert manifest["counts"]["prompts"] == 20
    if mode != "generate":  # an untrained model rarely writes a letter
        assert manifest["counts"]["invalid"] == dict.fromkeys(CAUSES[1:], 0)
        assert len(np.unique(labels.choice)) > 2


def build(folder, **changes):
    return engines.build(folder, titles(), templates.TEMPLATES["list"], settings(folder, **changes), (5, 4))


@pytest.mark.parametrize("mode", ["choice", "generate"])
def test_letters_are_asked_in_a_turn_of_the_chat_template(published, mode):
    engine = build(published, mode=mode)
    answers, tokens = engine.answer(draw(8))
    assert engine.facts()["wrapper"][0].startswith("<s>[INST] ")
    assert answers.scores.shape == (8, 4)
    assert tokens > 8 * 40
    if mode == "choice":
        assert (answers.cause == 0).all()
        assert (answers.choice >= 0).all()
        np.testing.assert_allclose(np.exp(answers.scores).sum(1) + np.exp(answers.none), 1, atol=1e-4)


@pytest.mark.parametrize("mode", ["choice", "generate"])
def test_a_missing_chat_template_is_reported_if_required(tmp_path, mode):
    folder = mistral_layout.build(tmp_path / "plain", chat_template=False)
    with pytest.raises(
        InputError, match=r"^--config\.llm\.chat=on: [^\n]*no chat template; use auto or off$"
    ):
        build(folder, mode=mode, chat="on")
    assert build(folder, mode=mode).facts()["wrapper"] is None


@pytest.mark.parametrize("number", [0, 1, -1])
def test_every_shard_is_read(published, copy, number):
    safetensors = pytest.importorskip("safetensors.torch")
    shard = sorted(copy.glob("*.safetensors"))[number]
    changed = {name: tensor.flip(0).contiguous() for name, tensor in safetensors.load_file(shard).items()}
    safetensors.save_file(changed, shard, metadata={"format": "pt"})
    assert model_files.fingerprint(copy) != model_files.fingerprint(published)
    before, after = (build(folder).answer(draw(3))[0].scores for folder in (published, copy))
    assert not np.allclose(before, after, atol=1e-2)


def test_without_a_pad_token_the_error_names_the_setting(published):
    with pytest.raises(InputError, match=r"has no pad token; set --config\.llm\.pad_token=</s>$"):
        build(published, pad_token="")


def test_a_missing_shard_is_named_before_any_work(copy, tmp_path):
    lost = sorted(copy.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(InputError, match=f"^{re.escape(str(lost))}: missing, though model.safetensors.index"):
        label(copy, tmp_path)


def test_an_index_that_names_a_missing_file_is_reported(copy):
    index = json.loads((copy / model_files.INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = "model-00009-of-00009.safetensors"
    (copy / model_files.INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"model-00009-of-00009\.safetensors: missing"):
        model_files.check(copy)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": [1]}'])
def test_a_broken_index_is_reported(copy, content):
    (copy / model_files.INDEX).write_text(content)
    with pytest.raises(
        InputError, match=r"index\.json: not (readable JSON|a JSON object|an index of weights)"
    ):
        model_files.check(copy)


def test_shards_without_index_are_reported(copy):
    (copy / model_files.INDEX).unlink()
    with pytest.raises(InputError, match=r"index\.json: missing, though model-00001-of"):
        model_files.check(copy)


def test_a_truncated_shard_gives_a_one_line_error(copy):
    shard = sorted(copy.glob("*.safetensors"))[-1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InputError, match=f"^{re.escape(str(copy))}: not a readable causal"):
        build(copy)
