"""Warnings about useless labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialp_jax.errors import InputError
from ialp_jax.labelling import quality
from ialp_jax.llm.prompting import orders


def manifest(places, num_candidates=5, none=0, **more):
    """The manifest that the label stage would write if these letters were chosen, int [P, 1]."""
    places = np.asarray(places, np.int8).reshape(-1, 1)
    counts = {"prompts": len(places), "valid": len(places), "none": none, "invalid": {}}
    return {
        "counts": counts,
        "order_bias": orders.order_bias(places, num_candidates),
        "mode": "choice",
        **more,
    }


def test_a_constant_letter_is_reported_with_its_share_by_chance():
    """A real model gave these answers to 16 prompts with 5 candidates: letter A to every prompt."""
    facts = manifest(np.ones(16))
    assert quality.line(facts) == (
        "valid 100.0%, none 0.0%, invalid 0.0%; order bias of letters 0.80 (0.20 by chance); "
        "most frequent letter A 100.0% (20.0% by chance)"
    )
    (caution,) = quality.cautions(facts)
    assert caution.startswith("the model names letter A for any item, in at least 48% of its answers")


def test_the_bound_is_that_of_clopper_and_pearson():
    """If all n answers are equal, the lower end of the interval is alpha ** (1 / n)."""
    low = (0.001 / 5) ** (1 / 16)
    np.testing.assert_allclose(quality.by_letter(np.eye(5)[2], 16), (low - 0.2) / 0.8)
    assert quality.by_letter(np.full(5, 0.2), 1000) == 0
    assert quality.by_letter(np.eye(5)[0], 1) == 0


@pytest.mark.parametrize("answers", [20, 200, 5000])
def test_models_that_judge_items_cause_no_warning(answers):
    accused = [
        bool(quality.cautions(manifest(np.random.default_rng(seed).integers(1, 6, answers))))
        for seed in range(200)
    ]
    assert sum(accused) == 0


@pytest.mark.parametrize(("share", "accused"), [(0.1, False), (0.5, True)])
def test_a_letter_that_decides_many_answers_causes_a_warning(share, accused):
    """A share ``share`` of 2,000 answers is letter C, regardless of the candidates."""
    generator = np.random.default_rng(0)
    places = np.where(generator.random(2000) < share, 3, generator.integers(1, 6, 2000))
    cautions = quality.cautions(manifest(places))
    assert bool(cautions) == accused
    assert quality.by_letter(np.bincount(places, minlength=6)[1:] / 2000, 2000) <= share + 0.02
    assert not accused or "letter C" in cautions[0]


@given(st.integers(1, 400), st.integers(2, 25), st.floats(0, 1))
def test_the_bound_never_exceeds_the_observed_share(answers, count, share):
    top = max(share, 1 / count)
    shares = np.full(count, (1 - top) / (count - 1))
    shares[0] = top
    observed_share = (round(top * answers) / answers - 1 / count) / (1 - 1 / count)
    assert 0 <= quality.by_letter(shares, answers) <= max(observed_share, 0) + 1e-9


def test_other_kinds_of_useless_labels():
    assert quality.cautions(manifest(np.full(9, 6), none=9)) == [
        "every valid label is none: the labels name no item"
    ]
    mostly = manifest([1, 2, 3])
    mostly["counts"] |= {"prompts": 10, "valid": 3, "invalid": {"empty": 7, "refused": 0}}
    assert quality.cautions(mostly) == ["most answers are invalid: 7 of 10"]
    assert "invalid 70.0% (empty 7)" in quality.line(mostly)
    assert quality.cautions({"counts": {"prompts": 5, "valid": 5, "none": 1}, "source": "popularity"}) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"thinking": "open", "mode": "choice"},
            "letters are scored inside it; use --config",
        ),
        ({"thinking": "open", "mode": "generate", "max_new_tokens": 8}, "max_new_tokens=8 must be enough"),
        ({"wrapper": ["<u>", "<a><think>\n", ""], "mode": "choice"}, "opens a block of thinking"),
    ],
)
def test_prompts_that_end_inside_a_block_of_thinking(facts, words):
    assert words in quality.thinking(facts)
    assert quality.cautions({**manifest([1, 2, 3, 4, 5]), **facts}) == [quality.thinking(facts)]
    assert quality.thinking({"thinking": "off", "mode": "choice"}) == ""
    assert quality.thinking({}) == ""


@pytest.mark.parametrize(
    ("cause", "cure"),
    [
        ("thinking", "max_new_tokens"),
        ("non_finite", "dtype=float32"),
        ("refused", "mode=choice or likelihood"),
    ],
)
def test_labels_without_a_valid_answer_are_refused(tmp_path, cause, cure):
    counts = {"prompts": 40, "valid": 0, "none": 0, "invalid": {cause: 39, "empty": 1}}
    facts = {"model": "some/model", "counts": counts}
    with pytest.raises(InputError) as error:
        quality.require_valid(facts, "<think>\nOkay", tmp_path)
    message = str(error.value)
    assert message.startswith(
        f"all 40 answers of some/model are invalid ({cause} 39, empty 1); the model wrote "
    )
    assert "'<think> Okay'" in message
    assert cure in message
    assert message.endswith(f"the answers are stored in {tmp_path}")
    quality.require_valid({**facts, "counts": counts | {"valid": 1}}, "", tmp_path)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"counts": [1]}, "counts"),
        ({"counts": {"invalid": {"empty": "x"}}}, "counts"),
        ({"counts": {"prompts": -1}}, "counts"),
        ({"order_bias": "high"}, "order_bias"),
        ({"order_bias": {"answers": 3, "shares": [], "bias": 0, "by_chance": 0}}, "order_bias"),
        ({"order_bias": {"answers": 3, "shares": [2], "bias": 0, "by_chance": 0}}, "order_bias"),
        ({"wrapper": "x"}, "wrapper"),
        ({"wrapper": [1, 2, 3]}, "wrapper"),
        ({"permutations": 0}, "permutations"),
        ({}, ""),
        ({"order_bias": orders.order_bias(np.zeros((2, 1), np.int8), 3)}, ""),
    ],
)
def test_an_impossible_entry_is_named(change, name):
    assert quality.broken({**manifest([1, 2, 3]), **change}) == name
