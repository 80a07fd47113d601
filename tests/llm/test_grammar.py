import pytest

from ialp_jax.llm.modes.grammar import parse

NONE = "none of these"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("B", 2),
        (" b.", 2),
        ("\n\n(B)\nA", 2),
        ("**B**", 2),
        ("'B'", 2),
        ("B) Queen", 2),
        ('B. "Sonata in A"', 2),
        ("B: the one", 2),
        ("A. A Perfect Circle", 1),
        ("B - Queen", 2),
        ("The answer is B.", 2),
        ("B is the best", 2),
        ("I think B", 2),
        ("I'd say B", 2),
        ("A good choice would be B", 2),
        ("B. I cannot say more", 2),
        ("I", 9),
        ("K. none of these", 11),
        ("None.", 11),
        ("None of the above", 11),
        ("none of these items", 11),
    ],
)
def test_answers_that_name_one_line(text, place):
    assert parse(text, 10, NONE) == (place, "valid")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "empty"),
        (" \n\t\n", "empty"),
        ("...", "no_letter"),
        ("Queen", "no_letter"),
        ("A Perfect Circle", "no_letter"),
        ("A-ha", "no_letter"),
        ("Jay-Z", "no_letter"),
        ("D'Angelo", "no_letter"),
        ("e.g. Queen", "no_letter"),
        ("I would", "no_letter"),
        ("Nonesuch", "no_letter"),
        ("AB", "no_letter"),
        ("\u00c4", "no_letter"),
        ("Z", "out_of_range"),
        ("L.", "out_of_range"),
        ("A or B", "several"),
        ("A, B", "several"),
        ("A B", "several"),
        ("(B) or (C)", "several"),
        ("Both A and B", "several"),
        ("B. or A.", "several"),
        ("A. none of these", "several"),
        ("A. none", "several"),
        ("I cannot decide", "refused"),
        ("I\u2019m sorry, but A", "refused"),
        ("As an AI, B", "refused"),
        ("That is hard, we cannot tell", "refused"),
    ],
)
def test_other_answers_are_invalid_with_a_cause(text, cause):
    assert parse(text, 10, NONE) == (0, cause)


def test_the_list_ends_with_none():
    assert parse("C", 2, NONE) == (3, "valid")
    assert parse("D", 2, NONE) == (0, "out_of_range")
    assert parse("Keins", 2, "keins davon") == (0, "no_letter")
    assert parse("Keins davon!", 2, "keins davon") == (3, "valid")
