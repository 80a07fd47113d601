"""Lengths of prompts in each mode, before a model is loaded. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ialp_jax import keys
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.prompting import chat
from ialp_jax.llm.prompting import tokens as rows_of
from ialp_jax.llm.prompting.letters import LetteredTokens
from ialp_jax.llm.prompting.templates import Template
from ialp_jax.types import OFFLINE, Dataset, Prompts

NUM_HELD_OUT = 500  # Held-out prompts of LoRA, rounded up to the same number per user.
NUM_SAMPLED = 256  # Size of the sample that represents all prompts.
CHARACTERS_PER_TOKEN = 4  # Typical of English text.


class Guess:
    """Replaces a missing tokenizer: guesses the number of tokens from the number of characters."""

    bos_token_id, pad_token_id, chat_template = 1, 0, None

    def __call__(self, texts: list[str], **options: bool) -> dict[str, list[list[int]]]:
        """Returns token ids of several texts; only the number of ids matters, so all ids are 0."""
        del options
        return {"input_ids": [[0] * -(-len(text) // CHARACTERS_PER_TOKEN) for text in texts]}


class Lengths(NamedTuple):
    """Lengths of P prompts.

    Attributes:
      prompt: int64 [P], number of tokens of a prompt in a forward pass, including its candidates.
      scored: int64 [P], number of positions whose logits are computed.
      written: maximum number of tokens that the model writes after each prompt.
    """

    prompt: np.ndarray
    scored: np.ndarray
    written: int


class Demand(NamedTuple):
    """Prompts that a stage will send to the LLM, represented by a sample.

    Attributes:
      name: name of the work. The estimate prints one line per name.
      count: number of prompts.
      sample: some of the prompts.
    """

    name: str
    count: int  # type: ignore[assignment] # hides tuple.count
    sample: Prompts


class Ruler:
    """Measures prompts about one catalogue."""

    def __init__(
        self,
        tokenizer: Any,
        folder: Path,
        titles: Sequence[str],
        template: Template,
        config: LLMConfig,
        context: int,
    ) -> None:
        """Tokenises the N + 1 titles in the form that the configured mode uses.

        Args:
          tokenizer: tokenizer of ``folder``, or a `Guess`.
          folder: named in errors.
          titles: titles of the catalogue.
          template: words of the prompts.
          config: settings for asking.
          context: maximum number of tokens of a prompt.
        """
        self._context, self._letters = context, None
        self._written = config.max_new_tokens if config.mode == "generate" else 0
        if config.mode == "likelihood":
            self._tokens = rows_of.tokenise(tokenizer, titles, template, context)
        else:
            wrapper = chat.find(tokenizer, config.chat, folder)
            self._letters = LetteredTokens(tokenizer, titles, template, wrapper, context)

    def measure(self, prompts: Prompts) -> Lengths:
        """Lengths of P prompts.

        Raises:
          InputError: in lettered modes, the candidates are too many or too long.
        """
        if self._letters is not None:
            prompt = self._letters.lengths(self._letters.cut(prompts, self._written))
            return Lengths(prompt, np.full(len(prompt), max(1, self._written)), self._written)
        prompts = rows_of.cut_histories(self._tokens, prompts, self._context)
        # One position predicts the first tokens of all candidates, and each common token the next token. The
        # other positions predict later tokens.
        common = self._tokens.common
        scored = 1 + common + np.maximum(self._tokens.lengths()[prompts.candidates] - 1 - common, 0).sum(1)
        return Lengths(rows_of.prompt_lengths(self._tokens, prompts), scored, 0)


def sample_prompts(num_items: int, shape: tuple[int, int], seed: int = 0) -> Prompts:
    """Draws `NUM_SAMPLED` prompts of random items; ``shape`` is L and K."""
    generator = keys.generator(seed, "llm-lengths")
    drawn = generator.integers(1, num_items + 1, (NUM_SAMPLED, sum(shape))).astype(np.int32)
    return Prompts(drawn[:, : shape[0]], drawn[:, shape[0] :])


def sample_of(dataset: Dataset, shape: tuple[int, int], seed: int) -> Prompts:
    """Draws prompts like `sample_prompts`, but with real histories: the last L likes of offline users."""
    prompts = sample_prompts(dataset.catalogue.num_items, shape, seed)
    histories = np.zeros_like(prompts.histories)
    users = keys.generator(seed, "llm-dry-run").permutation(dataset.users(OFFLINE))
    for row, user in enumerate(np.resize(users, len(histories)) if len(users) else ()):
        likes = dataset.histories.of(user)[-shape[0] :]
        histories[row, shape[0] - len(likes) :] = likes
    return prompts._replace(histories=histories)
