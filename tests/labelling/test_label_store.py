import numpy as np
import pytest
from small_world import prompts as draw
from small_world import titles

from ialp_jax.labelling.label_store import Batch, LabelStore
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.llm.prompting import templates
from ialp_jax.types import Prompts

TEMPLATE = templates.TEMPLATES["titles"]


class Model:
    """A fake model. As in a real model, the last bits of scores depend on the batch. Records batch sizes."""

    def __init__(self, fail_after=None):
        self.sizes, self.fail_after = [], fail_after

    def __call__(self, parts):
        for part in parts:
            if self.fail_after is not None and len(self.sizes) == self.fail_after:
                raise KeyboardInterrupt
            self.sizes.append(part.num_prompts)
            noise = 1e-4 * (part.histories.sum() % 97)
            scores = part.histories.sum(1, keepdims=True) + part.candidates / 100 + noise
            yield Batch(Answers.from_scores(scores), tokens=10 * part.num_prompts, seconds=0.5)


def joined(one, other):
    return Prompts(*(np.concatenate(pair) for pair in zip(one[:2], other[:2], strict=True)))


BACKWARDS = slice(None, None, -1)


def open_store(run, context="model", names=None, shard_size=4, shared=None):
    return LabelStore(
        shared or run / "shards", run / "plans", context, names or titles(), TEMPLATE, shard_size
    )


def assert_same(answers, expected):
    for one, other in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_all_prompts_are_answered_in_shards(tmp_path):
    model, prompts = Model(), draw(10)
    answers, batches = open_store(tmp_path).answers(prompts, model)
    expected = prompts.histories.sum(1, keepdims=True) + prompts.candidates / 100
    np.testing.assert_allclose(answers.scores, expected, atol=1e-2)
    assert model.sizes == [4, 4, 2] == [len(batch.answers.choice) for batch in batches]


def test_no_prompt_is_asked_twice(tmp_path):
    model, prompts = Model(), draw(6)
    store = open_store(tmp_path)
    answers, _ = store.answers(joined(prompts, prompts), model)
    assert model.sizes == [4, 2]
    again, batches = store.answers(prompts.rows(BACKWARDS), model)
    assert model.sizes == [4, 2]
    assert batches == []
    for answered, answered_again in zip(answers, again, strict=True):
        np.testing.assert_array_equal(answered[:6], answered[6:])
        np.testing.assert_array_equal(answered_again, answered[:6][::-1])


def test_left_padding_does_not_change_a_prompt(tmp_path):
    model, prompts = Model(), draw(3)
    store = open_store(tmp_path)
    store.answers(prompts, model)
    store.answers(prompts._replace(histories=np.pad(prompts.histories, ((0, 0), (2, 0)))), model)
    assert sum(model.sizes) == 3


def test_a_second_run_asks_nothing_and_gets_the_same_bits(tmp_path):
    requests = [draw(10, seed=1), draw(7, seed=2), draw(10, seed=1)]
    first, second = open_store(tmp_path), open_store(tmp_path)
    before = [first.answers(request, Model()) for request in requests]
    after = [second.answers(request, Model(fail_after=0)) for request in requests]
    for (answers, batches), (same, same_batches) in zip(before, after, strict=True):
        assert_same(answers, same)
        assert [b.tokens for b in batches] == [b.tokens for b in same_batches]


@pytest.mark.parametrize("survived", [0, 1, 2, 3, 4])
def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(tmp_path, survived):
    requests = [draw(10, seed=1), draw(10, seed=2)]
    requests[1][0][:3], requests[1][1][:3] = requests[0][0][:3], requests[0][1][:3]
    calm = open_store(tmp_path / "calm")
    expected = [calm.answers(request, Model())[0] for request in requests]
    killed, model = open_store(tmp_path / "killed"), Model(fail_after=survived)
    with pytest.raises(KeyboardInterrupt):
        _ = [killed.answers(request, model) for request in requests]
    resumed, rest = open_store(tmp_path / "killed"), Model()
    for request, answers in zip(requests, expected, strict=True):
        assert_same(resumed.answers(request, rest)[0], answers)
    assert len(rest.sizes) == 5 - survived


def _damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "replaced":
        other = next(p for p in path.parent.glob("*.npz") if p != path)
        path.write_bytes(other.read_bytes())
    else:
        arrays = dict(np.load(path))
        arrays["scores"] = arrays["scores"] + 1
        np.savez(path, **arrays)


@pytest.mark.parametrize("how", ["truncated", "empty", "replaced", "altered"])
def test_a_damaged_shard_is_named_and_computed_again(tmp_path, how):
    request = draw(8)
    expected = open_store(tmp_path).answers(request, Model())[0]
    path = sorted((tmp_path / "shards").rglob("*.npz"))[0]
    _damage(path, how)
    model = Model()
    with pytest.warns(UserWarning, match=rf"{path.name}: .*; its answers are computed again"):
        answers = open_store(tmp_path).answers(request, model)[0]
    assert_same(answers, expected)
    assert model.sizes == [4]
    open_store(tmp_path).answers(request, Model(fail_after=0))


def test_a_damaged_plan_is_named_and_made_again_without_the_model(tmp_path):
    request = draw(8)
    expected = open_store(tmp_path).answers(request, Model())[0]
    (path,) = (tmp_path / "plans").rglob("*.npz")
    _damage(path, "truncated")
    with pytest.warns(UserWarning, match=rf"{path.name}: .*; its answers are computed again"):
        answers = open_store(tmp_path).answers(request, Model(fail_after=0))[0]
    assert_same(answers, expected)


