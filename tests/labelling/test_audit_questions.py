"""Tests the questions of the audit: their held-out items, histories and excluded items."""

import dataclasses

import numpy as np
import pytest
from audit_world import generated, held_out

from ialp_jax.errors import InputError
from ialp_jax.labelling.audit_questions import PROMPT_CANDIDATES, draw
from ialp_jax.labelling.config import AuditConfig
from ialp_jax.types import EVALUATION, OFFLINE, ONLINE, TUNING, Interactions

LENGTH = 4


def ask(dataset, users=0, negatives=10, lettered=False, seed=0):
    return draw(dataset, AuditConfig(users=users, negatives=negatives), LENGTH, lettered, seed)


def shown(row):
    return row[row > 0].tolist()


def test_the_last_like_is_held_out_and_the_likes_before_it_are_shown():
    dataset = held_out()
    questions = ask(dataset)
    able = [u for u in range(40) if dataset.split[u] != OFFLINE and len(dataset.histories.of(u)) > 1]
    assert questions.user.tolist() == able
    for q, user in enumerate(questions.user):
        likes = dataset.histories.of(user)
        interacted = dataset.interactions.item[dataset.interactions.user == user]
        assert shown(questions.histories[q]) == likes[:-1][-LENGTH:].tolist()
        assert questions.known[q] == len(likes) - 1
        relevant_items = questions.candidates[q][questions.relevant[q]]
        assert relevant_items.tolist() == [likes[-1]]
        negatives = questions.candidates[q][~questions.relevant[q]]
        assert len(set(negatives)) == 10
        assert not set(negatives) & set(interacted)  # disliked items count as interactions too


def test_without_an_order_in_time_a_random_like_is_held_out():
    dataset = held_out(num_users=400, ordered=False)
    questions = ask(dataset)
    places = []
    for q, user in enumerate(questions.user):
        likes = dataset.histories.of(user).tolist()
        held_out_like = int(questions.candidates[q][questions.relevant[q]][0])
        assert set(shown(questions.histories[q])) <= set(likes) - {held_out_like}
        assert len(shown(questions.histories[q])) == min(LENGTH, len(likes) - 1)
        places.append(likes.index(held_out_like) / (len(likes) - 1))
    assert abs(np.mean(places) - 0.5) < 0.06


def test_generated_users_are_asked_about_a_random_place_because_they_list_the_best_first():
    dataset, likelihood = generated()
    questions = ask(dataset)
    for q, user in enumerate(questions.user):
        likes = dataset.histories.of(user).tolist()
        place = likes.index(int(questions.candidates[q][questions.relevant[q]][0]))
        assert place == questions.known[q] >= 1
        assert shown(questions.histories[q]) == likes[:place][-LENGTH:]
    counts = np.diff(dataset.histories.offsets)[questions.user]
    share = ((questions.known - 1) / np.maximum(counts - 2, 1))[counts > 4]
    assert share.min() == 0
    assert share.max() == 1
    assert abs(share.mean() - 0.5) < 0.1
    odds = likelihood(questions)
    assert odds[questions.relevant].mean() > odds[~questions.relevant].mean() + 0.5


def rated():
    dataset = held_out(num_users=40, num_items=60)
    generator = np.random.default_rng(4)
    items = np.concatenate([generator.choice(60, 12, replace=False) + 1 for _ in range(40)]).astype(np.int32)
    like = generator.random(480) < 0.4
    like[36:48] = True  # user 3 likes all rated items
    test = Interactions(np.repeat(np.arange(40, dtype=np.int32), 12), items, like, None, False)
    return dataclasses.replace(dataset, random_test=test)


