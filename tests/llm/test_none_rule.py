import numpy as np
import pytest
from small_world import dataset

from ialp_jax.llm.modes import none_rule
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.types import Histories

INF = np.inf


def test_youden_by_hand():
    own, other = np.array([1.0, 2.0, 3.0, 4.0]), np.array([-1.0, 0.0, 0.5, 2.5])
    # At 1.0: all of the own are kept, 3 of 4 others rejected: J = 0.75, and no threshold does better.
    assert none_rule.threshold(own, other, "youden", 0.0) == 1.0


def test_youden_finds_the_best_of_all_thresholds():
    generator = np.random.default_rng(0)
    own, other = generator.normal(1, 1, 200), generator.normal(0, 1, 300)

    def j(limit):
        return (own >= limit).mean() - (other >= limit).mean()

    assert j(none_rule.threshold(own, other, "youden", 0.0)) == max(j(x) for x in [*own, *other])


def test_quantile_and_never():
    own, other = np.array([5.0]), np.arange(11.0)
    assert none_rule.threshold(own, other, "quantile", 0.8) == pytest.approx(8.0)
    assert none_rule.threshold(own, other, "never", 0.8) is None


def test_scores_that_are_not_finite_do_not_move_the_threshold():
    own, other = np.array([np.nan, 1.0, 2.0]), np.array([-INF, 0.0, np.nan])
    assert none_rule.threshold(own, other, "youden", 0.0) == 1.0
    assert none_rule.threshold(own[:1], other, "youden", 0.0) is None


@pytest.mark.parametrize(
    ("scores", "alone", "limit", "choice"),
    [
        ([-3.0, -1.0, -2.0], [-3.0, -3.0, -3.0], 1.0, 2),
        ([-3.0, -1.0, -2.0], [-9.0, -1.5, -9.0], 1.0, 0),  # the best by score counts, not the best by gain
        ([-3.0, -1.0, -2.0], [-9.0, -1.5, -9.0], None, 2),
        ([-1.0, -1.0, -2.0], [-9.0, -9.0, -9.0], 0.0, 1),
        ([-3.0, -2.0, -3.0], [-3.0, -3.0, -3.0], 1.0, 2),  # at the threshold: not under it
        ([-3.0, np.nan, -2.0], [-9.0, -9.0, -9.0], 0.0, -1),
        ([-3.0, -INF, -2.0], [-9.0, -9.0, -9.0], None, -1),
    ],
)
def test_labels_by_hand(scores, alone, limit, choice):
    assert none_rule.decide(
        Answers.from_scores(np.float32([scores])), np.float32([alone]), limit
    ).tolist() == [choice]


def test_trial_asks_held_out_users_about_their_own_next_item():
    data = dataset(ordered=True)
    users = np.array([2, 5])
    trial = none_rule.draw_trial(data, users, seed=0)
    assert trial.histories.shape == (none_rule.NUM_PROMPTS, none_rule.HISTORY_LENGTH)
    lengths = set()
    for p, (history, (own, other)) in enumerate(zip(*trial[:2], strict=True)):
        likes = data.histories.of(users[p % 2]).tolist()
        known = history[history > 0].tolist()
        lengths.add(len(known))
        place = likes.index(own)
        assert known == likes[place - len(known) : place]
        assert other not in likes
        assert 1 <= other <= data.catalogue.num_items
        assert history[: len(history) - len(known)].tolist() == [0] * (len(history) - len(known))
    assert lengths == set(range(1, 8))
    assert not np.array_equal(trial.candidates, none_rule.draw_trial(data, users, seed=1).candidates)


def test_users_with_one_like_prove_nothing():
    data = dataset()
    short = Histories(data.histories.items[:1], np.array([0, 1], np.int64))
    trial = none_rule.draw_trial(type(data)(**{**vars(data), "histories": short}), np.array([0]), seed=0)
    assert len(trial.histories) == 0
