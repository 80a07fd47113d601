"""Tests the label source ``log_model``: its training, its file, and its scores."""

import dataclasses

import jax
import numpy as np
import pytest
import small_world
from diagnostic_worlds import SMALL

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.labelling import log_model
from ialp_jax.labelling.log_model import FILE, LogModel, log_probabilities
from ialp_jax.networks.heads import Recommender
from ialp_jax.training.config import PretrainConfig
from ialp_jax.training.offline import offline_windows
from ialp_jax.types import Prompts

LENGTH = 5
NETWORK = Recommender(48, LENGTH, SMALL)
CONFIG = PretrainConfig(batch_size=32, learning_rate=1e-2, sasrec_updates=60)
LOGGED = offline_windows(small_world.dataset(), LENGTH, 0)


def model(folder, none_share=0.25, config=CONFIG, key=0, logged=LOGGED):
    return LogModel(0, none_share, folder / "log_model", NETWORK, logged, config, jax.random.key(key))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    with model(folder) as source:
        yield folder, source


def test_it_prefers_items_of_the_users_taste_and_labels_the_share_of_none(trained):
    _, source = trained
    histories = LOGGED.history[:200]
    own = histories[:, -1] % 2  # users like only odd or only even items
    random = np.random.default_rng(0)
    candidates = np.stack([random.permutation(np.arange(1, 49))[:6] for _ in own]).astype(np.int32)
    labels = source.label(Prompts(histories, candidates))
    assert np.mean(labels.choice == 0) == 0.25
    taken = labels.choice > 0
    items = candidates[taken, labels.choice[taken] - 1]
    assert np.mean(items % 2 == own[taken]) > 0.9
    np.testing.assert_array_equal(labels.choice[taken], labels.scores[taken].argmax(1) + 1)


def test_scores_are_log_probabilities_over_the_catalogue(trained, monkeypatch):
    _, source = trained
    histories, everything = LOGGED.history[:7], np.tile(np.arange(1, 49, dtype=np.int32), (7, 1))
    scores = source.evidence(Prompts(histories, everything), counted=False)
    logits = np.asarray(NETWORK.apply(source._params, histories), np.float64)
    np.testing.assert_allclose(
        scores, logits - np.log(np.exp(logits).sum(1, keepdims=True)), atol=1e-5, rtol=1e-5
    )
    monkeypatch.setattr(log_model, "_MOST_SCORES", 100)  # two histories at once, so one is left over
    jax.clear_caches()
    pieces = log_probabilities(NETWORK, source._params, histories, everything)
    np.testing.assert_allclose(pieces, scores, atol=1e-5)


def test_a_stored_model_is_read_and_training_again_gives_the_same_bits(trained, tmp_path, monkeypatch):
    folder, _ = trained
    first = (folder / "log_model" / FILE).read_bytes()
    with model(tmp_path) as again:
        facts = again.manifest()["log_model"]
    assert (tmp_path / "log_model" / FILE).read_bytes() == first
    monkeypatch.setattr(LogModel, "_train", None)
    with model(tmp_path) as read:
        assert read.manifest()["log_model"] == facts
    assert facts["users"] == len(np.unique(LOGGED.user))
    assert facts["updates"] == 60


@pytest.mark.parametrize(
    "change",
    [
        {"config": dataclasses.replace(CONFIG, sasrec_updates=59)},
        {"config": dataclasses.replace(CONFIG, learning_rate=2e-2)},
        {"key": 1},
        {"logged": type(LOGGED)(*(column[:-1] for column in LOGGED))},
    ],
)
def test_another_recipe_trains_another_model(trained, tmp_path, change, monkeypatch):
    folder, _ = trained
    calls = []

    def train(self, sequences):
        calls.append(len(sequences))
        raise InputError("trains")

    monkeypatch.setattr(LogModel, "_train", train)
    with model(folder):
        assert calls == []
    with pytest.raises(InputError, match="trains"), model(folder, **change):
        pass
    assert len(calls) == 1


def test_a_killed_training_leaves_nothing_and_a_damaged_file_is_reported(tmp_path, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(log_model.store, "seal", killed)
        with pytest.raises(KeyboardInterrupt), model(tmp_path):
            pass
    assert store.read_manifest(tmp_path / "log_model") is None
    quick = dataclasses.replace(CONFIG, sasrec_updates=1)
    with model(tmp_path, config=quick):
        pass
    path = tmp_path / "log_model" / FILE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"model\.safetensors: altered"), model(tmp_path, config=quick):
        pass
