"""Tests the label loop without a run folder, with a small world, a learning actor and a fake labeller."""

import jax
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, ITEMS, LENGTH, world
from function_labeller import FunctionLabeller

from ialp_jax.agents.config import IALPConfig
from ialp_jax.data.splits import Windows
from ialp_jax.errors import InputError
from ialp_jax.labelling.calibrated import Calibrated, HeldOut
from ialp_jax.labelling.config import LabellingConfig
from ialp_jax.labelling.imagine import imagined_params
from ialp_jax.labelling.rounds import Setting, label_rounds
from ialp_jax.training.config import PretrainConfig
from ialp_jax.training.pretrain import Pretrainer, offline_loss
from ialp_jax.types import Histories

ROUNDS, SESSIONS, STEPS, K = 3, 4, 2, 3
WINDOWS = np.array([[0, 0, 0, 1], [0, 0, 2, 3], [0, 4, 5, 6]], np.int32)
SETTING = Setting(
    ENV,
    imagined_params(world("patience"), WINDOWS),
    ACTOR_CRITIC,
    LabellingConfig(rounds=ROUNDS, sessions=SESSIONS, steps=STEPS, candidates=K),
)


class Learner(Pretrainer):
    """A pre-trainer that records when it learns, and from how many labels."""

    def __init__(self, calls):
        loss = offline_loss(IALPConfig(), ACTOR_CRITIC)
        super().__init__(loss, ACTOR_CRITIC, PretrainConfig(batch_size=8), 5, jax.random.key(1), 1, LENGTH)
        self.calls, self.sizes = calls, []

    def advance(self, data, size, *rest):
        self.calls.append("learn")
        self.sizes.append(size)
        return super().advance(data, size, *rest)


def lowest_id(prompts):
    return prompts.candidates.argmin(1) + 1


def run(choose=lowest_id, **events):
    labeller = FunctionLabeller(choose)
    learner = Learner(labeller.calls)
    return labeller, learner, label_rounds(SETTING, labeller, learner, jax.random.key(0), **events)


@pytest.fixture(scope="module")
def result():
    steps, rounds = [], []
    results = run(on_step=lambda: steps.append(1), on_round=lambda arrays: rounds.append(arrays["round"]))
    return *results, steps, rounds


def test_the_arrays_hold_all_rounds_in_their_order(result):
    labeller, _, arrays, *_ = result
    per_round = SESSIONS * STEPS
    np.testing.assert_array_equal(arrays["round"], np.repeat(np.arange(ROUNDS), per_round))
    assert {len(array) for array in arrays.values()} == {SETTING.config.num_prompts()}
    for name in ("histories", "candidates"):
        labelled = np.concatenate([getattr(prompts, name) for prompts in labeller.prompts])
        np.testing.assert_array_equal(arrays[name], labelled)
    assert set(np.concatenate([prompts.windows for prompts in labeller.prompts])) <= {0, 1, 2}


def test_a_new_session_is_labelled_with_the_window_from_which_it_started(result):
    first = result[0].prompts[0]
    np.testing.assert_array_equal(WINDOWS[first.windows], first.histories)


def test_the_actor_learns_between_rounds_from_all_labels_so_far_and_only_from_valid_rounds(result):
    labeller, learner, *_ = result
    one_round = ["label"] * STEPS + ["require_valid"]
    assert labeller.calls == [*one_round, "learn", *one_round, "learn", *one_round]
    assert learner.sizes == [SESSIONS * STEPS, 2 * SESSIONS * STEPS]


def test_progress_is_reported_after_each_step_and_each_round(result):
    *_, steps, rounds = result
    assert len(steps) == ROUNDS * STEPS
    assert [set(numbers) for numbers in rounds] == [{0}, {1}, {2}]


def test_the_labels_change_the_later_proposals_of_the_actor(result):
    *_, other_arrays = run(lambda prompts: prompts.candidates.argmax(1) + 1)
    arrays, per_round = result[2], SESSIONS * STEPS
    np.testing.assert_array_equal(arrays["candidates"][:SESSIONS], other_arrays["candidates"][:SESSIONS])
    assert (arrays["candidates"][per_round:] != other_arrays["candidates"][per_round:]).any()


def test_the_loop_fails_before_the_actor_learns_if_no_answer_is_valid():
    class Useless(FunctionLabeller):
        def require_valid(self):
            raise InputError("all answers are invalid")

    labeller = Useless(lambda prompts: np.full(SESSIONS, -1))
    learner = Learner(labeller.calls)
    with pytest.raises(InputError, match="all answers are invalid"):
        label_rounds(SETTING, labeller, learner, jax.random.key(0))
    assert labeller.calls == ["label"] * STEPS


