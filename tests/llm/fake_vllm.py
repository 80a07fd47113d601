"""Imitates vLLM's public offline interface with transformers. Names and rules are those of vLLM's docs.

``LLM.generate(prompts, sampling_params, *, use_tqdm, lora_request)`` takes ``TokensPrompt`` and returns
``RequestOutput``. A prompt must leave room for the generated tokens. ``prompt_logprobs`` begin with None, and
each later entry maps token ids to ``Logprob``. If a request names ``logprob_token_ids``, ``logprobs`` of the
answer hold exactly these tokens.
"""

from __future__ import annotations

import sys
import types
from types import SimpleNamespace
from typing import Any

import torch
import transformers


class SamplingParams:
    """The documented fields that the engine uses. Unknown fields raise TypeError, as in vLLM."""

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
    """Name, id (at least 1) and folder of an adapter."""

    def __init__(self, lora_name: str, lora_int_id: int, lora_path: str) -> None:
        assert lora_int_id >= 1
        self.lora_name, self.lora_path = lora_name, lora_path


class LLM:
    """Records all instances of this class, and the ``options`` and ``requests`` of each instance."""

    instances: list[LLM]

    def __init__(self, model: str, **options: Any) -> None:
        if "no-such-gpu" in str(model):
            raise RuntimeError("vLLM finds no device\nand a long explanation")
        self.options, self.requests = options, []
        self._model = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(model)
        LLM.instances.append(self)

    @torch.inference_mode()
    def generate(
        self, prompts: list[dict], sampling_params: Any, *, use_tqdm: bool = True, lora_request: Any = None
    ) -> list[Any]:
        assert len(prompts) == len(sampling_params)
        self.requests.append((prompts, sampling_params, lora_request))
        return [self._one(p["prompt_token_ids"], s) for p, s in zip(prompts, sampling_params, strict=True)]

    def _one(self, ids: list[int], params: SamplingParams) -> Any:
        assert all(type(i) is int for i in ids)
        assert len(ids) + params.max_tokens <= self.options["max_model_len"]
        logs = torch.log_softmax(self._model(torch.tensor([ids])).logits[0].float(), -1)
        of_prompt = None
        if params.prompt_logprobs == 0:
            pairs = zip(logs[:-1], ids[1:], strict=True)
            of_prompt = [None, *({token: SimpleNamespace(logprob=log[token].item())} for log, token in pairs)]
        of_tokens = None
        if params.logprob_token_ids is not None:
            of_tokens = [{i: SimpleNamespace(logprob=logs[-1, i].item()) for i in params.logprob_token_ids}]
        output = self._model.generate(
            torch.tensor([ids]), max_new_tokens=params.max_tokens, do_sample=False, pad_token_id=0
        )[0, len(ids) :].tolist()
        text = self._tokenizer.decode(output, skip_special_tokens=True) if params.detokenize else ""
        completion = SimpleNamespace(text=text, token_ids=output, logprobs=of_tokens)
        return SimpleNamespace(prompt_logprobs=of_prompt, outputs=[completion])


def install(monkeypatch: Any) -> type[LLM]:
    """Makes ``import vllm`` import the fake."""
    LLM.instances = []
    vllm, lora, request = (types.ModuleType(f"vllm{rest}") for rest in ("", ".lora", ".lora.request"))
    vllm.LLM, vllm.SamplingParams = LLM, SamplingParams
    vllm.TokensPrompt = lambda *, prompt_token_ids: {"prompt_token_ids": prompt_token_ids}
    vllm.lora, lora.request, request.LoRARequest = lora, request, LoRARequest
    for module in (vllm, lora, request):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return LLM
