import numpy as np
import pytest
from small_world import dataset

from ialp_jax.llm.modes import none_rule
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.types import Histories

INF = np.inf


def test_youden_by_hand():
    own_gains, other_gains = np.array([1.0, 2.0, 3.0, 4.0]), np.array([-1.0, 0.0, 0.5, 2.5])
    # The threshold 1.0 accepts all own items and rejects 3 of 4 others. Its J = 0.75 is the highest.
    assert none_rule.threshold(own_gains, other_gains, "youden", 0.0) == 1.0


def test_youden_finds_the_best_of_all_thresholds():
    generator = np.random.default_rng(0)
    own_gains, other_gains = generator.normal(1, 1, 200), generator.normal(0, 1, 300)

    def j(limit):
        return (own_gains >= limit).mean() - (other_gains >= limit).mean()

    assert j(none_rule.threshold(own_gains, other_gains, "youden", 0.0)) == max(
        j(x) for x in [*own_gains, *other_gains]
    )


def test_quantile_and_never():
    own_gains, other_gains = np.array([5.0]), np.arange(11.0)
    assert none_rule.threshold(own_gains, other_gains, "quantile", 0.8) == pytest.approx(8.0)
    assert none_rule.threshold(own_gains, other_gains, "never", 0.8) is None


def test_scores_that_are_not_finite_do_not_move_the_threshold():
    own_gains, other_gains = np.array([np.nan, 1.0, 2.0]), np.array([-INF, 0.0, np.nan])
    assert none_rule.threshold(own_gains, other_gains, "youden", 0.0) == 1.0
    assert none_rule.threshold(own_gains[:1], other_gains, "youden", 0.0) is None


@pytest.mark.parametrize(
    ("scores", "alone", "limit", "choice"),
    [
        ([-3.0, -1.0, -2.0], [-3.0, -3.0, -3.0], 1.0, 2),
        (
            [-3.0, -1.0, -2.0],
            [-9.0, -1.5, -9.0],
            1.0,
            0,
        ),  # the candidate with the best score counts, not the one with the best gain
        ([-3.0, -1.0, -2.0], [-9.0, -1.5, -9.0], None, 2),
        ([-1.0, -1.0, -2.0], [-9.0, -9.0, -9.0], 0.0, 1),
        ([-3.0, -2.0, -3.0], [-3.0, -3.0, -3.0], 1.0, 2),  # a score equal to the threshold is not below it
        ([-3.0, np.nan, -2.0], [-9.0, -9.0, -9.0], 0.0, -1),
        ([-3.0, -INF, -2.0], [-9.0, -9.0, -9.0], None, -1),
    ],
)
def test_labels_by_hand(scores, alone, limit, choice):
    assert none_rule.decide(
        Answers.from_scores(np.float32([scores])), np.float32([alone]), limit
    ).tolist() == [choice]


def test_trial_prompts_have_the_next_item_of_held_out_users():
    data = dataset(ordered=True)
    users = np.array([2, 5])
    trial = none_rule.draw_trial(data, users, seed=0)
    assert trial.histories.shape == (none_rule.NUM_PROMPTS, none_rule.HISTORY_LENGTH)
    lengths = set()
    for p, (history, (own_gains, other_gains)) in enumerate(zip(*trial[:2], strict=True)):
        likes = data.histories.of(users[p % 2]).tolist()
        known = history[history > 0].tolist()
        lengths.add(len(known))
        place = likes.index(own_gains)
        assert known == likes[place - len(known) : place]
        assert other_gains not in likes
        assert 1 <= other_gains <= data.catalogue.num_items
        assert history[: len(history) - len(known)].tolist() == [0] * (len(history) - len(known))
    assert lengths == set(range(1, 8))
    assert not np.array_equal(trial.candidates, none_rule.draw_trial(data, users, seed=1).candidates)


def test_users_with_one_like_are_not_used():
    data = dataset()
    short = Histories(data.histories.items[:1], np.array([0, 1], np.int64))
    trial = none_rule.draw_trial(type(data)(**{**vars(data), "histories": short}), np.array([0]), seed=0)
    assert len(trial.histories) == 0
