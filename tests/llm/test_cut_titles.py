"""Titles that a template cuts to the same text stay different in prompts, stores and output."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from small_world import dataset, recipe

from ialp_jax import store
from ialp_jax.data.files import save_dataset
from ialp_jax.labelling.label_text import prompt_text, read_labels
from ialp_jax.labelling.llm_labeller import LLMLabeller
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.prompting.templates import TEMPLATES, shown
from ialp_jax.types import Prompts

CUT = 12


@pytest.fixture(scope="module")
def cut_alike(tmp_path_factory):
    """A run on a catalogue whose first four titles begin with the same words."""
    pytest.importorskip("torch")
    folder, data = tmp_path_factory.mktemp("run"), dataset()
    alike = tuple(f"Northern Lights {word}" for word in ("Waltz", "Riff", "Riff (2)", "Hymn"))
    catalogue = dataclasses.replace(data.catalogue, titles=("", *alike, *data.catalogue.titles[5:]))
    save_dataset(folder / "data", dataclasses.replace(data, catalogue=catalogue), {})
    (folder / "short.json").write_text(json.dumps({"name": "short", "version": 1, "max_title": CUT}))
    config = LLMConfig(threads=1, embedded=recipe(), template=str(folder / "short.json"))
    histories = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [0, 5]], np.int32)
    candidates = np.array([[6, 7, 8]] * 4 + [[1, 2, 3]], np.int32)
    with LLMLabeller(config, folder / "data", folder / "labels", seed=0) as worker:
        labels = worker.label(Prompts(histories, candidates))
        store.save(folder / "told", labels._asdict(), worker.manifest())
    return folder, labels


def test_the_model_scores_each_title_separately(cut_alike):
    scores = cut_alike[1].scores
    assert len(np.unique(scores[:4, 0])) == 4, "another history, another score"
    assert len(np.unique(scores[4])) == 3, "another candidate, another score"


def test_labels_are_shown_with_the_titles_that_were_asked(cut_alike):
    folder, _ = cut_alike
    labels = read_labels(folder / "told", folder / "data")
    assert labels.titles[1:5] == ["North… Waltz", "Northe… Riff", "Nort… Riff (", "Northe… Hymn"]
    assert "North… Waltz" in prompt_text(labels, 0)


def test_catalogues_without_such_titles_keep_their_prompts():
    data = dataset()
    assert shown(data, TEMPLATES["brief"]).catalogue == data.catalogue
