"""The demo world is deterministic, has genres in its titles, and likes from its true user model."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from ialp_jax.data import DataConfig, DemoConfig, load
from ialp_jax.data.config import TabularConfig
from ialp_jax.data.demo_words import GENRES
from ialp_jax.errors import InputError
from ialp_jax.types import EVALUATION


@pytest.fixture(scope="module")
def demo():
    return load(DataConfig())


def small(**changes):
    return load(DataConfig(demo=DemoConfig(**({"users": 60, "items": 80, "genres": 4} | changes))))


def same(one, other):
    return np.array_equal(one.interactions.item, other.interactions.item) and (
        one.catalogue.titles == other.catalogue.titles
    )


def test_same_settings_give_the_same_bits_and_another_seed_does_not():
    assert same(small(), small())
    assert not same(small(), small(seed=1))
    split_only = load(DataConfig(seed=1, demo=DemoConfig(users=60, items=80, genres=4)))
    assert same(small(), split_only)
    assert not np.array_equal(small().split, split_only.split)


def test_size_titles_and_genres(demo):
    titles = demo.catalogue.titles[1:]
    assert demo.num_users == 2000
    assert len(titles) >= 500
    assert len(set(titles)) == len(titles)
    assert len(demo.catalogue.category_names) - 1 >= 8
    assert demo.catalogue.category[1:].min() >= 1


def test_the_largest_catalogue_has_different_titles():
    data = small(genres=2, items=500, max_genres_per_user=2, base=0.0)
    assert len(set(data.catalogue.titles)) == 501
    with pytest.raises(InputError, match=r"demo\.items"):
        small(genres=2, items=501, max_genres_per_user=2)


def test_no_word_belongs_to_two_genres():
    words = [word for adjectives, nouns in GENRES.values() for word in (adjectives + " " + nouns).split()]
    assert len(words) == len(set(words))


def test_titles_identify_the_genre(demo):
    genre_of = {
        word: number
        for number, (adjectives, nouns) in enumerate(GENRES.values(), start=1)
        for word in (adjectives + " " + nouns).split()
    }
    for title, genre in zip(demo.catalogue.titles[1:], demo.catalogue.category[1:], strict=True):
        assert genre in {genre_of.get(word) for word in title.split()}


def test_likes_follow_the_true_probabilities(demo):
    model = demo.truth
    logits = np.clip(model.user_factors @ model.item_factors[1:].T + model.item_bias[1:], -8, 8)
    probability = 1 / (1 + np.exp(-logits))
    rows = demo.interactions
    liked = np.zeros(probability.shape, bool)
    liked[rows.user, rows.item - 1] = True
    for low, high in ((0.01, 0.1), (0.1, 0.5), (0.5, 0.8), (0.8, 1.0)):
        chosen = (probability > low) & (probability < high)
        assert liked[chosen].mean() == pytest.approx(0.4 * probability[chosen].mean(), rel=0.05)
    counts = np.diff(demo.histories.offsets)
    assert 15 <= counts.mean() <= 30
    popularity = np.sort(np.bincount(rows.item)[1:])[::-1]
    assert popularity[: len(popularity) // 10].sum() > 0.2 * len(rows.item), "long tail"
    assert popularity[0] > 8 * np.median(popularity)


def test_items_with_high_probability_come_first(demo):
    model = demo.truth
    rows = demo.interactions
    score = (
        np.sum(model.user_factors[rows.user] * model.item_factors[rows.item], 1) + model.item_bias[rows.item]
    )
    begin = demo.histories.offsets[:-1]
    assert rows.ordered
    assert np.array_equal(demo.histories.items, rows.item)
    assert score[begin].mean() > score[demo.histories.offsets[1:] - 1].mean() + 1.0


def test_truth_is_restricted_to_the_used_users_and_items():
    data = small(base=-6.0, observed=0.2)
    assert sum(data.dropped.values()) > 0, "the case must have something to drop"
    assert data.truth.user_factors.shape[0] == data.num_users
    assert data.truth.item_factors.shape[0] == data.truth.item_bias.shape[0] == data.catalogue.num_items + 1
    all_items = small(base=-6.0, observed=1.0)
    place = {title: number for number, title in enumerate(all_items.catalogue.titles)}
    for number, title in enumerate(data.catalogue.titles[1:], start=1):
        assert data.truth.item_bias[number] == all_items.truth.item_bias[place[title]]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("taste", 1.0),
        ("quality", 0.1),
        ("base", -2.0),
        ("crossover", 1.0),
        ("observed", 1.0),
        ("genres", 3),
        ("max_genres_per_user", 1),
    ],
)
def test_every_setting_changes_the_result(field, value):
    assert not same(small(), small(**{field: value}))


def play(probability, order, start, draw, patience=5, horizon=50):
    """Plays one session, with patience 5 and horizon 50, and returns the number of likes."""
    left, likes, steps = patience, 0, 0
    for item in order:
        if item + 1 in start:
            continue
        like = draw.random() < probability[item]
        likes, steps, left = likes + like, steps + 1, min(patience, left + 1) if like else left - 1
        if left <= 0 or steps == horizon:
            break
    return likes


def test_oracle_beats_popular_beats_random(demo):
    model, draw = demo.truth, np.random.default_rng(0)
    popular = np.argsort(-demo.popularity()[1:], kind="stable")
    returns = {"random": [], "popular": [], "oracle": []}
    for user in demo.users(EVALUATION):
        logits = np.clip(model.item_factors[1:] @ model.user_factors[user] + model.item_bias[1:], -8, 8)
        probability = 1 / (1 + np.exp(-logits))
        likes = demo.histories.of(user)
        start = set(likes[: min(10, len(likes) // 2)].tolist())
        for name, order in (
            ("random", draw.permutation(len(popular))),
            ("popular", popular),
            ("oracle", np.argsort(-probability)),
        ):
            returns[name].append(play(probability, order, start, draw))
    mean = {name: np.mean(values) for name, values in returns.items()}
    assert 0.3 < mean["random"] < 2
    assert 3 < mean["popular"] < 8
    assert 20 < mean["oracle"] < 40


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"name": "nowhere"}, "--config.data.name"),
        ({"offline": 0.6}, "--config.data.offline"),
        ({"offline": 0.0, "online": 0.7}, "--config.data.offline"),
        ({"tuning": float("nan")}, "--config.data.tuning"),
        ({"seed": -1}, "--config.data.seed"),
        ({"min_users": -1}, "--config.data.min_users"),
        ({"min_likes": -1}, "--config.data.min_likes"),
        ({"like_at": float("nan")}, "--config.data.like_at"),
        ({"download": True}, "--config.data.download"),
        ({"sha256": "abc"}, "--config.data.sha256"),
        ({"tabular": TabularConfig(title="")}, "--config.data.tabular.title"),
        ({"tabular": TabularConfig(separator=";;")}, "--config.data.tabular.separator"),
        ({"tabular": TabularConfig(encoding="klingon")}, "--config.data.tabular.encoding"),
        ({"tabular": TabularConfig(encoding="utf-16")}, "--config.data.tabular.encoding"),
        ({"categories": -1}, "--config.data.categories"),
        ({"demo": DemoConfig(users=1)}, "--config.data.demo.users"),
        ({"demo": DemoConfig(genres=13)}, "--config.data.demo.genres"),
        ({"demo": DemoConfig(genres=3, max_genres_per_user=4)}, "--config.data.demo.max_genres_per_user"),
        ({"demo": DemoConfig(quality=-1.0)}, "--config.data.demo.quality"),
        ({"demo": DemoConfig(taste=float("inf"))}, "--config.data.demo.taste"),
        ({"demo": DemoConfig(crossover=1.5)}, "--config.data.demo.crossover"),
        ({"demo": DemoConfig(observed=0.0)}, "--config.data.demo.observed"),
    ],
)
def test_impossible_settings_raise_with_their_flag(changes, flag):
    with pytest.raises(InputError) as caught:
        load(DataConfig(**changes))
    assert flag in str(caught.value)


def test_error_of_an_unknown_world_lists_the_known_ones():
    with pytest.raises(InputError, match="coat, demo, industry, lfm, movielens, tabular"):
        load(DataConfig(name="nowhere"))


def test_loading_data_does_not_import_jax():
    code = (
        "import sys; from ialp_jax.data import *; import ialp_jax.data.files;"
        "from importlib import import_module;"
        "from ialp_jax.data.config import LOADERS; [import_module(name) for name in LOADERS.values()];"
        "load(DataConfig(demo=DemoConfig(users=60, items=80)));"
        "sys.exit('jax' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
