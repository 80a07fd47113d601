import numpy as np
import pytest
from small_world import prompts as draw
from small_world import titles

from ialp_jax.llm import prompts
from ialp_jax.llm.answers import Answers
from ialp_jax.llm.label_store import Batch, LabelStore

TEMPLATE = prompts.TEMPLATES["titles"]


class Model:
    """Scores that depend, like real ones, in their last bits on the batch; counts what it was asked."""

    def __init__(self, fail_after=None):
        self.sizes, self.fail_after = [], fail_after

    def __call__(self, parts):
        for histories, candidates in parts:
            if self.fail_after is not None and len(self.sizes) == self.fail_after:
                raise KeyboardInterrupt
            self.sizes.append(len(histories))
            scores = histories.sum(1, keepdims=True) + candidates / 100 + 1e-6 * len(histories)
            yield Batch(Answers.from_scores(scores), tokens=10 * len(histories), seconds=0.5)


def open_store(folder, context="model", names=None, shard_size=4):
    return LabelStore(folder, context, names or titles(), TEMPLATE, shard_size)


def assert_same(answers, expected):
    for one, other in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_all_prompts_are_answered_in_shards(tmp_path):
    model, (histories, candidates) = Model(), draw(10)
    answers, batches = open_store(tmp_path).answers(histories, candidates, model)
    np.testing.assert_allclose(answers.scores, histories.sum(1, keepdims=True) + candidates / 100, atol=1e-4)
    assert model.sizes == [4, 4, 2] == [len(batch.answers.choice) for batch in batches]


def test_nothing_is_asked_twice(tmp_path):
    model, (histories, candidates) = Model(), draw(6)
    twice = np.concatenate([histories, histories]), np.concatenate([candidates, candidates])
    store = open_store(tmp_path)
    answers, _ = store.answers(*twice, model)
    assert model.sizes == [4, 2]
    again, batches = store.answers(histories[::-1], candidates[::-1], model)
    assert model.sizes == [4, 2]
    assert batches == []
    for said, said_again in zip(answers, again, strict=True):
        np.testing.assert_array_equal(said[:6], said[6:])
        np.testing.assert_array_equal(said_again, said[:6][::-1])


def test_left_padding_is_no_part_of_a_prompt(tmp_path):
    model, (histories, candidates) = Model(), draw(3)
    store = open_store(tmp_path)
    store.answers(histories, candidates, model)
    store.answers(np.pad(histories, ((0, 0), (2, 0))), candidates, model)
    assert sum(model.sizes) == 3


def test_a_second_run_asks_nothing_and_gets_the_same_bits(tmp_path):
    requests = [draw(10, seed=1), draw(7, seed=2), draw(10, seed=1)]
    first, second = open_store(tmp_path), open_store(tmp_path)
    before = [first.answers(*request, Model()) for request in requests]
    after = [second.answers(*request, Model(fail_after=0)) for request in requests]
    for (answers, batches), (same, same_batches) in zip(before, after, strict=True):
        assert_same(answers, same)
        assert [b.tokens for b in batches] == [b.tokens for b in same_batches]


@pytest.mark.parametrize("survived", [0, 1, 2, 3, 4])
def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(tmp_path, survived):
    requests = [draw(10, seed=1), draw(10, seed=2)]
    requests[1][0][:3], requests[1][1][:3] = requests[0][0][:3], requests[0][1][:3]
    calm = open_store(tmp_path / "calm")
    expected = [calm.answers(*request, Model())[0] for request in requests]
    killed, model = open_store(tmp_path / "killed"), Model(fail_after=survived)
    with pytest.raises(KeyboardInterrupt):
        _ = [killed.answers(*request, model) for request in requests]
    resumed, rest = open_store(tmp_path / "killed"), Model()
    for request, answers in zip(requests, expected, strict=True):
        assert_same(resumed.answers(*request, rest)[0], answers)
    assert len(rest.sizes) == 5 - survived


def _damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "replaced":
        other = next(p for p in path.parents[1].rglob("*.npz") if p != path)
        path.write_bytes(other.read_bytes())
    else:
        arrays = dict(np.load(path))
        arrays["scores"] = arrays["scores"] + 1
        np.savez(path, **arrays)


@pytest.mark.parametrize("how", ["truncated", "empty", "replaced", "altered"])
def test_a_damaged_shard_is_named_and_made_again(tmp_path, how):
    request = draw(8)
    expected = open_store(tmp_path).answers(*request, Model())[0]
    path = sorted(tmp_path.rglob("*.npz"))[0]
    _damage(path, how)
    model = Model()
    with pytest.warns(UserWarning, match=rf"{path.name}: altered or truncated"):
        answers = open_store(tmp_path).answers(*request, model)[0]
    assert_same(answers, expected)
    assert model.sizes == [4]
    open_store(tmp_path).answers(*request, Model(fail_after=0))


def test_another_context_or_text_is_another_prompt(tmp_path):
    request = draw(4)
    open_store(tmp_path).answers(*request, Model())
    renamed = ("", *(f"{title} (remastered)" for title in titles()[1:]))
    for changed in ({"context": "other model"}, {"names": renamed}):
        model = Model()
        open_store(tmp_path, **changed).answers(*request, model)
        assert model.sizes == [4]


def test_order_and_place_of_items_matter(tmp_path):
    store = open_store(tmp_path)
    histories = np.array([[1, 2], [2, 1], [1, 1], [0, 1]], np.int32)
    candidates = np.array([[3, 4], [3, 4], [2, 3], [1, 2]], np.int32)
    swapped = np.concatenate([candidates, candidates[:1, ::-1]])
    keys = store.prompt_keys(np.concatenate([histories, histories[:1]]), swapped)
    moved = store.prompt_keys(np.array([[1]]), np.array([[2, 3, 4]])) + store.prompt_keys(
        np.array([[1, 2]]), np.array([[3, 4]])
    )
    assert len({*keys, *moved}) == 6


def test_no_prompts_no_answers(tmp_path):
    empty = np.zeros((0, 5), np.int32), np.zeros((0, 4), np.int32)
    answers, batches = open_store(tmp_path).answers(*empty, Model(fail_after=0))
    assert [array.shape for array in answers] == [(0,), (0, 4), (0,), (0,), (0, 0)]
    assert batches == []
