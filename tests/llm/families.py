"""Toy models of many transformers architectures. Attention windows are far shorter than the prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from small_world import dataset

from ialp_jax.llm.model import embedded
from ialp_jax.llm.prompting import templates

WINDOW = 16  # tokens in an attention window; a prompt with a few titles is longer
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
SLIDING = ["sliding_attention", "full_attention"]
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
# name -> (model type in transformers, settings that differ from `SIZES`).
QUICK: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral with a window": ("mistral", {"sliding_window": WINDOW}),
    "gemma2": ("gemma2", {"head_dim": 8, "sliding_window": WINDOW, "final_logit_softcapping": 2.0}),
    "gemma3": ("gemma3_text", {"head_dim": 8, "sliding_window": WINDOW, "layer_types": SLIDING}),
    "cohere": ("cohere", {"logit_scale": 0.25}),
}
SLOW: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"attention_bias": True}),
    "qwen2": ("qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    "qwen3": ("qwen3", {"head_dim": 8}),
    "qwen3_moe": ("qwen3_moe", {"num_experts": 4, "head_dim": 8, "output_router_logits": True, **EXPERTS}),
    "gemma": ("gemma", {"head_dim": 8}),
    "gemma3 with eyes": ("gemma3", {}),
    "phi3": ("phi3", {"sliding_window": WINDOW}),
    "phi": ("phi", {}),
    "cohere2": ("cohere2", {"sliding_window": WINDOW, "layer_types": SLIDING, "logit_scale": 0.25}),
    "granite": ("granite", {"logits_scaling": 4.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5}),
    "granitemoe": ("granitemoe", {"logits_scaling": 4.0, "num_local_experts": 4}),
    "gpt2": ("gpt2", {}),
    "gpt_neo": ("gpt_neo", {"window_size": WINDOW, "attention_types": [[["global", "local"], 1]]}),
    "gptj": ("gptj", {"rotary_dim": 4}),
    "gpt_neox": ("gpt_neox", {}),
    "gpt_bigcode": ("gpt_bigcode", {}),
    "opt": ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 16}),
    "falcon": ("falcon", {}),
    "falcon with alibi": ("falcon", {"alibi": True}),
    "bloom": ("bloom", {}),
    "mpt": ("mpt", {"max_seq_len": 1024}),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0]}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "sliding_window": WINDOW}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", {"sliding_window": WINDOW, "layer_types": SLIDING}),
    "stablelm": ("stablelm", {}),
    "starcoder2": ("starcoder2", {"sliding_window": WINDOW}),
    "nemotron": ("nemotron", {}),
    "glm4": ("glm4", {"head_dim": 8}),
    "exaone4": ("exaone4", {"sliding_window": WINDOW, "layer_types": SLIDING}),
    "llama4": (
        "llama4_text",
        {
            "head_dim": 8,
            "intermediate_size_mlp": 48,
            "attention_chunk_size": WINDOW,
            "num_local_experts": 2,
            "no_rope_layers": [1, 0],
            "layer_types": ["chunked_attention", "full_attention"],
        },
    ),
    "gpt_oss": (
        "gpt_oss",
        {"head_dim": 8, "sliding_window": WINDOW, "layer_types": SLIDING, "num_local_experts": 4},
    ),
    "deepseek_v3": (
        "deepseek_v3",
        {
            "num_key_value_heads": 4,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
            "n_routed_experts": 4,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            **EXPERTS,
        },
    ),
    "modernbert decoder": ("modernbert-decoder", {"local_attention": 2 * WINDOW}),
    "mamba": ("mamba", {"state_size": 8}),
    "lfm2": ("lfm2", {"layer_types": ["conv", "full_attention"]}),
}
BEGIN, END, PAD = 1, 2, 0  # of the tokenizer


def configuration(name: str, vocabulary: int) -> Any:
    """The transformers configuration of a family."""
    kind, changes = {**QUICK, **SLOW}[name]
    sizes = {**SIZES, **changes, "vocab_size": vocabulary}
    ids = {"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": PAD}
    if kind == "gemma3":
        text = {**sizes, "head_dim": 8, "sliding_window": WINDOW, "layer_types": SLIDING}
        sight = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        sight |= {"image_size": 8, "patch_size": 4}
        nested = {"text_config": {**text, **ids}, "vision_config": sight, "mm_tokens_per_image": 4}
        return transformers.AutoConfig.for_model(kind, image_token_index=5, **nested, **ids)
    return transformers.AutoConfig.for_model(kind, **sizes, **ids)


def write(name: str, folder: Path) -> Path:
    """Saves a random model of a family and its tokenizer in the Hugging Face format."""
    tokenizer = embedded.train_tokenizer(dataset().catalogue, templates.TEMPLATES["titles"], 320)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(configuration(name, len(tokenizer)))
    for parameter in model.parameters():  # large weights make the output depend on the context
        if parameter.dim() > 1 or not parameter.isfinite().all():
            parameter.data.normal_(0, 0.25)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def reference(folder: Path) -> Any:
    """The model as transformers loads it, without our code."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def parameters() -> list[Any]:
    """All families for `pytest.mark.parametrize`; most are marked slow."""
    return [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
