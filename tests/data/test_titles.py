"""Titles that several items share are told apart, also if prompts cut them; all others stay as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialp_jax.data import DataConfig, load
from ialp_jax.data.titles import appearance, cut_apart, sanitise, tell_apart
from ialp_jax.llm.prompting import templates

GLASSES = ["Safety glasses with clear lens, large", "Safety glasses with clear lens, small", "Gloves"]


def test_the_first_column_that_tells_a_group_apart_is_added():
    titles = ["Emma", "Saturn 3", "EMMA", "Eros", "Eros", "Eros"]
    years = ["1996", "1980", "1996", "2004", "2004", ""]
    genres = ["Comedy", "Sci-Fi", "Romance", "Drama", "Drama", "Drama"]
    found, changed = tell_apart(titles, [years, genres])
    assert found == ["Emma (Comedy)", "Saturn 3", "EMMA (Romance)", "Eros (1)", "Eros (2)", "Eros (3)"]
    assert changed == 5


def test_a_detail_that_gives_a_title_of_another_item_is_numbered():
    found, changed = tell_apart(["Emma", "Emma", "emma (comedy)"], [["Comedy", "Drama", ""]])
    assert found == ["Emma (1)", "Emma (Drama)", "emma (comedy)"]
    assert changed == 2


def test_long_details_are_not_added():
    assert tell_apart(["A", "A"], [["x" * 61, "y"], ["1", "2"]])[0] == ["A (1)", "A (2)"]


@pytest.mark.parametrize(
    "pair", [('A "b" c', "A 'b' C"), ("a\u200bb", "ab"), ("x  y", "x\u00a0y"), ("[x]", "(X)")]
)
def test_titles_that_look_alike_are_equal(pair):
    assert tell_apart(list(pair), [["1", "2"]]) == ([f"{pair[0]} (1)", f"{pair[1]} (2)"], 2)


def test_a_cut_shows_the_words_that_differ():
    assert cut_apart(GLASSES, 24) == [
        "Safety glasses wi\u2026 large",
        "Safety glasses wi\u2026 small",
        "Gloves",
    ]
    assert cut_apart(GLASSES, 120) == GLASSES
    assert cut_apart(GLASSES, 11) == GLASSES, "too short for a mark"


TITLES = st.lists(st.text("ab \u200b\"'[(é\u2026)12", min_size=1, max_size=20), min_size=1, max_size=12)


@given(
    titles=TITLES,
    details=st.lists(st.text("ab1 ", max_size=3), min_size=12, max_size=12),
    cut=st.integers(12, 16),
)
def test_no_two_items_look_alike(titles, details, cut):
    found, changed = tell_apart(titles, [details])
    looks = [appearance(title) for title in titles]
    assert len({appearance(title) for title in found}) == len(titles)
    assert changed == sum(looks.count(look) > 1 for look in looks)
    for before, after, look in zip(titles, found, looks, strict=True):
        assert after == before or looks.count(look) > 1, "a title of one item stays"
    shown = cut_apart(found, cut)
    cuts = [appearance(title, cut) for title in found]
    assert len({appearance(title, cut) for title in shown}) == len(titles)
    for before, after, look in zip(found, shown, cuts, strict=True):
        assert after == before if cuts.count(look) == 1 else sanitise(after, cut) == after


@pytest.mark.parametrize(
    ("world", "changed"), [("coat", 203), ("industry", 36), ("lfm", 0), ("movielens", 10)]
)
def test_no_prompt_of_a_published_set_shows_a_title_twice(data_root, world, changed):
    dataset = load(DataConfig(name=world, root=str(data_root)))
    assert dataset.notes == ({"titles that items share, told apart": changed} if changed else {})
    for template in templates.TEMPLATES.values():
        titles = templates.shown(dataset, template).catalogue.titles
        for line in (template.line, template.quoted):
            assert len({line(title).casefold() for title in titles[1:]}) == len(titles) - 1
