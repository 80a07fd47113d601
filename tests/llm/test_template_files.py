import json

import pytest

from ialp_jax.errors import InputError
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.prompting import prompts


def write(path, **fields):
    path.write_text(json.dumps({"name": "mine", "version": 3, **fields}))
    return str(path)


def test_a_file_states_what_differs_from_list(tmp_path):
    name = write(tmp_path / "t.json", offered="Choose from:\n", max_title=5)
    template = prompts.choose(name, embedded=False)
    assert (template.name, template.version, template.offered) == ("mine", 3, "Choose from:\n")
    assert template.introduction == prompts.TEMPLATES["list"].introduction
    assert template.line("Radiohead") == "- Radio\n"
    LLMConfig(template=name).check()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"colour": "red"}, "unknown field 'colour'; known: name, version, "),
        ({"version": 0}, "'version' must be a whole number of at least 1"),
        ({"version": "1"}, "'version' must be a whole number"),
        ({"version": True}, "'version' must be a whole number"),
        ({"max_title": 0}, "'max_title' must be a whole number"),
        ({"bullet": 5}, "'bullet' must be a text"),
        ({"introduction": "no line end"}, "'introduction' must be a text that ends in a line end, or empty"),
        ({"offered": ""}, "'offered' must be a text that ends in a line end"),
        ({"none": "two\nlines"}, "'none' must be one line"),
        ({"question": ""}, "'question' must be a text that is not empty"),
        ({"cue": "Answer: "}, "'cue' must be a text that is not empty and does not end in a space"),
    ],
)
def test_a_faulty_file_is_one_line(tmp_path, fields, said):
    name = write(tmp_path / "t.json", **fields)
    with pytest.raises(InputError, match=rf"^--config\.llm\.template={name}: {said}[^\n]*$"):
        LLMConfig(template=name).check()


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not JSON"), ("[]", "not a JSON object"), ('{"name": "x"}', "'version' is missing")],
)
def test_a_file_that_is_no_template_is_one_line(tmp_path, text, said):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError, match=rf"^--config\.llm\.template=[^\n]*{said}[^\n]*$"):
        prompts.choose(str(tmp_path / "t.json"), embedded=True)
    with pytest.raises(InputError, match=r"^--config\.llm\.template=[^\n]*missing\.json: cannot be read"):
        prompts.choose(str(tmp_path / "missing.json"), embedded=True)
