"""If several items share a title, the loader makes the titles different, even after prompts cut them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialp_jax.data import DataConfig, load
from ialp_jax.data.titles import appearance, cut_apart, sanitise, tell_apart
from ialp_jax.llm.prompting import templates

GLASSES = ["Safety glasses with clear lens, large", "Safety glasses with clear lens, small", "Gloves"]


def test_first_column_that_differs_within_a_group_is_added():
    titles = ["Emma", "Saturn 3", "EMMA", "Eros", "Eros", "Eros"]
    years = ["1996", "1980", "1996", "2004", "2004", ""]
    genres = ["Comedy", "Sci-Fi", "Romance", "Drama", "Drama", "Drama"]
    different, changed = tell_apart(titles, [years, genres])
    assert different == ["Emma (Comedy)", "Saturn 3", "EMMA (Romance)", "Eros (1)", "Eros (2)", "Eros (3)"]
    assert changed == 5


def test_detail_that_would_equal_another_title_gets_a_number():
    different, changed = tell_apart(["Emma", "Emma", "emma (comedy)"], [["Comedy", "Drama", ""]])
    assert different == ["Emma (1)", "Emma (Drama)", "emma (comedy)"]
    assert changed == 2


def test_long_details_are_not_added():
    assert tell_apart(["A", "A"], [["x" * 61, "y"], ["1", "2"]])[0] == ["A (1)", "A (2)"]


@pytest.mark.parametrize(
    "pair", [('A "b" c', "A 'b' C"), ("a\u200bb", "ab"), ("x  y", "x\u00a0y"), ("[x]", "(X)")]
)
def test_titles_with_the_same_look_count_as_equal(pair):
    assert tell_apart(list(pair), [["1", "2"]]) == ([f"{pair[0]} (1)", f"{pair[1]} (2)"], 2)


def test_cut_titles_show_the_words_that_differ():
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
def test_no_two_items_look_the_same(titles, details, cut):
    different, changed = tell_apart(titles, [details])
    looks = [appearance(title) for title in titles]
    assert len({appearance(title) for title in different}) == len(titles)
    assert changed == sum(looks.count(look) > 1 for look in looks)
    for before, after, look in zip(titles, different, looks, strict=True):
        assert after == before or looks.count(look) > 1, "a title of one item stays"
    shown = cut_apart(different, cut)
    cuts = [appearance(title, cut) for title in different]
    assert len({appearance(title, cut) for title in shown}) == len(titles)
    for before, after, look in zip(different, shown, cuts, strict=True):
        assert after == before if cuts.count(look) == 1 else sanitise(after, cut) == after


@pytest.mark.parametrize(
    ("world", "changed"), [("coat", 203), ("industry", 36), ("lfm", 0), ("movielens", 10)]
)
def test_titles_of_published_sets_are_different_in_prompts(data_root, world, changed):
    dataset = load(DataConfig(name=world, root=str(data_root)))
    assert dataset.notes == ({"shared titles made different": changed} if changed else {})
    for template in templates.TEMPLATES.values():
        titles = templates.shown(dataset, template).catalogue.titles
        for line in (template.line, template.quoted):
            assert len({line(title).casefold() for title in titles[1:]}) == len(titles) - 1
