"""Tests labels in lettered modes, through the worker process."""

import json
import subprocess

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import recipe, save

from ialp_jax.errors import InputError
from ialp_jax.labelling.llm_labeller import LEAST_SHARE, LLMLabeller, log_scores
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.modes.answers import CAUSES

REQUESTS = [draw(12, seed=1), draw(12, seed=2)]


def ask(folder, **changes):
    if not (folder / "data").exists():
        save(folder)
    fixed = {"threads": 1, "dtype": "float32", "shard_size": 8, "embedded": recipe(context=512)}
    config = LLMConfig(**{**fixed, **changes})
    with LLMLabeller(config, folder / "data", folder / "labels", seed=0) as worker:
        labels = [worker.label(request) for request in REQUESTS]
        return labels, worker.manifest(), worker.places


@pytest.mark.parametrize("mode", ["choice", "generate"])
def test_lettered_modes_label_and_a_second_run_needs_no_torch(wide_folder, tmp_path, monkeypatch, mode):
    settings = {"model": str(wide_folder), "mode": mode, "permutations": 2}
    labels, manifest, places = ask(tmp_path, **settings)
    choices = np.concatenate([label.choice for label in labels])
    num_askings = 2 if mode == "choice" else 4
    assert [p.shape for p in places] == [(12, num_askings), (12, num_askings)]
    assert manifest["mode"] == mode
    assert manifest["permutations"] == 2
    assert manifest["wrapper"] is None
    assert "threshold" not in manifest
    assert manifest["counts"]["none"] == (choices == 0).sum()
    all_places = np.concatenate(places)
    assert manifest["answers_invalid"] == {
        name: (all_places == -i).sum() for i, name in enumerate(CAUSES) if i
    }
    assert manifest["order_bias"]["answers"] == ((all_places > 0) & (all_places < 5)).sum()
    weights = np.exp(np.concatenate([label.scores for label in labels]))  # `ialp_soft` learns their softmax
    chosen = choices > 0
    assert chosen.any() == (mode == "choice")  # this model writes nothing valid but "none"
    np.testing.assert_array_equal(weights[chosen].argmax(1) + 1, choices[chosen])
    if mode == "generate":
        np.testing.assert_allclose(weights, LEAST_SHARE, rtol=1e-5)
    if mode == "choice":
        assert manifest["counts"]["valid"] == 24
    else:
        assert sum(manifest["answers_invalid"].values()) > 0
    monkeypatch.setattr(subprocess, "Popen", None)
    again, same, _ = ask(tmp_path, **settings)
    assert same == manifest
    for one, other in zip(labels, again, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


@pytest.mark.parametrize("mode", ["likelihood", "choice", "generate"])
def test_the_softmax_of_scores_is_the_preference_of_the_model(mode):
    shares = np.array([[0.5, 0, 0.25], [0, 1, 0]], np.float32)
    scores = log_scores(shares if mode == "generate" else np.log(shares + 1e-6), mode)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    preference = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(preference, [[2 / 3, 0, 1 / 3], [0, 1, 0]], atol=1e-5)


def test_the_model_itself_says_none(tmp_path):
    """In lettered modes the embedded model itself chooses "none", without a threshold."""
    labels, manifest, _ = ask(tmp_path, mode="choice")
    everything = [np.log(np.maximum(1 - np.exp(label.scores).sum(1), 1e-9)) for label in labels]
    for label, none in zip(labels, everything, strict=True):
        best = np.concatenate([none[:, None], label.scores], axis=1).argmax(axis=1)
        np.testing.assert_array_equal(label.choice, best)
    assert manifest["training"]["steps"] == 3


def test_on_invalid_drops_invalid_answers_or_counts_them_as_none(wide_folder, tmp_path):
    settings = {"model": str(wide_folder), "mode": "generate", "max_new_tokens": 1, "retries": 0}
    dropped, manifest, _ = ask(tmp_path, **settings)
    invalid = [label.choice == -1 for label in dropped]
    assert np.sum(invalid) > 0
    none, none_manifest, _ = ask(tmp_path, **settings, on_invalid="none")
    for was, before, label in zip(invalid, dropped, none, strict=True):
        np.testing.assert_array_equal(label.choice, np.where(was, 0, before.choice))
    assert none_manifest["counts"]["invalid"] == manifest["counts"]["invalid"]
    assert sum(none_manifest["counts"]["invalid"].values()) == np.sum(invalid)
    assert none_manifest["counts"]["none"] == manifest["counts"]["none"] + np.sum(invalid)
    assert none_manifest["asked"] == manifest["asked"]
    assert none_manifest["on_invalid"] == "none"


@pytest.mark.slow
def test_another_template_gives_other_answers(wide_folder, tmp_path):
    name, scores = tmp_path / "mine.json", []
    for version, offered in enumerate(("Choose:\n", "Choose one:\n"), start=1):
        name.write_text(json.dumps({"name": "mine", "version": version, "offered": offered}))
        labels, manifest, _ = ask(tmp_path, model=str(wide_folder), mode="choice", template=str(name))
        scores.append(labels[0].scores)
        assert manifest["template"]["offered"] == offered
    assert not np.allclose(*scores)


def test_a_missing_chat_template_gives_a_one_line_error(wide_folder, tmp_path):
    with pytest.raises(
        InputError, match=r"^--config\.llm\.chat=on: the tokenizer of [^\n]+ has no chat template"
    ):
        ask(tmp_path, model=str(wide_folder), mode="choice", chat="on")
