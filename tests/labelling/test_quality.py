"""Labels that say when they are junk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialp_jax.errors import InputError
from ialp_jax.labelling import quality
from ialp_jax.llm.prompting import orders


def manifest(places, num_candidates=5, none=0, **more):
    """What the label stage would write about answers int [P, 1]."""
    places = np.asarray(places, np.int8).reshape(-1, 1)
    counts = {"prompts": len(places), "valid": len(places), "none": none, "invalid": {}}
    return {
        "counts": counts,
        "order_bias": orders.order_bias(places, num_candidates),
        "mode": "choice",
        **more,
    }


def test_always_the_same_letter_is_said_beside_chance():
    """16 prompts of 5 candidates, as a real model answered them."""
    found = manifest(np.ones(16))
    assert quality.line(found) == (
        "valid 100.0%, none 0.0%, invalid 0.0%; order bias of letters 0.80 (0.20 by chance); "
        "most frequent letter A 100.0% (20.0% by chance)"
    )
    (caution,) = quality.cautions(found)
    assert caution.startswith("the model names letter A for any item, in at least 48% of its answers")


def test_the_bound_is_that_of_clopper_and_pearson():
    """All n answers: the lower end is alpha ** (1 / n)."""
    low = (0.001 / 5) ** (1 / 16)
    np.testing.assert_allclose(quality.by_letter(np.eye(5)[2], 16), (low - 0.2) / 0.8)
    assert quality.by_letter(np.full(5, 0.2), 1000) == 0
    assert quality.by_letter(np.eye(5)[0], 1) == 0


@pytest.mark.parametrize("answers", [20, 200, 5000])
def test_models_that_judge_items_are_not_accused(answers):
    accused = [
        bool(quality.cautions(manifest(np.random.default_rng(seed).integers(1, 6, answers))))
        for seed in range(200)
    ]
    assert sum(accused) == 0


@pytest.mark.parametrize(("share", "accused"), [(0.1, False), (0.5, True)])
def test_letters_that_decide_much_are_told_from_letters_that_decide_little(share, accused):
    """Of 2,000 answers a share names letter C whatever it stands for."""
    generator = np.random.default_rng(0)
    places = np.where(generator.random(2000) < share, 3, generator.integers(1, 6, 2000))
    found = quality.cautions(manifest(places))
    assert bool(found) == accused
    assert quality.by_letter(np.bincount(places, minlength=6)[1:] / 2000, 2000) <= share + 0.02
    assert not accused or "letter C" in found[0]


@given(st.integers(1, 400), st.integers(2, 25), st.floats(0, 1))
def test_the_bound_never_exceeds_what_was_seen(answers, count, share):
    top = max(share, 1 / count)
    shares = np.full(count, (1 - top) / (count - 1))
    shares[0] = top
    seen = (round(top * answers) / answers - 1 / count) / (1 - 1 / count)
    assert 0 <= quality.by_letter(shares, answers) <= max(seen, 0) + 1e-9


def test_other_kinds_of_junk():
    assert quality.cautions(manifest(np.full(9, 6), none=9)) == [
        "every valid label is none: the labels name no item"
    ]
    mostly = manifest([1, 2, 3])
    mostly["counts"] |= {"prompts": 10, "valid": 3, "invalid": {"empty": 7, "refused": 0}}
    assert quality.cautions(mostly) == ["most answers are invalid: 7 of 10"]
    assert "invalid 70.0% (empty 7)" in quality.line(mostly)
    assert quality.cautions({"counts": {"prompts": 5, "valid": 5, "none": 1}, "source": "popularity"}) == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            {"thinking": "open", "mode": "choice"},
            "letters are scored inside it; use --config",
        ),
        ({"thinking": "open", "mode": "generate", "max_new_tokens": 8}, "max_new_tokens=8 must be enough"),
        ({"wrapper": ["<u>", "<a><think>\n", ""], "mode": "choice"}, "opens a block of thinking"),
    ],
)
def test_prompts_that_end_inside_a_block_of_thinking(facts, said):
    assert said in quality.thinking(facts)
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
def test_not_one_valid_answer_is_refused(tmp_path, cause, cure):
    counts = {"prompts": 40, "valid": 0, "none": 0, "invalid": {cause: 39, "empty": 1}}
    told = {"model": "some/model", "counts": counts}
    with pytest.raises(InputError) as error:
        quality.require_valid(told, "<think>\nOkay", tmp_path)
    said = str(error.value)
    assert said.startswith(
        f"all 40 answers of some/model are invalid ({cause} 39, empty 1); the model wrote "
    )
    assert "'<think> Okay'" in said
    assert cure in said
    assert said.endswith(f"the answers are stored in {tmp_path}")
    quality.require_valid({**told, "counts": counts | {"valid": 1}}, "", tmp_path)


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
def test_what_no_label_stage_writes_is_named(change, name):
    assert quality.broken({**manifest([1, 2, 3]), **change}) == name
