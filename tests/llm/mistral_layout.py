"""A tiny model folder in the layout of the published Mistral-7B-Instruct-v0.3.

Its files and their keys are the same: config.json, generation_config.json, the files of a LlamaTokenizer, and
bfloat16 shards with their index. The tokenizer is BPE over "▁" with byte fallback. It has the [INST] chat
template and no pad token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from small_world import sharpen, titles
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from ialp_jax.llm.prompting.templates import TEMPLATES

TRUE_SIZES = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32768,
}
TOY_SIZES = {
    **TRUE_SIZES,
    "hidden_size": 64,
    "intermediate_size": 224,
    "num_attention_heads": 8,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
}
SPECIAL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant must take turns') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant speak') }}{% endif %}{% endfor %}"
)


def config(sizes: dict[str, int]) -> dict[str, Any]:
    """config.json with the published keys."""
    return {
        "architectures": ["MistralForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "model_type": "mistral",
        "rms_norm_eps": 1e-05,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.42.0.dev0",
        "use_cache": True,
        **sizes,
    }


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def write_tokenizer(folder: Path, chat_template: bool = True) -> int:
    """Writes the three files of the tokenizer. Returns the size of the vocabulary."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    )
    words = [line for value in vars(TEMPLATES["list"]).values() for line in str(value).splitlines()]
    tokenizer.train_from_iterator([*titles(), *words, "A B C D E F G H - none"] * 2, trainer)
    # The tokenizer is trained on words, but splits whole texts. The published tokenizer also splits whole
    # texts, because its pieces come from sentencepiece.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    state = json.loads(tokenizer.to_str())
    # Byte tokens must be ordinary pieces, not special tokens.
    state["added_tokens"] = state["added_tokens"][: len(SPECIAL)]
    write_json(folder / "tokenizer.json", state)
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": True,
        "added_tokens_decoder": {
            str(i): {
                "content": token,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
            for i, token in enumerate(SPECIAL)
        },
        "additional_special_tokens": [],
        "bos_token": "<s>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "legacy": False,
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": None,
        "sp_model_kwargs": {},
        "spaces_between_special_tokens": False,
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
        "use_default_system_prompt": False,
    }
    if not chat_template:
        del settings["chat_template"]
    write_json(folder / "tokenizer_config.json", settings)
    named = ("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")
    write_json(folder / "special_tokens_map.json", dict(named))
    return len(state["model"]["vocab"])


def build(folder: Path, chat_template: bool = True) -> Path:
    """Writes the whole folder. Its random weights are in at least three shards."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = config({**TOY_SIZES, "vocab_size": write_tokenizer(folder, chat_template)})
    torch.manual_seed(0)
    model = transformers.MistralForCausalLM(transformers.MistralConfig(**settings))
    sharpen(model)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="200KB")
    write_json(folder / "config.json", settings)
    write_json(
        folder / "generation_config.json",
        {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "transformers_version": "4.42.0"},
    )
    return folder
