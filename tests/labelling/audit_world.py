"""Small data sets for the audit: one with held-out likes, and one with known true scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ialp_jax.data import load
from ialp_jax.data.config import DataConfig
from ialp_jax.labelling.audit_questions import Questions
from ialp_jax.types import OFFLINE, TUNING, Catalogue, Dataset, Histories, Interactions
from ialp_jax.users.predict import like_logit


def held_out(num_users: int = 40, num_items: int = 60, ordered: bool = True, seed: int = 0) -> Dataset:
    """Users like 1 to 8 items, low ids more often, and dislike 2 items. Three quarters are tuning users."""
    generator = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, num_items + 1)
    chosen = [
        generator.choice(num_items, 3 + user % 8, replace=False, p=weights / weights.sum()) + 1
        for user in range(num_users)
    ]
    likes = [np.arange(len(items)) != 1 for items in chosen]
    likes = [like & (np.arange(len(like)) != 0) for like in likes]
    counts = [like.sum() for like in likes]
    user = np.repeat(np.arange(num_users, dtype=np.int32), [len(items) for items in chosen])
    item, like = np.concatenate(chosen).astype(np.int32), np.concatenate(likes)
    return Dataset(
        name="small",
        catalogue=Catalogue(
            ("", *(f"title {i}" for i in range(1, num_items + 1))), np.zeros(num_items + 1, np.int32), ("",)
        ),
        interactions=Interactions(user, item, like, None, ordered),
        histories=Histories(item[like], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
        split=np.where(np.arange(num_users) // 2 % 4, TUNING, OFFLINE).astype(np.int8),
        dropped={},
    )


def generated() -> tuple[Dataset, Callable[[Questions], np.ndarray]]:
    """A small ``demo`` world of offline and tuning users, and a function from questions to true log-odds."""
    config = DataConfig()
    config.demo.users, config.demo.items = 200, 80
    dataset = load(config)
    split = np.where(dataset.split == OFFLINE, OFFLINE, TUNING).astype(np.int8)
    dataset = dataclasses.replace(dataset, split=split)

    def likelihood(questions: Questions) -> np.ndarray:
        return np.asarray(like_logit(dataset.truth, questions.user[:, None], questions.candidates))

    return dataset, likelihood
