import pytest
from chat_templates import BROKEN, CHATML, MISTRAL, SHOUTING, SILENT

transformers = pytest.importorskip("transformers")

from ialp_jax.errors import InputError  # noqa: E402
from ialp_jax.llm.prompting import chat  # noqa: E402


@pytest.fixture
def tokenizer(model_folder):
    return transformers.AutoTokenizer.from_pretrained(model_folder)


def test_without_a_template_there_is_no_wrapper(tokenizer):
    assert chat.find(tokenizer, "auto", "model") is None
    assert chat.find(tokenizer, "off", "model") is None


def test_on_without_a_template_names_the_flag(tokenizer):
    with pytest.raises(
        InputError, match=r"^--config\.llm\.chat=on: the tokenizer of model has no chat[^\n]+$"
    ):
        chat.find(tokenizer, "on", "model")


@pytest.mark.parametrize("wanted", ["auto", "on"])
def test_the_wrapper_is_the_text_that_the_template_writes(tokenizer, wanted):
    tokenizer.chat_template = MISTRAL
    assert chat.find(tokenizer, wanted, "model") == ("<s>[INST] ", " [/INST]", " ")
    tokenizer.chat_template = CHATML
    before, after, lead = chat.find(tokenizer, wanted, "model")
    assert before == "<|im_start|>user\n"
    assert after == "<|im_end|>\n<|im_start|>assistant\n"
    assert lead == ""


def test_off_ignores_the_template(tokenizer):
    tokenizer.chat_template = MISTRAL
    assert chat.find(tokenizer, "off", "model") is None


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (SHOUTING, "alters"),
        (SILENT, "alters"),
        (BROKEN, r"cannot be used \(not today\)"),
        ("{{ 1 / 0 }}", "used"),
    ],
)
def test_an_unusable_template_gives_a_one_line_error(tokenizer, template, message):
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=rf"^model: its chat template [^\n]*{message}[^\n]*chat=off$"):
        chat.find(tokenizer, "auto", "model")


def test_every_field_changes_the_hash():
    wrapper = chat.Wrapper("a", "b", "c")
    changed = [wrapper._replace(**{name: "x"}).digest() for name in wrapper._fields]
    assert len({wrapper.digest(), *changed}) == 4
