import dataclasses
from pathlib import Path

import numpy as np
import pytest
from small_world import dataset
from small_world import prompts as draw

from ialp_jax.errors import InputError
from ialp_jax.labelling.label_files import catalogue_facts, check_catalogue

HISTORIES, CANDIDATES, _ = draw(5)
LABELS, DATA = Path("run/labels"), Path("run/data")


def other(title):
    data = dataset()
    names = (*data.catalogue.titles[:-1], title)
    return dataclasses.replace(
        data, catalogue=dataclasses.replace(data.catalogue, titles=names), name="other"
    )


def check(manifest, data, candidates=CANDIDATES):
    check_catalogue(LABELS, {"histories": HISTORIES, "candidates": candidates}, manifest, DATA, data)


def test_labels_of_the_same_catalogue_pass():
    check({"catalogue": catalogue_facts(dataset())}, dataset())
    check({"catalogue": catalogue_facts(dataset())}, dataset(num_users=7, seed=3))
    check({}, dataset())
    check({}, dataset(), np.zeros((0, 4), np.int32))


def test_labels_of_another_catalogue_are_refused_in_one_line():
    with pytest.raises(InputError) as caught:
        check({"catalogue": catalogue_facts(other("Encore"))}, dataset())
    line = str(caught.value)
    for words in ("run/labels", "run/data", "other with 48 items", "small with 48 items", "--stage=label"):
        assert words in line
    assert "\n" not in line


def test_items_that_do_not_exist_are_refused_with_any_manifest():
    for manifest in ({}, {"catalogue": catalogue_facts(dataset())}):
        with pytest.raises(
            InputError, match=r"about an item 49, but the catalogue of run/data is small with 48"
        ):
            check(manifest, dataset(), np.full((5, 4), 49))
