"""Checks the arrays of a loaded data set or user model. A check fails if a file was changed or damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ialp_jax.types import SPLITS, Array, Catalogue, Dataset, Histories, Interactions, UserModel


def broken(dataset: Dataset) -> str:
    """Returns the text of the first rule that the data set breaks, or "" if all rules hold."""
    return next((rule for rule, holds in _rules(dataset) if not holds), "")


def integers(array: np.ndarray, shape: tuple[int, ...], lowest: int, highest: int) -> bool:
    """Whether an array has this shape and holds integers in ``lowest..highest``."""
    fits = isinstance(array, np.ndarray) and array.shape == shape and array.dtype.kind in "iu"
    return fits and bool(((array >= lowest) & (array <= highest)).all())


def finite(array: Array | None, shape: tuple[int, ...]) -> bool:
    """Whether an array has this shape and holds finite floats."""
    fits = isinstance(array, np.ndarray) and array.shape == shape and array.dtype.kind == "f"
    return fits and bool(np.isfinite(array).all())


def fits_world(model: UserModel, num_users: int, num_items: int) -> bool:
    """Whether a user model has U users and N items, and all its numbers are finite."""
    factors, knots = model.user_factors.shape[-1:], model.knot_scores.shape
    shapes = ((num_users, *factors), (num_items + 1, *factors), (num_items + 1,), knots, knots)
    return all(finite(array, shape) for array, shape in zip(model, shapes, strict=True)) and len(knots) == 1


def _rules(data: Dataset) -> Iterator[tuple[str, bool]]:
    num_items, num_users = data.catalogue.num_items, len(data.split)
    yield "users and items", num_items > 0 and num_users > 0
    yield "a split for each user", integers(data.split, (num_users,), 0, len(SPLITS) - 1)
    yield from _catalogue(data.catalogue, num_items)
    yield from _interactions(data.interactions, num_users, num_items)
    rows = data.interactions
    pairs = rows.user.astype(np.int64) * (num_items + 1) + rows.item
    yield "a user and an item once", len(np.unique(pairs)) == len(pairs)
    if data.random_test is not None:
        yield from _interactions(data.random_test, num_users, num_items)
    yield from _histories(data.histories, num_users, num_items)
    liked: Sequence[np.ndarray] = (rows.user[rows.like], rows.item[rows.like])
    listed: Sequence[np.ndarray]
    listed = np.repeat(np.arange(num_users), np.diff(data.histories.offsets)), data.histories.items
    if not rows.ordered:
        liked, listed = ([column[np.lexsort(pair[::-1])] for column in pair] for pair in (liked, listed))
    yield "the likes as histories", all(map(np.array_equal, liked, listed))
    if data.truth is not None:
        yield "a truth of these users and items", fits_world(data.truth, num_users, num_items)


def _catalogue(catalogue: Catalogue, num_items: int) -> Iterator[tuple[str, bool]]:
    titles, names = catalogue.titles, catalogue.category_names
    texts = (*titles, *names, *(catalogue.text or ()))
    yield "titles and names of text", all(isinstance(text, str) for text in texts)
    yield "a first title that is empty", titles[0] == "" and names[:1] == ("",)
    shape = (num_items + 1, *catalogue.category.shape[1:2])
    yield "a category of each item", integers(catalogue.category, shape, 0, len(names) - 1)
    yield "a text of each item", catalogue.text is None or len(catalogue.text) == num_items + 1


def _interactions(rows: Interactions, num_users: int, num_items: int) -> Iterator[tuple[str, bool]]:
    shape = (len(rows.user),)
    yield (
        "users by number, in order",
        integers(rows.user, shape, 0, num_users - 1)
        and bool((np.diff(rows.user.astype(np.int64)) >= 0).all()),
    )
    yield "items by number", integers(rows.item, shape, 1, num_items)
    yield "a like or none in each row", rows.like.shape == shape and rows.like.dtype == bool
    for column in (rows.rating, rows.propensity):
        yield "finite ratings and propensities", column is None or finite(column, shape)


def _histories(histories: Histories, num_users: int, num_items: int) -> Iterator[tuple[str, bool]]:
    items, offsets = histories
    yield "histories of known items", integers(items, (len(items),), 1, num_items)
    yield (
        "a history of each user",
        integers(offsets, (num_users + 1,), 0, len(items))
        and (offsets[0] == 0 and offsets[-1] == len(items) and bool((np.diff(offsets) >= 0).all())),
    )
