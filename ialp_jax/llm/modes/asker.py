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
from ialp_jax.llm.prompting.prompts import Template


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

    def answer(self, histories: np.ndarray, candidates: np.ndarray) -> tuple[Answers, int]:
        """Answers to n prompts, histories int32 [n, L] and candidates int32 [n, K], and the tokens spent."""
        letters.check_count(candidates.shape[1])
        prompts, config = orders.seeds(self._digests, histories, candidates), self.config
        if config.mode == "generate":

            def write_to(rows: np.ndarray, lists: np.ndarray) -> tuple[list[str], int]:
                return self.write(histories[rows], lists)

            return generate.ask(
                write_to,
                prompts,
                candidates,
                config.permutations,
                config.retries,
                self._template.none,
                chat.thinking_of(self.wrapper) == chat.OPEN,
            )
        drawn = orders.draw(prompts, candidates.shape[1], config.permutations)
        shape = drawn.shape
        lists = np.take_along_axis(candidates[:, None], drawn, axis=2).reshape(-1, shape[2])
        histories = np.repeat(histories, shape[1], axis=0)
        scores, spent = self.score(histories, lists)
        return choice.combine(scores.reshape(*shape[:2], -1), drawn), spent

    def alternatives(self, histories: np.ndarray, candidates: np.ndarray) -> torch.Tensor:
        """Log-probabilities of the lines, "none" last, float32 [n, K + 1], differentiable, in one pass.

        Args:
          histories: int32 [n, L].
          candidates: int32 [n, K], listed in this order.

        Raises:
          InputError: too many candidates, or they do not fit.
        """
        histories = self.letters.cut(histories, candidates)
        return choice.letter_scores(self.model, self.letters.rows(histories, candidates))

    def cut(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Histories int [n, L] without what would not fit; see `letters.LetteredTokens.cut`."""
        reserve = self.config.max_new_tokens if self.config.mode == "generate" else 0
        return self.letters.cut(histories, candidates, reserve)

    def lines(self, histories: np.ndarray, lists: np.ndarray) -> torch.Tensor:
        """Log-probabilities of the lines, float32 [n, K + 1], as labelling by ``choice`` computes them."""
        return torch.from_numpy(self.score(histories, lists)[0])

    def order(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """In what order n prompts, int [n, L] and [n, K], fill batches, int64 [n]: longest first."""
        lengths = self.letters.lengths(self.letters.cut(histories, candidates), candidates)
        return np.argsort(-lengths, kind="stable")

    def score(self, histories: np.ndarray, lists: np.ndarray) -> tuple[np.ndarray, int]:
        """Log-probabilities of the lines float32 [n, K + 1], "none" last, and the tokens spent.

        Args:
          histories: int32 [n, L].
          lists: candidates in the order in which they are listed, int32 [n, K].
        """
        # Read each time: tuning changes the model.
        begun = None if self.plain else prefix.read(self.model, self.letters.tokens.prefix)
        size = self.config.batch_size
        return choice.score_lines(self.model, self.letters, histories, lists, size, begun)

    def write(self, histories: np.ndarray, lists: np.ndarray) -> tuple[list[str], int]:
        """The texts that the model writes for n prompts, and the tokens spent; arguments as for `score`."""
        return generate.write(
            self.model,
            self.tokenizer,
            self.letters,
            histories,
            lists,
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
        return self.letters.prompts(np.array([plain]), np.array([plain]))[0][0].tolist() == whole
