"""vLLM as an engine, through its published offline interface: ``LLM.generate`` over token ids.

- ``likelihood``: log-probabilities of a prompt's own tokens (``prompt_logprobs=0``), a request per candidate.
- ``choice``: one token, with the log-probabilities of the letters (``logprob_token_ids``; restricting the
  answer by ``allowed_token_ids`` alone would not return them all).
- ``generate``: greedy text.

Prefix caching is on, but vLLM reads no cache for requests that want prompt log-probabilities, as it keeps
none of them: ``likelihood`` costs K full sequences here, which it does not with the transformers engine.
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
            "python -m pip install vllm (it brings its own torch and wants a GPU), or use another engine"
        ) from None
    return vllm


class VLLM:
    """A loaded model, asked by token ids."""

    def __init__(self, folder: Path, context: int, dtype: str, adapter: str = "") -> None:
        """Loads the model.

        Args:
          folder: of the model.
          context: tokens of the longest prompt and its answer.
          dtype: ``auto`` (the file's own), ``float32`` or ``bfloat16``.
          adapter: folder of a LoRA adapter, or empty.

        Raises:
          InputError: vLLM is missing or does not load the model.
        """
        self._vllm = _import_vllm()
        given: dict[str, Any] = {}
        self._adapter = None
        if adapter:
            rank = json.loads((Path(adapter) / "adapter_config.json").read_text(encoding="utf-8"))["r"]
            given = {"enable_lora": True, "max_lora_rank": max(8, 1 << (rank - 1).bit_length())}
            self._adapter = self._vllm.lora.request.LoRARequest("adapter", 1, str(adapter))
        try:
            self._llm = self._vllm.LLM(
                model=str(folder),
                dtype=dtype,
                max_model_len=context,
                enable_prefix_caching=True,
                trust_remote_code=False,
                seed=0,
                **given,
            )
        except (RuntimeError, ValueError, OSError, ImportError) as error:
            first = loading.first_line(error)
            raise InputError(f"--config.llm.engine=vllm: vLLM does not load {folder} ({first})") from None

    def ask(self, prompts: list[list[int]], settings: list[dict[str, Any]]) -> list[Any]:
        """What vLLM returns for each prompt of token ids, in order; greedy, each with its own settings."""
        try:
            parameters = [self._vllm.SamplingParams(temperature=0.0, **given) for given in settings]
        except TypeError as error:
            raise InputError(
                f"--config.llm.engine=vllm: this version of vLLM does not know what is asked ({error}); "
                "run python -m pip install -U vllm"
            ) from None
        requests = [self._vllm.TokensPrompt(prompt_token_ids=ids) for ids in prompts]
        return self._llm.generate(requests, parameters, use_tqdm=False, lora_request=self._adapter)

    def scores(self, rows: Rows, num_candidates: int) -> tuple[np.ndarray, int]:
        """Summed log-probabilities float32 [B, K], as of `likelihood.title_scores`, and the tokens spent."""
        prompts = [ids[segment == 0].tolist() for ids, segment in zip(rows.ids, rows.segment, strict=True)]
        counts = np.bincount(rows.slot, minlength=len(prompts) * num_candidates)
        names = [part.tolist() for part in np.split(rows.target, np.cumsum(counts)[:-1])]
        shape = (len(prompts), num_candidates)
        if max(counts) == 1:
            ids = np.array(names).reshape(shape).tolist()
            settings = [{"max_tokens": 1, "logprob_token_ids": asked, "detokenize": False} for asked in ids]
            said = [output.outputs[0].logprobs[0] for output in self.ask(prompts, settings)]
            found = [[told[i].logprob for i in asked] for told, asked in zip(said, ids, strict=True)]
            return np.array(found, np.float32), sum(map(len, prompts))
        whole = [prompts[slot // num_candidates] + name for slot, name in enumerate(names)]
        settings = [{"max_tokens": 1, "prompt_logprobs": 0, "detokenize": False}] * len(whole)
        gained = [
            sum(
                told[token].logprob
                for told, token in zip(output.prompt_logprobs[-len(name) :], name, strict=True)
            )
            for output, name in zip(self.ask(whole, settings), names, strict=True)
        ]
        return np.array(gained, np.float32).reshape(shape), sum(map(len, whole))


class _Asker(LetterAsker):
    """Asks for letters through vLLM."""

    def _score(self, prompts: Prompts) -> tuple[np.ndarray, int]:
        rows = self.letters.rows(self.letters.cut(prompts, reserve=1))
        scores, spent = self._model.scores(rows, prompts.candidates.shape[1] + 1)
        return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True), spent

    def _write(self, prompts: Prompts) -> tuple[list[str], int]:
        most = self._config.max_new_tokens
        ids, mask = self.letters.padded(self.letters.cut(prompts, reserve=most))
        texts = [row[seen == 1].tolist() for row, seen in zip(ids, mask, strict=True)]
        outputs = self._model.ask(texts, [{"max_tokens": most, "detokenize": False}] * len(texts))
        written = [output.outputs[0] for output in outputs]
        spent = sum(map(len, texts)) + sum(len(one.token_ids) for one in written)
        return thinking.Decoder(self._tokenizer)(list(one.token_ids) for one in written), spent


class VLLMEngine:
    """A model loaded by vLLM, asked about one catalogue as configured."""

    def __init__(
        self,
        folder: Path,
        titles: Sequence[str],
        template: Template,
        config: LLMConfig,
        wrapper: Sequence[str] | None = None,
    ) -> None:
        """Loads model and tokenizer, tokenises the N + 1 titles. Raises InputError."""
        tokenizer = loading.load_tokenizer(folder, config.pad_token)
        context = loading.context_of(loading.read_config(folder))
        dtype = "auto" if config.dtype == "fastest" else config.dtype
        self._model = VLLM(folder, context, dtype, config.adapter)
        self._limit = context - 1  # one token is always generated
        self._padding, self._normalise = tokenizer.pad_token_id, config.normalise
        self._place = {"device": "vllm", "dtype": dtype}
        self.tokens = rows_of.tokenise(tokenizer, titles, template, self._limit)
        self.plain, self._asker = False, None
        if config.mode != "likelihood":
            self._asker = _Asker(self._model, tokenizer, folder, titles, template, config, context, wrapper)

    def facts(self) -> dict[str, Any]:
        """On what the model runs, ``device`` and ``dtype``, and with letters how it is asked."""
        return self._place | (self._asker.facts() if self._asker else {})

    def check(self, shape: tuple[int, int]) -> None:
        """Nothing to check: vLLM gets whole sequences and no masks of ours."""

    def score(self, prompts: Prompts) -> tuple[np.ndarray, int]:
        """Scores float32 [n, K], summed or mean log-probabilities as configured, and the tokens spent."""
        prompts = rows_of.cut_histories(self.tokens, prompts, self._limit)
        rows = rows_of.build_rows(self.tokens, prompts, self._padding)
        scores, spent = self._model.scores(rows, prompts.candidates.shape[1])
        if self._normalise == "mean":
            scores = (scores / self.tokens.lengths()[prompts.candidates]).astype(np.float32)
        return scores, spent

    def answer(self, prompts: Prompts) -> tuple[Answers, int]:
        """Answers to n prompts, and the tokens spent."""
        if self._asker is not None:
            return self._asker.answer(prompts)
        scores, spent = self.score(prompts)
        return Answers.from_scores(scores), spent

    def unconditional(self) -> np.ndarray:
        """Scores of all titles after an empty history, float32 [N + 1]; 0 for padding."""
        items = np.arange(1, len(self.tokens.offsets) - 1, dtype=np.int32)
        scores, _ = self.score(Prompts(np.zeros((len(items), 1), np.int32), items[:, None]))
        return np.concatenate([[0.0], scores[:, 0]]).astype(np.float32)