def test_another_context_or_text_is_another_prompt(tmp_path):
    request = draw(4)
    open_store(tmp_path).answers(request, Model())
    renamed = ("", *(f"{title} (remastered)" for title in titles()[1:]))
    for changed in ({"context": "other model"}, {"names": renamed}):
        model = Model()
        open_store(tmp_path, **changed).answers(request, model)
        assert model.sizes == [4]


def test_order_and_place_of_items_change_the_address(tmp_path):
    store = open_store(tmp_path)
    histories = np.array([[1, 2], [2, 1], [1, 1], [0, 1]], np.int32)
    candidates = np.array([[3, 4], [3, 4], [2, 3], [1, 2]], np.int32)
    swapped = np.concatenate([candidates, candidates[:1, ::-1]])
    addresses = store.addresses(Prompts(np.concatenate([histories, histories[:1]]), swapped))
    moved = store.addresses(Prompts(np.array([[1]]), np.array([[2, 3, 4]])))
    moved += store.addresses(Prompts(np.array([[1, 2]]), np.array([[3, 4]])))
    assert len({*addresses, *moved}) == 6


def test_addresses_equal_those_in_older_stores(tmp_path):
    """The hashed bytes must stay the same, or every stored answer would be lost."""
    assert [address.hex() for address in open_store(tmp_path).addresses(draw(2))] == [
        "e940534dbc08e5551b60771b4df65b2be8f4847d0fa2dc3e96b8e8a0122e4e92",
        "3368b7e8e8d9d25f107f5104d98d151f6361e454b07424246422681e6ea80514",
    ]


def test_an_empty_request_has_no_answers(tmp_path):
    empty = Prompts(np.zeros((0, 5), np.int32), np.zeros((0, 4), np.int32))
    answers, batches = open_store(tmp_path).answers(empty, Model(fail_after=0))
    assert [array.shape for array in answers] == [(0,), (0, 4), (0,), (0,), (0, 0), (0, 0)]
    assert batches == []


def test_an_equal_request_does_not_ask_the_model(tmp_path):
    store, request = open_store(tmp_path), draw(6)
    first, _ = store.answers(request, Model())
    before = written(tmp_path)
    second, batches = store.answers(request, Model(fail_after=0))
    assert_same(first, second)
    assert batches == []
    assert written(tmp_path) == before


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_runs_that_share_a_store_ask_no_prompt_twice(tmp_path):
    first, second, shared = tmp_path / "first", tmp_path / "second", tmp_path / "shared"
    prompts, model = draw(10), Model()
    stored_answers, _ = open_store(first, shared=shared).answers(prompts, Model())
    more = joined(draw(3, seed=2), prompts.rows(BACKWARDS))
    store = open_store(second, shared=shared, shard_size=2)
    answers, batches = store.answers(more, model)
    assert model.sizes == [2, 1]  # the three new prompts
    assert store.taken == 10
    assert [len(batch.answers.choice) for batch in batches] == [2, 1]
    assert_same(Answers(*(part[:2:-1] for part in answers)), stored_answers)
    alone = Model()
    open_store(tmp_path / "third").answers(more, alone)
    assert sum(alone.sizes) == 13


def test_running_runs_use_the_answers_of_each_other(tmp_path):
    run_a, run_b = (open_store(tmp_path / name, shared=tmp_path / "shared") for name in "ab")
    requests = [draw(6, seed=seed) for seed in range(4)]
    for number, request in enumerate(requests):
        first, second = (run_a, run_b) if number % 2 else (run_b, run_a)
        stored_answers, _ = first.answers(request, Model())
        assert_same(second.answers(request, Model(fail_after=0))[0], stored_answers)


@pytest.mark.parametrize("survived", [0, 1, 2])
def test_a_killed_run_keeps_its_plan_if_another_run_fills_the_store(tmp_path, survived):
    request = draw(10)
    before = request.rows(slice(5, 7))
    expected = {}
    for name in ("calm", "killed"):
        run, shared = tmp_path / name, tmp_path / f"{name} shared"
        open_store(run / "earlier", shared=shared).answers(before, Model())
        if name == "killed":
            with pytest.raises(KeyboardInterrupt):
                open_store(run, shared=shared, shard_size=3).answers(request, Model(fail_after=survived))
            open_store(run / "other", shared=shared).answers(request.rows(BACKWARDS), Model())
        rest = Model()
        expected[name] = open_store(run, shared=shared, shard_size=3).answers(request, rest)[0]
    assert rest.sizes == [3, 3, 2][survived:]
    assert_same(expected["killed"], expected["calm"])


def test_answers_taken_from_a_shared_store_survive_its_loss(tmp_path):
    request, shared = draw(8), tmp_path / "shared"
    open_store(tmp_path / "a", shared=shared).answers(request.rows(slice(5)), Model())
    stored_answers, _ = open_store(tmp_path / "b", shared=shared).answers(request, Model())
    for path in shared.rglob("*.npz"):
        path.unlink()
    model = Model()
    again, _ = open_store(tmp_path / "b", shared=shared).answers(request, model)
    assert model.sizes == [3]
    assert_same(again, stored_answers)


def test_a_damaged_shard_of_another_run_is_named_and_its_prompts_asked_again(tmp_path):
    request, shared, model = draw(8), tmp_path / "shared", Model()
    open_store(tmp_path / "a", shared=shared).answers(request, Model())
    path = sorted(shared.rglob("*.npz"))[0]
    _damage(path, "truncated")
    store = open_store(tmp_path / "b", shared=shared)
    with pytest.warns(UserWarning, match=rf"{path.name}: .*; its answers are computed again"):
        store.answers(request, model)
    assert (model.sizes, store.taken) == ([4], 4)
