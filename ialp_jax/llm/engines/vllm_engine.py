"""Runs the model with vLLM, through its public offline interface: ``LLM.generate`` on token ids.

- ``likelihood``: one request per candidate, for the log-probabilities of the prompt (``prompt_logprobs=0``).
- ``choice``: one generated token, with the log-probabilities of all letters. The code uses
  ``logprob_token_ids``, because ``allowed_token_ids`` does not return the log-probabilities of all letters.
- ``generate``: text from greedy decoding.

Prefix caching is on. But vLLM does not use the cache if a request asks for log-probabilities of the prompt.
So ``likelihood`` reads K full sequences per prompt here. The transformers engine reads the history only once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ialp_jax.errors import InputError
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.model import loading
from ialp_jax.llm.modes.answers import Answers
from ialp_jax.llm.modes.asker import LetterAsker
from ialp_jax.llm.prompting import thinking
from ialp_jax.llm.prompting import tokens as rows_of
from ialp_jax.llm.prompting.templates import Template
from ialp_jax.llm.prompting.tokens import Rows
from ialp_jax.types import Prompts


def _import_vllm() -> Any:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        import vllm
        import vllm.lora.request
    except ImportError as error:
        raise InputError(
            f"--config.llm.engine=vllm needs {error.name or 'vllm'}, which cannot be imported; run "
            "python -m pip install vllm (it installs its own torch and needs a GPU), or use another engine"
        ) from None
    return vllm


class VLLM:
    """A model in vLLM. Its prompts are lists of token ids."""

    def __init__(self, folder: Path, context: int, dtype: str, adapter: str = "") -> None:
        """Loads the model.

        Args:
          folder: folder of the model.
          context: number of tokens of the longest prompt, including its answer.
          dtype: ``auto`` (dtype of the model's files), ``float32`` or ``bfloat16``.
          adapter: folder of a LoRA adapter, or empty.

        Raises:
          InputError: vLLM is missing or cannot load the model.
        """
        self._vllm = _import_vllm()
        lora: dict[str, Any] = {}
        self._adapter = None
        if adapter:
            rank = json.loads((Path(adapter) / "adapter_config.json").read_text(encoding="utf-8"))["r"]
            lora = {"enable_lora": True, "max_lora_rank": max(8, 1 << (rank - 1).bit_length())}
            self._adapter = self._vllm.lora.request.LoRARequest("adapter", 1, str(adapter))
        try:
            self._llm = self._vllm.LLM(
                model=str(folder),
                dtype=dtype,
                max_model_len=context,
                enable_prefix_caching=True,
                trust_remote_code=False,
                seed=0,
                **lora,
            )
        except (RuntimeError, ValueError, OSError, ImportError) as error:
            reason = loading.first_line(error)
            raise InputError(f"--config.llm.engine=vllm: vLLM does not load {folder} ({reason})") from None

    def ask(self, prompts: list[list[int]], settings: list[dict[str, Any]]) -> list[Any]:
        """Returns vLLM's greedy outputs for the prompts, in order. Each prompt has its own settings."""
        try:
            parameters = [self._vllm.SamplingParams(temperature=0.0, **setting) for setting in settings]
        except TypeError as error:
            raise InputError(
                f"--config.llm.engine=vllm: this version of vLLM lacks a setting ({error}); "
                "run python -m pip install -U vllm"
            ) from None
        requests = [self._vllm.TokensPrompt(prompt_token_ids=ids) for ids in prompts]
        return self._llm.generate(requests, parameters, use_tqdm=False, lora_request=self._adapter)

    def scores(self, rows: Rows, num_candidates: int) -> tuple[np.ndarray, int]:
        """Returns the same scores as `likelihood.title_scores`, [B, K], and the number of tokens read."""
        prompts = [prompt.tolist() for prompt in rows.prompts()]
        lengths = np.bincount(rows.slot, minlength=len(prompts) * num_candidates)
        titles = [part.tolist() for part in np.split(rows.target, np.cumsum(lengths)[:-1])]
        shape = (len(prompts), num_candidates)
        if max(lengths) == 1:
            return self._scores_of_tokens(prompts, np.array(titles).reshape(shape).tolist())
        sequences = [prompts[slot // num_candidates] + title for slot, title in enumerate(titles)]
        settings = [{"max_tokens": 1, "prompt_logprobs": 0, "detokenize": False}] * len(sequences)
        sums = []
        for output, title in zip(self.ask(sequences, settings), titles, strict=True):
            by_position = zip(output.prompt_logprobs[-len(title) :], title, strict=True)
            sums.append(sum(logprobs[token].logprob for logprobs, token in by_position))
        return np.array(sums, np.float32).reshape(shape), sum(map(len, sequences))

    def _scores_of_tokens(self, prompts: list[list[int]], tokens: list[list[int]]) -> tuple[np.ndarray, int]:
        """Like `scores`, but with one request per prompt. Each candidate must be one of ``tokens`` [B, K]."""
        settings = [{"max_tokens": 1, "logprob_token_ids": ids, "detokenize": False} for ids in tokens]
        scores = []
        for output, ids in zip(self.ask(prompts, settings), tokens, strict=True):
            logprobs = output.outputs[0].logprobs[0]
            scores.append([logprobs[token].logprob for token in ids])
        return np.array(scores, np.float32), sum(map(len, prompts))


class _Asker(LetterAsker):
    """Asks a model in vLLM to choose a letter."""

    def score(self, prompts: Prompts) -> tuple[np.ndarray, int]:
        rows = self.letters.rows(self.letters.cut(prompts, reserve=1))
        scores, spent = self.model.scores(rows, prompts.candidates.shape[1] + 1)
        return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True), spent

    def write(self, prompts: Prompts) -> tuple[list[str], int]:
        max_tokens = self.config.max_new_tokens
        ids, mask = self.letters.padded(self.letters.cut(prompts, reserve=max_tokens))
        texts = [row[is_token == 1].tolist() for row, is_token in zip(ids, mask, strict=True)]
        outputs = self.model.ask(texts, [{"max_tokens": max_tokens, "detokenize": False}] * len(texts))
        replies = [list(output.outputs[0].token_ids) for output in outputs]
        return thinking.Decoder(self.tokenizer)(replies), sum(map(len, texts)) + sum(map(len, replies))


class VLLMEngine:
    """Answers prompts about one catalogue with a model in vLLM."""

    def __init__(
        self,
        folder: Path,
        titles: Sequence[str],
        template: Template,
        config: LLMConfig,
        wrapper: Sequence[str] | None = None,
    ) -> None:
        """Loads model and tokenizer, and tokenises the N + 1 titles. Raises InputError."""
        tokenizer = loading.load_tokenizer(folder, config.pad_token)
        context = loading.context_of(loading.read_config(folder))
        self._model = VLLM(folder, context, config.dtype, config.adapter)
        self._limit = context - 1  # because vLLM always generates at least one token
        self._padding, self._normalise = tokenizer.pad_token_id, config.normalise
        self._place = {"device": "vllm", "dtype": config.dtype}
        self.tokens = rows_of.tokenise(tokenizer, titles, template, self._limit)
        self.plain, self._asker = False, None
        if config.mode != "likelihood":
            self._asker = _Asker(self._model, tokenizer, folder, titles, template, config, context, wrapper)

    def facts(self) -> dict[str, Any]:
        """Returns ``device`` and ``dtype`` of the model. In lettered modes, also returns prompt settings."""
        return self._place | (self._asker.facts() if self._asker else {})

    def order(self, prompts: Prompts) -> np.ndarray:
        """Returns the order of the prompts, because vLLM forms its own batches; int64 [n]."""
        return np.arange(prompts.num_prompts)

    def check(self, shape: tuple[int, int]) -> None:
        """Does nothing, because vLLM gets whole sequences and needs no mask."""

    def score(self, prompts: Prompts) -> tuple[np.ndarray, int]:
        """Returns scores [n, K], sums or means of log-probabilities, and the number of tokens read."""
        prompts = rows_of.cut_histories(self.tokens, prompts, self._limit)
        rows = rows_of.build_rows(self.tokens, prompts, self._padding)
        scores, spent = self._model.scores(rows, prompts.candidates.shape[1])
        if self._normalise == "mean":
            scores = (scores / self.tokens.lengths()[prompts.candidates]).astype(np.float32)
        return scores, spent

    def answer(self, prompts: Prompts) -> tuple[Answers, int]:
        """Returns the answers to n prompts, and the number of tokens that the model read."""
        if self._asker is not None:
            return self._asker.answer(prompts)
        scores, spent = self.score(prompts)
        return Answers.from_scores(scores), spent

    def unconditional(self) -> np.ndarray:
        """Returns the scores of all titles after an empty history, float32 [N + 1]; 0 for padding."""
        items = np.arange(1, len(self.tokens.offsets) - 1, dtype=np.int32)
        scores, _ = self.score(Prompts(np.zeros((len(items), 1), np.int32), items[:, None]))
        return np.concatenate([[0.0], scores[:, 0]]).astype(np.float32)
