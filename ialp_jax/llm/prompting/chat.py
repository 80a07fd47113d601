"""What a tokenizer's chat template writes around a prompt. No torch.

The template is rendered once, around a stand-in, and taken apart there: prompts remain concatenations of
token blocks. All of a prompt is one user turn, as Mistral knows no other role before the answer. Where the
template lets the caller switch the model's thinking off, it is switched off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.llm.prompting import thinking

_PROMPT, _ANSWER = "q0prompt0q", "q0answer0q"
OPEN, OFF = "open", "off"  # what a prompt does to the model's thinking
_PROBE = '"Queen"\n- "AC/DC"\nA. "x y"\nWhich?'


class Wrapper(NamedTuple):
    """The text around a prompt.

    Attributes:
      before: in front of the user's words; markers in it are special tokens where the tokenizer says so.
      after: between the user's words and the model's turn.
      lead: what comes between ``after`` and the first word of an answer, such as a space.
    """

    before: str
    after: str
    lead: str

    def digest(self) -> str:
        """sha256 of all three."""
        return store.fingerprint(list(self))


def find(tokenizer: Any, wanted: str, folder: Path) -> Wrapper | None:
    """The wrapper of a tokenizer's chat template, or None for plain text.

    Args:
      tokenizer: a Hugging Face tokenizer.
      wanted: ``auto`` (where there is a chat template), ``on`` or ``off``.
      folder: named in errors.

    Raises:
      InputError: there is none though it is wanted, or it does not leave a prompt as it is.
    """
    if wanted == "off" or (wanted == "auto" and not tokenizer.chat_template):
        return None
    if not tokenizer.chat_template:
        raise InputError(
            f"--config.llm.chat=on: the tokenizer of {folder} has no chat template; use auto or off"
        )
    switches = _switches(tokenizer, folder)
    before, is_there, after = _user_turn(tokenizer, _PROMPT, folder, **switches).partition(_PROMPT)
    if not is_there or _user_turn(tokenizer, _PROBE, folder, **switches) != before + _PROBE + after:
        raise InputError(f"{folder}: its chat template alters the user's words; use --config.llm.chat=off")
    turns = [{"role": "user", "content": _PROMPT}, {"role": "assistant", "content": _ANSWER}]
    answered = _render(tokenizer, turns, folder, **switches).partition(_ANSWER)[0]
    asked = before + _PROMPT + after
    return Wrapper(before, after, answered.removeprefix(asked) if answered.startswith(asked) else "")


def thinking_of(wrapper: Wrapper | None) -> str:
    """``open`` if the prompt ends inside a block of thinking, ``off`` if it ends behind one, else empty."""
    if wrapper is None or not thinking.has_tag(wrapper.after):
        return ""
    return OPEN if thinking.left_open(wrapper.after) else OFF


def _switches(tokenizer: Any, folder: Path) -> dict[str, bool]:
    """The arguments that switch thinking off, where the template heeds them."""
    plain = _user_turn(tokenizer, _PROMPT, folder)
    try:
        quiet = _user_turn(tokenizer, _PROMPT, folder, **thinking.OFF)
    except InputError:
        return {}
    return {} if quiet == plain else thinking.OFF


def _user_turn(tokenizer: Any, content: str, folder: Path, **options: bool) -> str:
    turns = [{"role": "user", "content": content}]
    return _render(tokenizer, turns, folder, add_generation_prompt=True, **options)


def _render(tokenizer: Any, turns: list[dict[str, str]], folder: Path, **options: bool) -> str:
    try:
        return tokenizer.apply_chat_template(turns, tokenize=False, **options)
    except Exception as error:  # whatever a template's own code may raise
        message = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"{folder}: its chat template cannot be used ({message}); use --config.llm.chat=off"
        ) from None
