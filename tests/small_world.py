"""A tiny catalogue with two tastes, and a tiny random Mistral, for tests of labels and of the LLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax.data.files import save_dataset
from ialp_jax.llm.config import EmbeddedConfig
from ialp_jax.types import EVALUATION, OFFLINE, Catalogue, Dataset, Histories, Interactions, Prompts

WORDS = ("Amber", "Brisk", "Cobalt", "Dusky", "Ember", "Frozen", "Golden", "Hollow")
NOUNS = (("Waltz", "Sonata", "Hymn"), ("Riff", "Thrash", "Growl of the Long Mountain"))


def titles() -> tuple[str, ...]:
    """48 titles of different lengths. Items with odd ids are classical music, with even ids metal."""
    pairs = [(word, k) for word in WORDS for k in range(3)]
    return ("", *(f"{word} {NOUNS[i % 2][k]}" for word, k in pairs for i in range(2)))


def dataset(num_users: int = 60, seed: int = 0, ordered: bool = False) -> Dataset:
    """Users like 8 items of one taste. Two thirds of the users are offline."""
    generator = np.random.default_rng(seed)
    names = titles()
    num_items = len(names) - 1
    likes = [
        generator.permutation(np.arange(1 + user % 2, num_items + 1, 2))[:8].astype(np.int32)
        for user in range(num_users)
    ]
    items = np.concatenate(likes)
    owner = np.repeat(np.arange(num_users, dtype=np.int32), 8)
    split = np.where(np.arange(num_users) % 6 < 4, OFFLINE, EVALUATION).astype(np.int8)
    return Dataset(
        name="small",
        catalogue=Catalogue(names, np.zeros(num_items + 1, np.int32), ("",)),
        interactions=Interactions(owner, items, np.ones(len(items), bool), None, ordered),
        histories=Histories(items, np.arange(0, len(items) + 1, 8, dtype=np.int64)),
        split=split,
        dropped={},
    )


def save(folder: Path) -> Path:
    """Writes the data set as the data stage does; returns its folder."""
    save_dataset(folder / "data", dataset(), {})
    return folder / "data"


def recipe(**changes: float) -> EmbeddedConfig:
    """Settings of the smallest model that still has every part."""
    sizes = {
        "hidden": 32,
        "layers": 1,
        "heads": 2,
        "vocabulary": 320,
        "context": 96,
        "steps": 3,
        "batch_size": 4,
    }
    return EmbeddedConfig(**{**sizes, **changes})


def prompts(count: int, seed: int = 1, length: int = 5, candidates: int = 4) -> Prompts:
    """Random prompts: histories [count, length] of 0 to ``length`` items, candidates [count, candidates]."""
    generator = np.random.default_rng(seed)
    histories = generator.integers(1, len(titles()), (count, length)).astype(np.int32)
    known = generator.integers(0, length + 1, count)
    histories[np.arange(length) < length - known[:, None]] = 0
    offered = generator.integers(1, len(titles()), (count, candidates)).astype(np.int32)
    return Prompts(histories, offered)


def sharpen(model: Any) -> None:
    """Scales the weights of a random model until its output depends on its input."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(0.25 / parameter.data.std())
