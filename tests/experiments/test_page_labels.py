"""The page's section about labels, with its warnings."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from experiments.reporting import page
from ialp_jax.labelling.likes import measures
from ialp_jax.llm.prompting import orders


def section_of(manifest):
    """The section of the page for four labels with this manifest."""
    arrays = {
        "histories": np.zeros((4, 2), np.int32),
        "candidates": np.tile(np.arange(1, 6, dtype=np.int32), (4, 1)),
        "choice": np.array([1, 1, 2, 0]),
        "scores": np.zeros((4, 5), np.float32),
    }
    titles = ("", "a", "b", "c", "d", "e")
    return page._labels(SimpleNamespace(labels=(arrays, manifest), titles=titles))


def facts_of(manifest):
    """The facts (name, value) in this section."""
    return section_of(manifest)["facts"]


def test_bias_is_shown_with_its_chance_value_and_warnings():
    places = np.ones((16, 1), np.int8)
    counts = {"prompts": 16, "valid": 16, "none": 0, "invalid": {"empty": 0}}
    facts = facts_of({"counts": counts, "order_bias": orders.order_bias(places, 5)})
    assert ("order bias of letters", "0.80 (0.20 by chance)") in facts
    assert ("most frequent letter", "A 100.0% (20.0% by chance)") in facts
    (warning,) = [value for name, value in facts if name == "warning"]
    assert warning.startswith("the model names letter A")


def test_without_letters_no_letter_bias_is_shown():
    counts = {"prompts": 4, "valid": 4, "none": 1}
    names = [name for name, _ in facts_of({"counts": counts})]
    assert not {"order bias of letters", "most frequent letter", "warning"} & set(names)


def test_seconds_of_answering_and_of_the_stage_are_separate():
    manifest = {"counts": {"prompts": 4}, "asked": 4, "seconds": 0.5, "provenance": {"seconds": 18.7}}
    facts = dict(facts_of(manifest))
    assert (facts["seconds of answering"], facts["prompts per second"]) == ("0.5", "8.0")
    audit = SimpleNamespace(manifest={"seconds": 0.03, "provenance": {"seconds": "long"}})
    results = SimpleNamespace(lora=None, labels=({}, manifest), pretrain={}, audit=audit, agents={})
    assert page._seconds(results) == [("labels", "18.7 s"), ("audit", "0.0 s")]


def test_the_calibration_of_likes_is_shown_with_its_plot_and_its_cautions():
    random = np.random.default_rng(0)
    odds = random.normal(size=500) - 2
    last = measures(odds, random.random(500) < 1 / (1 + np.exp(-odds)))
    last |= {"coefficients": {"intercept": -2.0, "llm": 0.5}, "best": {"predicted": 0.21, "observed": 0.2}}
    rounds = [{"coefficients": {}, "none_share": None}, last | {"none_share": 0.8}]
    section = section_of({"likes": {"rounds": rounds, "cautions": ["round 0: few likes"]}})
    facts = dict(section["facts"])
    assert facts["log-odds of a like, llm"] == "+0.5"
    assert facts["likes of the best candidate"] == "20.0% (21.0% predicted)"
    assert facts["none by round"] == "-, 80%"
    assert facts["warning"] == "round 0: few likes"
    (figure,) = section["figures"]
    assert figure["alt"] == "Observed share of likes over predicted probability"
    assert "Cross-validated" in figure["note"]


def test_a_calibration_with_one_user_has_no_plot():
    rounds = [{"coefficients": {"intercept": -2.0}, "none_share": 0.5}]
    section = section_of({"likes": {"rounds": rounds, "cautions": []}})
    assert section["figures"] == []
    assert "log loss" not in dict(section["facts"])
