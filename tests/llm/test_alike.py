"""No prompt has two items with the same words."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_world import dataset

from ialp_jax import keys
from ialp_jax.errors import InputError
from ialp_jax.labelling.audit_questions import draw
from ialp_jax.labelling.config import AuditConfig
from ialp_jax.llm.lora.training_prompts import PromptSampler
from ialp_jax.llm.modes import none_rule
from ialp_jax.llm.prompting import alike, templates
from ialp_jax.types import EVALUATION, TUNING, Interactions

LIST = templates.TEMPLATES["list"]
SHORT = dataclasses.replace(LIST, max_title=5)  # "Amber Waltz" and "Amber Hymn" become "Amber"


@pytest.fixture(scope="module")
def world():
    return dataset(num_users=60, ordered=True)


@pytest.fixture(scope="module")
def same(world):
    """Items with the same words are in groups of six, because 48 titles have 8 first words."""
    groups = alike.groups(world.catalogue.titles, SHORT, lettered=False)
    assert alike.largest(groups) == 6
    return groups


def require_different(histories, candidates, same):
    """Asserts that no two items of a prompt have the same words."""
    assert len(candidates)
    for history, offered in zip(histories, candidates, strict=True):
        words = same[offered[offered > 0]].tolist()
        assert len(set(words)) == len(words), "the same words twice"
        assert not set(words) & set(same[history[history > 0]].tolist()), "the history among the candidates"


@given(st.lists(st.text("aA[( ", min_size=1), min_size=1, max_size=8), st.booleans(), st.integers(1, 4))
def test_items_are_alike_if_and_only_if_their_words_are(names, lettered, length):
    template = dataclasses.replace(LIST, max_title=length)
    show = templates.quote if lettered else templates.sanitise
    words = ["", *(show(name, length) for name in names)]
    groups = alike.groups(["", *names], template, lettered)
    if groups is None:
        assert len(set(words[1:])) == len(names)
        return
    assert groups[0] == 0
    assert (groups[1:] > 0).all()
    for i in range(1, len(words)):
        for j in range(1, len(words)):
            assert (groups[i] == groups[j]) == (words[i] == words[j])


def test_brackets_make_titles_alike_only_if_they_are_replaced():
    names = ["", "Live [1]", "Live (1)"]
    assert alike.groups(names, LIST, lettered=False) is None
    assert alike.groups(names, LIST, lettered=True).tolist() == [0, 1, 1]


def test_training_prompts(world, same):
    source = PromptSampler(
        world, np.arange(40), history_length=3, num_candidates=4, alike=same, none_share=0.2
    )
    drawn = source.draw(keys.generator(0, "test"), 300)
    require_different(*drawn.prompts[:2], same)
    answers = drawn.prompts.candidates[np.arange(300), drawn.answer - 1][drawn.answer > 0]
    assert all(
        item in world.histories.of(user)
        for item, user in zip(answers, drawn.user[drawn.answer > 0], strict=True)
    )
    with pytest.raises(InputError, match="no user has two likes and 7 items"):
        PromptSampler(world, np.arange(40), history_length=3, num_candidates=7, alike=same)


def test_prompts_of_the_threshold(world, same):
    trial = none_rule.draw_trial(world, world.users(EVALUATION), 0, same)
    require_different(trial.histories, trial.candidates, same)


def rated(world):
    """A world in which every user also rated 30 random items."""
    generator = np.random.default_rng(0)
    items = [np.sort(generator.choice(np.arange(1, 49), 30, replace=False)) for _ in range(60)]
    user, item = np.repeat(np.arange(60, dtype=np.int32), 30), np.concatenate(items).astype(np.int32)
    return dataclasses.replace(
        world, random_test=Interactions(user, item, generator.random(1800) < 0.5, None, True)
    )


@pytest.mark.parametrize("change", [lambda world: world, rated], ids=["held out", "rated at random"])
def test_questions_of_the_audit(world, same, change):
    split = np.where(world.split == EVALUATION, TUNING, world.split)
    world = dataclasses.replace(world, split=split)  # the audit asks about tuning users
    changed = change(world)
    if changed is not world:  # users have few likes, so that some words remain for questions
        kept_rows = np.concatenate([np.arange(8 * user, 8 * user + 3) for user in range(60)])
        interactions = changed.interactions
        changed = dataclasses.replace(
            changed,
            interactions=dataclasses.replace(
                interactions,
                user=interactions.user[kept_rows],
                item=interactions.item[kept_rows],
                like=interactions.like[kept_rows],
            ),
            histories=changed.histories._replace(
                items=changed.histories.items[kept_rows], offsets=np.arange(0, 181, 3)
            ),
        )
    questions = draw(changed, AuditConfig(negatives=20), 5, False, 0, same)
    require_different(questions.histories, questions.candidates, same)
    require_different(questions.exchanged, questions.candidates, same)
    plain = draw(changed, AuditConfig(negatives=20), 5, False, 0)
    with pytest.raises(AssertionError):
        require_different(plain.histories, plain.candidates, same)


def test_without_twins_no_draw_changes(world):
    apart = np.arange(49, dtype=np.int32)
    batches = [
        PromptSampler(world, np.arange(40), history_length=3, num_candidates=4, alike=groups).draw(
            keys.generator(0, "test"), 50
        )
        for groups in (None, apart)
    ]
    flat = [[*batch.prompts[:2], batch.answer, batch.user] for batch in batches]
    for array, same_array in zip(*flat, strict=True):
        np.testing.assert_array_equal(array, same_array)
    trials = [none_rule.draw_trial(world, world.users(EVALUATION), 0, groups) for groups in (None, apart)]
    for array, same_array in zip(*trials, strict=True):
        np.testing.assert_array_equal(array, same_array)
