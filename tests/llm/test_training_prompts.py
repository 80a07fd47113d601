import dataclasses

import numpy as np
import pytest
from small_world import dataset, titles

from ialp_jax import keys
from ialp_jax.errors import InputError
from ialp_jax.llm.lora.training_prompts import NONE, PromptSampler

SHAPE = {"history_length": 3, "num_candidates": 4}


def drawn(world, count=300, seed=0, **changes):
    source = PromptSampler(world, np.arange(40), **{**SHAPE, **changes})
    return source.draw(keys.generator(seed, "test"), count)


def flat(batch):
    return [*batch.prompts[:2], batch.answer, batch.user]


def test_the_answer_is_the_next_like_and_the_others_were_never_liked():
    world = dataset(ordered=True)
    batch = drawn(world)
    for history, candidates, answer, user in zip(*batch.prompts[:2], batch.answer, batch.user, strict=True):
        likes = world.histories.of(user).tolist()
        before = history[history > 0].tolist()
        place = likes.index(candidates[answer - 1])
        assert before == likes[max(0, place - 3) : place]
        assert history.tolist() == [0] * (3 - len(before)) + before
        assert len(set(candidates) & set(likes)) == 1
        assert len(set(candidates)) == 4
    assert batch.prompts.candidates.min() >= 1
    assert set(batch.answer) == {1, 2, 3, 4}, "the place is random"
    assert set((batch.prompts.histories > 0).sum(1)) == {1, 2, 3}


def test_without_an_order_of_time_likes_are_shuffled():
    world = dataset(ordered=False)
    batch = drawn(world)
    first = {user: world.histories.of(user)[0] for user in range(40)}
    answered_items = batch.prompts.candidates[np.arange(300), batch.answer - 1]
    assert any(answered_items[p] == first[user] for p, user in enumerate(batch.user))


def test_a_share_of_prompts_does_not_contain_the_users_item():
    world = dataset()
    batch = drawn(world, none_share=0.3)
    none = batch.answer == NONE
    assert 0.2 < none.mean() < 0.4
    for candidates, user in zip(batch.prompts.candidates[none], batch.user[none], strict=True):
        assert not set(candidates) & set(world.histories.of(user))
    assert (drawn(world).answer != NONE).all()


def test_popularity_sampling_draws_popular_items_more_often():
    world = dataset()
    items = world.histories.items.copy()
    items[8 * 2 : 8 * 40 : 16] = 2  # most users with the taste of item 2 now like it first
    world = dataclasses.replace(world, histories=world.histories._replace(items=items))
    likers = {user for user in range(40) if 2 in world.histories.of(user)}
    assert len(likers) > 20
    share = {}
    for way in ("uniform", "popularity"):
        batch = drawn(world, 2000, negative_sampling=way)
        candidate_rows = [
            row for row, user in zip(batch.prompts.candidates, batch.user, strict=True) if user not in likers
        ]
        share[way] = np.mean([2 in row for row in candidate_rows])
    assert share["popularity"] > 1.5 * share["uniform"]


def test_draws_depend_only_on_their_generator():
    world = dataset()
    source = PromptSampler(world, np.arange(40), **SHAPE)
    source.draw(keys.generator(9, "other"), 5)
    same = source.draw(keys.generator(0, "test"), 300)
    for array, same_array in zip(flat(drawn(world)), flat(same), strict=True):
        np.testing.assert_array_equal(array, same_array)
        assert array.dtype == np.int32
    assert not np.array_equal(drawn(world).prompts.candidates, drawn(world, seed=1).prompts.candidates)


def test_users_who_cannot_be_asked_about_are_left_out():
    world = dataset()
    offsets = world.histories.offsets.copy()
    offsets[1:] -= 7  # the first user keeps one like
    histories = world.histories._replace(items=world.histories.items[7:], offsets=offsets)
    source = PromptSampler(dataclasses.replace(world, histories=histories), np.arange(40), **SHAPE)
    assert source.users.tolist() == list(range(1, 40))


def test_an_error_about_too_many_negatives_names_the_setting():
    most = len(titles()) - 1 - 8
    PromptSampler(dataset(), np.arange(40), history_length=3, num_candidates=most)
    with pytest.raises(
        InputError, match=r"^--config\.llm\.lora\.negatives: no user has [^\n]+ fewer negatives$"
    ):
        PromptSampler(dataset(), np.arange(40), history_length=3, num_candidates=most + 1)