def test_random_ratings_are_used_if_there_are_some():
    dataset = rated()
    questions = ask(dataset, negatives=3)
    assert 3 not in questions.user
    assert dataset.split[3] != OFFLINE
    for q, user in enumerate(questions.user):
        rated_by_choice = set(dataset.interactions.item[dataset.interactions.user == user].tolist())
        mine = dataset.random_test.user == user
        likes_by_item = dict(zip(dataset.random_test.item[mine], dataset.random_test.like[mine], strict=True))
        size = questions.sizes[q]
        items = questions.candidates[q, :size].tolist()
        assert set(items) == set(likes_by_item) - rated_by_choice
        assert questions.relevant[q, :size].tolist() == [likes_by_item[item] for item in items]
        assert not questions.relevant[q, size:].any()
        likes = dataset.histories.of(user)
        assert set(shown(questions.histories[q])) <= set(likes)
        assert questions.known[q] == len(likes) > 0
    assert len(set(questions.sizes)) > 1
    lettered = ask(dataset, lettered=True)
    np.testing.assert_array_equal(
        questions.candidates, lettered.candidates
    )  # all candidates fit into one prompt


def test_the_exchanged_history_is_that_of_another_user_without_the_candidates():
    dataset = held_out(num_users=60)
    questions = ask(dataset, negatives=30)
    before = {u: dataset.histories.of(u)[:-1] for u in questions.user}
    donors = []
    for q, user in enumerate(questions.user):
        fits = [
            donor
            for donor in questions.user
            if shown(questions.exchanged[q])
            == [item for item in before[donor] if item not in questions.candidates[q]][-LENGTH:]
        ]
        assert set(fits) - {user}
        assert not set(shown(questions.exchanged[q])) & set(questions.candidates[q])
        donors.append(fits)
    assert sum(fits == [user] for fits, user in zip(donors, questions.user, strict=True)) == 0
    assert np.mean([len(fits) == 1 for fits in donors]) > 0.4  # usually only one user fits
    two = ask(held_out(num_users=60), users=2)
    swapped = [
        [i for i in before[u] if i not in two.candidates[1 - q]][-LENGTH:] for q, u in enumerate(two.user)
    ]
    assert [shown(row) for row in two.exchanged] == swapped[::-1]


def test_places_are_random_and_letters_limit_the_number_of_candidates():
    questions = ask(held_out(num_users=800), lettered=True, negatives=100)
    assert questions.candidates.shape[1] == PROMPT_CANDIDATES == 25
    places = questions.relevant.argmax(1)
    assert len(np.unique(places)) == 25
    assert abs(places.mean() - 12) < 1
    assert ask(held_out(), negatives=100).candidates.shape[1] > 50  # all items without an interaction


def test_a_limit_draws_users_at_random_and_keeps_their_questions():
    dataset = held_out(num_users=200)
    everyone, some = ask(dataset), ask(dataset, users=30)
    assert len(some.user) == 30
    rows = np.searchsorted(everyone.user, some.user)
    for field in ("user", "known", "histories", "candidates", "relevant"):
        np.testing.assert_array_equal(getattr(some, field), getattr(everyone, field)[rows])
    again, other_seed = ask(dataset, users=30), ask(dataset, users=30, seed=1)
    for array, array_again in zip(some, again, strict=True):
        np.testing.assert_array_equal(array, array_again)
    assert some.user.tolist() != other_seed.user.tolist()


@pytest.mark.parametrize("source", ["held-out likes", "random ratings"])
def test_only_tuning_users_are_asked(source):
    dataset = rated() if source == "random ratings" else held_out()
    split = (np.arange(dataset.num_users) // 2 % 4).astype(np.int8)
    questions = ask(dataclasses.replace(dataset, split=split))
    assert set(split[questions.user]) == {TUNING}
    for other in (OFFLINE, ONLINE, EVALUATION):
        only = dataclasses.replace(dataset, split=np.full(dataset.num_users, other, np.int8))
        with pytest.raises(InputError, match="needs 2 tuning users"):
            ask(only)


def test_too_few_users_and_impossible_settings_are_refused():
    dataset = held_out()
    nobody = dataclasses.replace(dataset, split=np.full(40, OFFLINE, np.int8))
    with pytest.raises(
        InputError, match=r"small: the audit needs 2 tuning users .* finds 0; --config\.audit\.enabled"
    ):
        ask(nobody)
    for knob, value in (("users", 1), ("users", -1), ("negatives", 0)):
        with pytest.raises(InputError, match=f"--config.audit.{knob}={value} must be"):
            AuditConfig(**{knob: value}).check()
    AuditConfig(users=2, negatives=1).check()
