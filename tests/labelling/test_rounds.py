"""Tests the label loop without a run folder, with a small world, a learning actor and a fake labeller."""

import jax
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, ITEMS, LENGTH, world
from function_labeller import FunctionLabeller

from ialp_jax.agents.config import IALPConfig
from ialp_jax.errors import InputError
from ialp_jax.labelling.config import LabellingConfig
from ialp_jax.labelling.imagine import imagined_params
from ialp_jax.labelling.rounds import Setting, label_rounds
from ialp_jax.training.config import PretrainConfig
from ialp_jax.training.pretrain import Pretrainer, offline_loss

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
