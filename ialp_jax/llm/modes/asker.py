"""Asks the LLM in the lettered modes, ``choice`` and ``generate``: turns prompts into `Answers`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.modes import choice, generate, prefix
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.llm.prompting import chat, letters, orders
from ialp_jax.llm.prompting.templates import Template
from ialp_jax.types import Prompts


class LetterAsker:
    """Asks a model about one catalogue in a lettered mode.

    Other engines override `score` and `write`, the two methods that run the model.

    Attributes:
      model, tokenizer, config: as passed to the constructor.
      letters: the token blocks of titles and template.
      wrapper: text that the chat template puts around a prompt, or None.
      plain: whether each sequence gets a separate forward pass.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        folder: Path,
        titles: Sequence[str],
        template: Template,
        config: LLMConfig,
        limit: int,
        wrapper: Sequence[str] | None = None,
    ) -> None:
        """Tokenises the N + 1 titles.

        Args:
          model, tokenizer: model and tokenizer of ``folder``.
          folder: named in errors.
          titles: titles of the catalogue.
          template: words of the prompts.
          config: settings for asking.
          limit: maximum number of tokens of a prompt.
          wrapper: `chat.Wrapper` of an earlier run; None: made from the chat template.

        Raises:
          InputError: the chat template is required but missing, or it cannot be used.
        """
        self.model, self.tokenizer, self.config, self._template = model, tokenizer, config, template
        self.plain = False  # if true, each sequence gets a separate forward pass
        self.wrapper = chat.Wrapper(*wrapper) if wrapper else chat.find(tokenizer, config.chat, folder)
        self.letters = letters.LetteredTokens(tokenizer, titles, template, self.wrapper, limit)
        self._digests = orders.title_digests([template.quoted(title) for title in titles])
        if not self._spells(titles):
            warnings.warn(
                f"{folder}: its tokenizer would join pieces of a prompt that are tokenised apart here",
                stacklevel=2,
            )

    def answer(self, prompts: Prompts) -> tuple[Answers, int]:
        """Answers to n prompts, and the number of tokens read."""
        num_candidates = prompts.candidates.shape[1]
        letters.check_count(num_candidates)
        seeds, config = orders.seeds(self._digests, prompts), self.config
        if config.mode == "generate":
            return generate.ask(
                self.write,
                prompts,
                seeds,
                config.permutations,
                config.retries,
                self._template.none,
                chat.thinking_of(self.wrapper) == chat.OPEN,
            )
        drawn = orders.draw(seeds, num_candidates, config.permutations)
        shape = drawn.shape
        lists = np.take_along_axis(prompts.candidates[:, None], drawn, axis=2).reshape(-1, shape[2])
        scores, spent = self.score(Prompts(np.repeat(prompts.histories, shape[1], axis=0), lists))
        return choice.combine(scores.reshape(*shape[:2], -1), drawn), spent

    def alternatives(self, prompts: Prompts) -> torch.Tensor:
        """Log-probabilities of the lines, float32 [n, K + 1], "none" last; differentiable, in one pass.

        Candidates are listed in the order in which ``prompts`` has them.

        Raises:
          InputError: too many or too long candidates.
        """
        return choice.letter_scores(self.model, self.letters.rows(self.letters.cut(prompts)))

    def cut(self, prompts: Prompts) -> Prompts:
        """Removes the oldest liked items of long prompts, see `letters.LetteredTokens.cut`."""
        reserve = self.config.max_new_tokens if self.config.mode == "generate" else 0
        return self.letters.cut(prompts, reserve)

    def lines(self, prompts: Prompts) -> torch.Tensor:
        """Log-probabilities of the lines, float32 [n, K + 1], computed as in mode ``choice``."""
        return torch.from_numpy(self.score(prompts)[0])

    def order(self, prompts: Prompts) -> np.ndarray:
        """Indices that sort n prompts from the longest to the shortest, int64 [n]; batches use this order."""
        return np.argsort(-self.letters.lengths(self.letters.cut(prompts)), kind="stable")

    def score(self, prompts: Prompts) -> tuple[np.ndarray, int]:
        """Log-probabilities of the lines, float32 [n, K + 1], "none" last, and the number of tokens read."""
        # Each call computes the cached prefix again, because LoRA changes the model.
        shared = None if self.plain else prefix.read(self.model, self.letters.tokens.prefix)
        return choice.score_lines(self.model, self.letters, prompts, self.config.batch_size, shared)

    def write(self, prompts: Prompts) -> tuple[list[str], int]:
        """The texts that the model writes for n prompts, and the number of tokens read."""
        return generate.write(
            self.model,
            self.tokenizer,
            self.letters,
            prompts,
            max_new_tokens=self.config.max_new_tokens,
            batch_size=1 if self.plain else self.config.batch_size,  # one prompt needs no padding
        )

    def facts(self) -> dict[str, Any]:
        """Prompt settings for the manifest of labels."""
        wrapper = self.wrapper
        return {
            "wrapper": list(wrapper) if wrapper else None,
            "wrapper_sha256": wrapper.digest() if wrapper else "",
            "thinking": chat.thinking_of(wrapper),
        }

    def _spells(self, titles: Sequence[str]) -> bool:
        """Tests with simple titles whether a prompt's token blocks equal the tokens of its whole text."""
        plain = [i for i, title in enumerate(titles) if title.replace(" ", "").isalnum()][:3]
        if not plain:
            return True
        text = letters.render(self._template, titles, plain, plain, self.wrapper)
        begin = [] if self.wrapper or self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        whole = begin + self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.letters.padded(Prompts(np.array([plain]), np.array([plain])))[0][0].tolist() == whole
