"""A stand-in for vLLM's published offline interface, over transformers: names and rules as documented.

``LLM.generate(prompts, sampling_params, *, use_tqdm, lora_request)`` takes ``TokensPrompt`` and returns
``RequestOutput``. Its rules hold: a prompt leaves room for what is generated; ``prompt_logprobs`` begin with
None, each later entry maps token ids to ``Logprob``; ``logprob_token_ids`` are answered by exactly those.
"""

from __future__ import annotations

import sys
import types
from types import SimpleNamespace
from typing import Any

import torch
import transformers


class SamplingParams:
    """The published fields that are used; others are refused as in the real one."""

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        max_tokens: int = 16,
        prompt_logprobs: int | None = None,
        logprob_token_ids: list[int] | None = None,
        detokenize: bool = True,
    ) -> None:
        assert temperature >= 0
        assert max_tokens >= 1
        assert len(logprob_token_ids or []) <= 128
        self.__dict__.update({k: v for k, v in locals().items() if k != "self"})


class LoRARequest:
    """Name, an id from 1 on, and the folder of the adapter."""

    def __init__(self, lora_name: str, lora_int_id: int, lora_path: str) -> None:
        assert lora_int_id >= 1
        self.lora_name, self.lora_path = lora_name, lora_path


class LLM:
    """Records how it was built (``made``) and what it was asked (``asked``)."""

    made: list[LLM]

    def __init__(self, model: str, **given: Any) -> None:
        if "no-such-gpu" in str(model):
            raise RuntimeError("no device of vLLM's here\nwith a long story")
        self.given, self.asked = given, []
        self._model = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        LLM.made.append(self)

    @torch.inference_mode()
    def generate(
        self, prompts: list[dict], sampling_params: Any, *, use_tqdm: bool = True, lora_request: Any = None
    ) -> list[Any]:
        assert len(prompts) == len(sampling_params)
        self.asked.append((prompts, sampling_params, lora_request))
        return [self._one(p["prompt_token_ids"], s) for p, s in zip(prompts, sampling_params, strict=True)]

    def _one(self, ids: list[int], wanted: SamplingParams) -> Any:
        assert all(type(i) is int for i in ids)
        assert len(ids) + wanted.max_tokens <= self.given["max_model_len"]
        logs = torch.log_softmax(self._model(torch.tensor([ids])).logits[0].float(), -1)
        before = None
        if wanted.prompt_logprobs == 0:
            pairs = zip(logs[:-1], ids[1:], strict=True)
            before = [None, *({token: SimpleNamespace(logprob=log[token].item())} for log, token in pairs)]
        told = None
        if wanted.logprob_token_ids is not None:
            told = [{i: SimpleNamespace(logprob=logs[-1, i].item()) for i in wanted.logprob_token_ids}]
        written = self._model.generate(
            torch.tensor([ids]), max_new_tokens=wanted.max_tokens, do_sample=False, pad_token_id=0
        )[0, len(ids) :].tolist()
        text = self._tokenizer.decode(written, skip_special_tokens=True) if wanted.detokenize else ""
        answer = SimpleNamespace(text=text, token_ids=written, logprobs=told)
        return SimpleNamespace(prompt_logprobs=before, outputs=[answer])


def install(monkeypatch: Any) -> type[LLM]:
    """Puts the stand-in where ``import vllm`` finds it."""
    LLM.made = []
    vllm, lora, request = (types.ModuleType(f"vllm{rest}") for rest in ("", ".lora", ".lora.request"))
    vllm.LLM, vllm.SamplingParams = LLM, SamplingParams
    vllm.TokensPrompt = lambda *, prompt_token_ids: {"prompt_token_ids": prompt_token_ids}
    vllm.lora, lora.request, request.LoRARequest = lora, request, LoRARequest
    for module in (vllm, lora, request):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return LLM
