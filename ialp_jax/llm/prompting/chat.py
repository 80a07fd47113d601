"""The text that a tokenizer's chat template writes around a prompt. No torch.

The template is rendered once around a placeholder and split there, so prompts remain concatenations of token
blocks. A prompt is one user turn, because Mistral accepts no other role before the answer. If the template
can switch the model's thinking off, thinking is off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.llm.prompting import thinking

_PROMPT, _ANSWER = "q0prompt0q", "q0answer0q"
OPEN, OFF = "open", "off"  # the effect of a prompt on the model's thinking
_PROBE = '"Queen"\n- "AC/DC"\nA. "x y"\nWhich?'


class Wrapper(NamedTuple):
    """Text around a prompt.

    Attributes:
      before: text before the user's words. Markers in this text become special tokens if the tokenizer
        defines them as such.
      after: text between the user's words and the model's turn.
      lead: text between ``after`` and the first word of an answer, such as a space.
    """

    before: str
    after: str
    lead: str

    def digest(self) -> str:
        """sha256 of all three fields."""
        return store.fingerprint(list(self))


def find(tokenizer: Any, wanted: str, folder: Path) -> Wrapper | None:
    """Makes the wrapper from a tokenizer's chat template; None for plain text.

    Args:
      tokenizer: a Hugging Face tokenizer.
      wanted: ``auto`` (use a chat template if the tokenizer has one), ``on`` or ``off``.
      folder: named in errors.

    Raises:
      InputError: the template is required but missing, cannot be used, or alters prompts.
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
    """``open`` if the prompt ends inside a block of thinking, ``off`` if after such a block, else empty."""
    if wrapper is None or not thinking.has_tag(wrapper.after):
        return ""
    return OPEN if thinking.left_open(wrapper.after) else OFF


def _switches(tokenizer: Any, folder: Path) -> dict[str, bool]:
    """The template arguments that switch thinking off; empty if the template ignores them."""
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
    except Exception as error:  # a template's code may raise any error
        message = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"{folder}: its chat template cannot be used ({message}); use --config.llm.chat=off"
        ) from None
