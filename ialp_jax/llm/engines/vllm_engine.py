"""vLLM as an engine, through its published offline interface: ``LLM.generate`` over token ids.

``likelihood`` reads the log-probabilities of the prompt's own tokens (``prompt_logprobs=0``), one request per
candidate. Prefix caching is on, but vLLM reads no cache for requests that want prompt log-probabilities, as
it keeps none of them: likelihood costs K full sequences here, which the transformers engine does not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from ialp_jax.errors import InputError
from ialp_jax.llm import models
from ialp_jax.llm import tokens as rows_of
from ialp_jax.llm.answers import Answers
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.prompts import Template


def _import_vllm() -> Any:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        import vllm
    except ImportError as error:
        raise InputError(
            f"--config.llm.engine=vllm needs {error.name or 'vllm'}, which cannot be imported; run "
            "python -m pip install vllm (it brings its own torch and wants a GPU), or use another engine"
        ) from None
    return vllm


class VLLMEngine:
    """A model loaded by vLLM."""

    def __init__(self, folder: Path, titles: Sequence[str], template: Template, config: LLMConfig) -> None:
        """Loads model and tokenizer, tokenises the N + 1 titles. Raises InputError."""
        self._vllm = _import_vllm()
        tokenizer = models.load_tokenizer(folder, config.pad_token)
        settings = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        context = models.context_of(settings)
        self._limit = context - 1  # one token is always generated
        self._normalise, self._dtype = config.normalise, config.dtype
        self.tokens = rows_of.tokenise(tokenizer, titles, template, self._limit)
        self.plain = False
        try:
            self._llm = self._vllm.LLM(
                model=str(folder),
                dtype=config.dtype,
                max_model_len=context,
                enable_prefix_caching=True,
                trust_remote_code=False,
                seed=0,
            )
        except (RuntimeError, ValueError, OSError, ImportError) as error:
            first = models.first_line(error)
            raise InputError(f"--config.llm.engine=vllm: vLLM does not load {folder} ({first})") from None

    def facts(self) -> dict[str, str]:
        """On what the model runs: ``device``, ``dtype``."""
        return {"device": "vllm", "dtype": self._dtype}

    def check(self, histories: np.ndarray, candidates: np.ndarray) -> None:
        """Nothing to check: vLLM gets whole sequences and no masks of ours."""

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, int]:
        """Scores float32 [n, K], summed or mean log-probabilities as configured, and the tokens spent.

        Args:
          histories: int32 [n, L], left-padded with 0.
          candidates: int32 [n, K].
        """
        histories = rows_of.cut_histories(self.tokens, histories, candidates, self._limit)
        prompts, starts = [], []
        for p, asked in enumerate(candidates):
            before = [self.tokens.prefix, *(self.tokens.of(item) for item in histories[p])]
            starts += [sum(map(len, before))] * len(asked)
            prompts += [np.concatenate([*before, self.tokens.of(item)]).tolist() for item in asked]
        gained = [
            sum(output.prompt_logprobs[place][ids[place]].logprob for place in range(start, len(ids)))
            for ids, start, output in zip(prompts, starts, self._generate(prompts), strict=True)
        ]
        scores = np.array(gained, np.float32).reshape(candidates.shape)
        if self._normalise == "mean":
            scores = (scores / self.tokens.lengths()[candidates]).astype(np.float32)
        return scores, sum(map(len, prompts))

    def answer(self, histories: np.ndarray, candidates: np.ndarray) -> tuple[Answers, int]:
        """Answers to n prompts, histories int32 [n, L] and candidates int32 [n, K], and the tokens spent."""
        scores, spent = self.score(histories, candidates)
        return Answers.from_scores(scores), spent

    def unconditional(self) -> np.ndarray:
        """Scores of all titles after an empty history, float32 [N + 1]; 0 for padding."""
        items = np.arange(1, len(self.tokens.offsets) - 1, dtype=np.int32)
        scores, _ = self.score(np.zeros((len(items), 1), np.int32), items[:, None])
        return np.concatenate([[0.0], scores[:, 0]]).astype(np.float32)

    def _generate(self, prompts: list[list[int]]) -> list[Any]:
        """What vLLM returns for each prompt of token ids, in order."""
        parameters = self._vllm.SamplingParams(
            temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False
        )
        requests = [self._vllm.TokensPrompt(prompt_token_ids=ids) for ids in prompts]
        return self._llm.generate(requests, parameters, use_tqdm=False)
