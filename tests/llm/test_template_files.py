import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ialp_jax.errors import InputError
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.prompting import templates


def write(path, **fields):
    path.write_text(json.dumps({"name": "mine", "version": 3, **fields}))
    return str(path)


def test_a_file_states_only_differences_from_list(tmp_path):
    name = write(tmp_path / "t.json", offered="Choose from:\n", max_title=5)
    template = templates.choose(name, embedded=False)
    assert (template.name, template.version, template.offered) == ("mine", 3, "Choose from:\n")
    assert template.introduction == templates.TEMPLATES["list"].introduction
    assert template.line("Radiohead") == "- Radio\n"
    LLMConfig(template=name).check()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"colour": "red"}, "unknown field 'colour'; known: name, version, "),
        ({"version": 0}, "'version' must be a whole number of at least 1"),
        ({"version": "1"}, "'version' must be a whole number"),
        ({"version": True}, "'version' must be a whole number"),
        ({"max_title": 0}, "'max_title' must be a whole number"),
        ({"bullet": 5}, "'bullet' must be a text"),
        ({"introduction": "no line end"}, "'introduction' must be a text that ends in a line end, or empty"),
        ({"offered": ""}, "'offered' must be a text that ends in a line end"),
        ({"bullet": "- \n"}, "'bullet' must be one line, without its end"),
        ({"none": "two\nlines"}, "'none' must be one line"),
        ({"question": ""}, "'question' must be a text that is not empty"),
        ({"cue": "Answer: "}, "'cue' must be a text that is not empty and does not end in a space"),
    ],
)
def test_a_faulty_file_gives_a_one_line_error(tmp_path, fields, message):
    name = write(tmp_path / "t.json", **fields)
    with pytest.raises(InputError, match=rf"^--config\.llm\.template={name}: {message}[^\n]*$"):
        LLMConfig(template=name).check()


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not readable JSON"), ("[]", "not a JSON object"), ('{"name": "x"}', "'version' is missing")],
)
def test_a_file_without_a_template_gives_a_one_line_error(tmp_path, text, message):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError, match=rf"^--config\.llm\.template=[^\n]*{message}[^\n]*$"):
        templates.choose(str(tmp_path / "t.json"), embedded=True)
    with pytest.raises(InputError, match=r"^--config\.llm\.template=[^\n]*missing\.json: no such file"):
        templates.choose(str(tmp_path / "missing.json"), embedded=True)


WORDS = st.sampled_from(["", "- ", "x\n", "Answer:", "a\nb", "\u2028", "\x0b"]) | st.text(max_size=5)
VALUES = WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.lists(WORDS, max_size=2)
NAMES = st.sampled_from(
    ["name", "version", "max_title", "bullet", "offered", "liked", "none", "question", "cue"]
)
FIELDS = st.dictionaries(NAMES | st.just("introduction") | st.text(max_size=4), VALUES, max_size=5)


@given(fields=FIELDS, cut=st.integers(0, 12))
def test_any_file_is_a_valid_template_or_gives_a_one_line_error(tmp_path, fields, cut):
    text = json.dumps({"name": "mine", "version": 1} | fields)
    (tmp_path / "t.json").write_text(text[: len(text) - max(0, cut - 8)])
    try:
        template = templates.choose(str(tmp_path / "t.json"), embedded=False)
    except InputError as error:
        message = str(error)
    else:
        message = "t.json"
        assert template.line("Title").splitlines() == [template.bullet + "Title"[: template.max_title]]
        assert template.quoted("Title").count("\n") == 1
        assert templates.render(template, ("", "Title"), [0, 1]) == template.introduction + template.line(
            "Title"
        )
        assert template.offered.endswith("\n")
    assert "t.json" in message
    assert message.isprintable()