def mixed_run(seed=0):
    """Three rounds with a short horizon, staggered starts and candidates of all proposers."""
    config = LabellingConfig(
        rounds=ROUNDS,
        sessions=SESSIONS,
        steps=3,
        candidates=4,
        horizon=2,
        popular_share=0.3,
        uniform_share=0.3,
    )
    setting = SETTING._replace(config=config, likes=np.arange(ITEMS + 1))
    labeller = FunctionLabeller(lowest_id)
    return label_rounds(setting, labeller, Learner(labeller.calls), jax.random.key(seed))


def test_the_key_determines_all_arrays_also_with_a_horizon_and_several_proposers():
    arrays, again, other = mixed_run(), mixed_run(), mixed_run(1)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, again[name])
    assert (arrays["candidates"] != other["candidates"]).any()
    assert (np.bincount(arrays["proposer"].ravel()) == len(arrays["choice"]) * np.array([2, 1, 1])).all()
    age = (arrays["shown"][:, LENGTH:] > 0).sum(1)
    assert set(age) == {0, 1}  # a session takes at most two steps
    first = arrays["truncated"][:SESSIONS]
    assert first.sum() == SESSIONS // 2  # not all sessions end at the same time


def test_labels_that_start_together_are_cut_together():
    config = LabellingConfig(rounds=1, sessions=SESSIONS, steps=6, candidates=K, horizon=3, staggered=False)
    labeller = FunctionLabeller(lowest_id)
    setting = SETTING._replace(config=config)
    arrays = label_rounds(setting, labeller, Learner(labeller.calls), jax.random.key(0))
    ends = arrays["truncated"].reshape(6, SESSIONS)
    assert ends.all(1).tolist() == [False, False, True] * 2
    assert ends.any(1).tolist() == [False, False, True] * 2


class OddItems(FunctionLabeller):
    """A label source that scores odd items highly."""

    def __init__(self):
        super().__init__(lowest_id)

    def evidence(self, prompts, counted):
        self.prompts.append(prompts)
        self.calls.append("label" if counted else "question")
        return (prompts.candidates % 2).astype(np.float64)


LIKES = Histories(np.array([1, 3, 5, 7, 2, 3, 9, 11, 4, 5, 6, 13], np.int32), np.array([0, 4, 8, 12]))
HELD_OUT = HeldOut(
    Windows(WINDOWS, np.array([3, 9, 13], np.int32), np.array([0, 1, 2], np.int32)),
    np.array([0, 2]),
    LIKES,
    False,
)


def calibrated_run():
    source = OddItems()
    labeller = Calibrated({"llm": source}, HELD_OUT, np.zeros(17), questions=20, seed=0)
    learner = Learner(source.calls)
    return source, labeller, label_rounds(SETTING, labeller, learner, jax.random.key(0))


@pytest.fixture(scope="module")
def calibrated():
    return calibrated_run()


def test_a_calibrated_labeller_asks_its_questions_at_the_start_of_each_round(calibrated):
    source, labeller, _ = calibrated
    one_round = ["question"] + ["label"] * STEPS + ["require_valid"]
    assert source.calls == [*one_round, "learn", *one_round, "learn", *one_round]
    questions = source.prompts[:: STEPS + 1]
    assert [asked.shape for asked in questions] == [(LENGTH, K)] * ROUNDS
    assert all(set(asked.windows) == {0, 2} for asked in questions)
    for asked in questions:
        shown = asked.candidates[..., None] == asked.histories[:, None]
        assert not shown.any()
    assert len(labeller.manifest()["likes"]["rounds"]) == ROUNDS


def test_the_arrays_of_a_calibrated_labeller_hold_probabilities(calibrated):
    _, _, arrays = calibrated
    assert arrays["probability"].dtype == np.float32
    assert arrays["probability"].shape == arrays["candidates"].shape
    np.testing.assert_allclose(arrays["probability"], 1 / (1 + np.exp(-arrays["scores"])), rtol=1e-5)
    taken = arrays["choice"] > 0
    assert 0 < taken.sum() < len(taken)
    best = arrays["probability"].argmax(1) + 1
    np.testing.assert_array_equal(arrays["choice"][taken], best[taken])


def test_a_repeated_calibrated_run_gives_the_same_bits(calibrated):
    _, labeller, arrays = calibrated
    _, again, repeated = calibrated_run()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, repeated[name])
    assert again.manifest() == labeller.manifest()


def test_the_questions_hold_the_proposals_of_the_present_actor(calibrated, monkeypatch):
    """If the actor proposed the same in all rounds, the questions would not change with the actor."""
    source, _, _ = calibrated
    monkeypatch.setattr(Learner, "advance", lambda self, data, size: self.calls.append("learn"))
    untrained, _, _ = calibrated_run()
    same = [
        np.array_equal(one.candidates, other.candidates)
        for one, other in zip(source.prompts[:: STEPS + 1], untrained.prompts[:: STEPS + 1], strict=True)
    ]
    assert same[0]
    assert not any(same[1:])
