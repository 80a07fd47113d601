"""The ``demo`` world: generated titles, users and likes, with a known true user model.

A user likes one to three genres. An item has one or two genres and an individual appeal. The words of a title
depend on its genres, so a language model can learn tastes from titles. Each like is drawn from the true
user model, ``like ~ Bernoulli(p)``, and the log contains a share of the likes. In the log, items with a high
like probability tend to come first (Plackett-Luce model; Plackett, 1975).
"""

from __future__ import annotations

import numpy as np

from ialp_jax import keys
from ialp_jax.data.assemble import Items, Rows, assemble
from ialp_jax.data.config import DataConfig, DemoConfig
from ialp_jax.data.demo_words import GENRES
from ialp_jax.types import Dataset, UserModel

LOGIT_RANGE = 8.0  # like probabilities are in sigmoid(-8)..sigmoid(8)


def _genres(config: DemoConfig) -> tuple[np.ndarray, np.ndarray]:
    """Draws the first and second genre of each item, int [N] each; equal if an item has one genre."""
    draw = keys.generator(config.seed, "demo genres")
    first = draw.permutation(np.arange(config.items) % config.genres)
    other = (first + draw.integers(1, config.genres, config.items)) % config.genres
    return first, np.where(draw.random(config.items) < config.crossover, other, first)


def _titles(config: DemoConfig, first: np.ndarray, second: np.ndarray) -> list[str]:
    """Makes N different titles from the words of the items' genres."""
    draw = keys.generator(config.seed, "demo titles")
    words = [(adjectives.split(), nouns.split()) for adjectives, nouns in GENRES.values()]
    patterns = ("{a} {n}", "The {a} {n}", "{n} of the {a} {m}", "The {n} and the {m}", "{a} {n} Nights")
    titles: dict[str, None] = {}
    for one, two in zip(first, second, strict=True):
        while True:
            adjective, noun = draw.choice(words[one][0]), draw.choice(words[two][1])
            other = draw.choice([word for word in words[one][1] if word != noun])
            title = draw.choice(patterns).format(a=adjective, n=noun, m=other)
            if title not in titles:
                titles[title] = None
                break
    return list(titles)


def _tastes(config: DemoConfig) -> np.ndarray:
    """Draws the preference of each user for each genre, float64 [U, genres]; the maximum per user is 1."""
    draw = keys.generator(config.seed, "demo tastes")
    tastes = np.zeros((config.users, config.genres))
    for taste in tastes:
        liked = draw.choice(config.genres, draw.integers(1, config.max_genres_per_user + 1), replace=False)
        taste[liked] = draw.dirichlet(np.full(len(liked), 3.0))
    return tastes / tastes.max(axis=1, keepdims=True)


def truth(config: DemoConfig) -> tuple[UserModel, list[str], np.ndarray]:
    """Returns the true user model, the N titles, and the first genre of each item, int [N]."""
    first, second = _genres(config)
    membership = np.zeros((config.items + 1, config.genres), np.float32)
    membership[np.arange(1, config.items + 1), first] += 0.5
    membership[np.arange(1, config.items + 1), second] += 0.5
    appeal = keys.generator(config.seed, "demo appeal").normal(0.0, config.quality, config.items)
    knots = np.array([-LOGIT_RANGE, LOGIT_RANGE], np.float32)
    model = UserModel(
        user_factors=(config.taste * _tastes(config)).astype(np.float32),
        item_factors=membership,
        item_bias=np.concatenate([[0.0], config.base + appeal]).astype(np.float32),
        knot_scores=knots,
        knot_logits=knots,
    )
    return model, _titles(config, first, second), first


def _logs(config: DemoConfig, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws the observed likes in the order of time: user and item index (from 0), int [M] each."""
    draw = keys.generator(config.seed, "demo likes")
    likes = draw.random(logits.shape) < config.observed / (1.0 + np.exp(-logits))
    priority = logits + draw.gumbel(size=logits.shape)
    user, item = np.nonzero(likes)
    in_time = np.lexsort((-priority[user, item], user))
    return user[in_time], item[in_time]


def load(config: DataConfig) -> Dataset:
    """Generates the world of ``config.demo``; the same settings give exactly the same data."""
    model, titles, genre = truth(config.demo)
    scores = model.user_factors @ model.item_factors.T + model.item_bias
    user, item = _logs(config.demo, np.clip(scores[:, 1:], -LOGIT_RANGE, LOGIT_RANGE).astype(np.float64))
    items = Items(titles, genre + 1, ["", *list(GENRES)[: config.demo.genres]])
    return assemble(config, Rows(user, item), items, ordered=True, truth=model)
