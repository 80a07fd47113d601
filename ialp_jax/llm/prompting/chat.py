"""What a tokenizer's chat template writes around a prompt. No torch.

The template is rendered once, around a stand-in, and taken apart there: prompts remain concatenations of
token blocks. All of a prompt is one user turn, as Mistral knows no other role before the answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ialp_jax import store
from ialp_jax.errors import InputError

_PROMPT, _ANSWER = "q0prompt0q", "q0answer0q"
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
        return store.digest(list(self))


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
    before, found, after = _user_turn(tokenizer, _PROMPT, folder).partition(_PROMPT)
    if not found or _user_turn(tokenizer, _PROBE, folder) != before + _PROBE + after:
        raise InputError(f"{folder}: its chat template alters the user's words; use --config.llm.chat=off")
    answered = _render(
        tokenizer, [{"role": "user", "content": _PROMPT}, {"role": "assistant", "content": _ANSWER}], folder
    ).partition(_ANSWER)[0]
    asked = before + _PROMPT + after
    return Wrapper(before, after, answered.removeprefix(asked) if answered.startswith(asked) else "")


def _user_turn(tokenizer: Any, content: str, folder: Path) -> str:
    return _render(tokenizer, [{"role": "user", "content": content}], folder, add_generation_prompt=True)


def _render(tokenizer: Any, turns: list[dict[str, str]], folder: Path, **options: bool) -> str:
    try:
        return tokenizer.apply_chat_template(turns, tokenize=False, **options)
    except Exception as error:  # whatever a template's own code may raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"{folder}: its chat template cannot be used ({said}); use --config.llm.chat=off"
        ) from None
