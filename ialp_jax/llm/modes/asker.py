"""Asking by letters: from prompts to `Answers`, for ``choice`` and ``generate``."""

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
    """Asks a model for letters about one catalogue.

    Another engine overrides `score` and `write`, the two methods that run the model.

    Attributes:
      model, tokenizer, config: as given.
      letters: titles and template as tokens.
      wrapper: text that the chat template puts around a prompt, or None.
      plain: whether each sequence goes through the model by itself.
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
          model, tokenizer: of ``folder``.
          folder: named in errors.
          titles: of the catalogue.
          template: words of the prompts.
          config: how to ask.
          limit: tokens that a prompt may have.
          wrapper: `chat.Wrapper` that was used before; None: rendered now.

        Raises:
          InputError: the chat template is missing though wanted, or cannot be used.
        """
        self.model, self.tokenizer, self.config, self._template = model, tokenizer, config, template
        self.plain = False  # each sequence goes through the model by itself
        self.wrapper = chat.Wrapper(*wrapper) if wrapper else chat.find(tokenizer, config.chat, folder)
        self.letters = letters.LetteredTokens(tokenizer, titles, template, self.wrapper, limit)
        self._digests = orders.title_digests([template.quoted(title) for title in titles])
        if not self._spells(titles):
            warnings.warn(
                f"{folder}: its tokenizer would join pieces of a prompt that are tokenised apart here",
                stacklevel=2,
            )

    def answer(self, prompts: Prompts) -> tuple[Answers, int]:
        """Answers to n prompts, and the tokens spent."""
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
        """Log-probabilities of the lines, "none" last, float32 [n, K + 1], differentiable, in one pass.

        Candidates are listed in their order in ``prompts``.

        Raises:
          InputError: too many candidates, or they do not fit.
        """
        return choice.letter_scores(self.model, self.letters.rows(self.letters.cut(prompts)))

    def cut(self, prompts: Prompts) -> Prompts:
        """The prompts without what would not fit; see `letters.LetteredTokens.cut`."""
        reserve = self.config.max_new_tokens if self.config.mode == "generate" else 0
        return self.letters.cut(prompts, reserve)

    def lines(self, prompts: Prompts) -> torch.Tensor:
        """Log-probabilities of the lines, float32 [n, K + 1], as labelling by ``choice`` computes them."""
        return torch.from_numpy(self.score(prompts)[0])

    def order(self, prompts: Prompts) -> np.ndarray:
        """In what order n prompts fill batches, int64 [n]: longest first."""
        return np.argsort(-self.letters.lengths(self.letters.cut(prompts)), kind="stable")

    def score(self, prompts: Prompts) -> tuple[np.ndarray, int]:
        """Log-probabilities of the lines float32 [n, K + 1], "none" last, and the tokens spent."""
        # Read each time: LoRA changes the model.
        shared = None if self.plain else prefix.read(self.model, self.letters.tokens.prefix)
        return choice.score_lines(self.model, self.letters, prompts, self.config.batch_size, shared)

    def write(self, prompts: Prompts) -> tuple[list[str], int]:
        """The texts that the model writes for n prompts, and the tokens spent."""
        return generate.write(
            self.model,
            self.tokenizer,
            self.letters,
            prompts,
            max_new_tokens=self.config.max_new_tokens,
            batch_size=1 if self.plain else self.config.batch_size,  # alone, nothing is padded
        )

    def facts(self) -> dict[str, Any]:
        """What the manifest of labels tells about the prompts."""
        wrapper = self.wrapper
        return {
            "wrapper": list(wrapper) if wrapper else None,
            "wrapper_sha256": wrapper.digest() if wrapper else "",
            "thinking": chat.thinking_of(wrapper),
        }

    def _spells(self, titles: Sequence[str]) -> bool:
        """Whether a prompt's blocks are the tokens of its whole text, tried on plain titles."""
        plain = [i for i, title in enumerate(titles) if title.replace(" ", "").isalnum()][:3]
        if not plain:
            return True
        text = letters.render(self._template, titles, plain, plain, self.wrapper)
        begin = [] if self.wrapper or self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        whole = begin + self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.letters.padded(Prompts(np.array([plain]), np.array([plain])))[0][0].tolist() == whole
