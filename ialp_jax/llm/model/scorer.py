"""Scores prompts with a loaded causal language model. Needs torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ialp_jax.errors import InputError
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.model import adapters, weights
from ialp_jax.llm.model.loading import context_of, load_model, load_tokenizer
from ialp_jax.llm.modes import likelihood, prefix
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.llm.modes.asker import LetterAsker
from ialp_jax.llm.prompting.templates import Template
from ialp_jax.llm.prompting.tokens import TitleTokens, build_rows, cut_histories, tokenise
from ialp_jax.types import Prompts

TOGETHER = 50  # number of titles per row if the history is empty


@contextlib.contextmanager
def memory_in_one_line(batch_size: int) -> Iterator[None]:
    """Inside this context, an out-of-memory error of torch becomes an InputError."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise InputError(f"--config.llm.batch_size={batch_size}: out of memory; use a smaller one") from None


class Scorer:
    """A loaded model that answers prompts about one catalogue, as configured."""

    def __init__(
        self,
        folder: Path,
        titles: Sequence[str],
        template: Template,
        config: LLMConfig,
        wrapper: Sequence[str] | None = None,
        loaded: tuple[Any, Any] | None = None,
    ) -> None:
        """Loads model, adapter and tokenizer, and tokenises the N + 1 titles.

        Args:
          folder: folder of the model.
          titles: ``titles[0]`` is padding.
          template: words of the prompts.
          config: settings for loading and asking.
          wrapper: chat wrapper of an earlier run, if prompts must stay the same.
          loaded: a model and its tokenizer, to be used instead of those in ``folder``.

        Raises:
          InputError: see `load_tokenizer`, `load_model`, `adapters.apply` and `weights.check_tokens`.
        """
        if loaded is None:
            tokenizer = load_tokenizer(folder, config.pad_token)
            self.model = load_model(folder, config.device, config.dtype)
            if config.adapter:
                self.model = adapters.apply(self.model, Path(config.adapter), config.adapter_use)
        else:
            self.model, tokenizer = loaded
        self.limit = context_of(self.model.config)
        self.padding = tokenizer.pad_token_id
        self.mode, self._normalise, self.batch_size = config.mode, config.normalise, config.batch_size
        self.num_items = len(titles) - 1
        self.tokens: TitleTokens = tokenise(tokenizer, titles, template, self.limit)
        self.asker = None
        if config.mode != "likelihood":
            self.asker = LetterAsker(
                self.model, tokenizer, folder, titles, template, config, self.limit, wrapper
            )
        read = self.asker.letters.tokens if self.asker else self.tokens
        weights.check_tokens(folder, tokenizer, self.model, read.prefix, read.values)
        self.plain = False

    @property
    def plain(self) -> bool:
        """Whether the model reads each sequence in a separate forward pass.

        `ialp_jax.llm.engines.transformers_engine` sets this to true if fast scoring gives other scores.
        """
        return self._plain

    @plain.setter
    def plain(self, plain: bool) -> None:
        self._plain = plain
        if self.asker is not None:
            self.asker.plain = plain

    def facts(self) -> dict[str, Any]:
        """Device, dtype and, for lettered modes, prompt settings."""
        place = {"device": str(self.model.device), "dtype": str(self.model.dtype).removeprefix("torch.")}
        return place | (self.asker.facts() if self.asker else {})

    def order(self, prompts: Prompts) -> np.ndarray:
        """Indices that sort n prompts from the longest to the shortest, int64 [n]; batches use this order."""
        if self.asker is not None:
            return self.asker.order(prompts)
        return likelihood.by_length(self.tokens, prompts, self.limit)[0]

    def score(self, prompts: Prompts) -> tuple[np.ndarray, int]:
        """Scores float32 [P, K] (sums or means of log-probabilities), and the number of tokens read.

        Raises:
          InputError: out of memory.
        """
        with memory_in_one_line(self.batch_size):
            # Each call computes the cached prefix again, because LoRA changes the model.
            shared = None if self.plain else prefix.read(self.model, self.tokens.prefix)
            scores, spent = likelihood.score(
                self.model,
                self.tokens,
                prompts,
                padding=self.padding,
                limit=self.limit,
                batch_size=self.batch_size,
                prefix=shared,
            )
        return self.normalised(scores, prompts.candidates), spent

    def normalised(self, scores: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Log-probabilities float32 [n, K] of candidates int32 [n, K]: sums, or means if configured."""
        if self._normalise == "mean":
            scores = (scores / self.tokens.lengths()[candidates]).astype(np.float32)
        return scores

    def alternatives(self, prompts: Prompts) -> torch.Tensor:
        """Scores of all possible answers, titles or letters, for LoRA's loss; differentiable, in one pass.

        Candidates get their letters in the order in which ``prompts`` has them.

        Returns:
          float32 [n, K]; in the lettered modes ``choice`` and ``generate`` [n, K + 1], with "none" last.
        """
        if self.asker is not None:
            return self.asker.alternatives(prompts)
        rows = build_rows(self.tokens, cut_histories(self.tokens, prompts, self.limit), self.padding)
        scores = likelihood.title_scores(self.model, rows, prompts.candidates.shape[1])
        if self._normalise == "mean":
            lengths = self.tokens.lengths()[prompts.candidates]
            scores = scores / torch.from_numpy(lengths).to(scores)
        return scores

    def answer(self, prompts: Prompts) -> tuple[Answers, int]:
        """Answers to n prompts, and the number of tokens read.

        Raises:
          InputError: out of memory; or, in lettered modes, too many or too long candidates.
        """
        if self.asker is not None:
            with memory_in_one_line(self.batch_size):
                return self.asker.answer(prompts)
        scores, spent = self.score(prompts)
        return Answers.from_scores(scores), spent

    def unconditional(self) -> np.ndarray:
        """Scores of all titles after an empty history, float32 [N + 1]; 0 for padding."""
        items = np.arange(1, len(self.tokens.offsets) - 1, dtype=np.int32)
        rows = np.resize(items, (-(-len(items) // TOGETHER), TOGETHER))
        scores, _ = self.score(Prompts(np.zeros((len(rows), 1), np.int32), rows))
        return np.concatenate([[0.0], scores.ravel()[: len(items)]]).astype(np.float32)
