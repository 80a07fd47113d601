"""Settings of the LLM, and of the small Mistral that is trained if no model is given."""

import dataclasses
from typing import Any

from ialp_jax import settings
from ialp_jax.errors import InputError
from ialp_jax.llm.prompting import templates
from ialp_jax.settings import setting

MOST_LETTERED = 25  # maximum number of candidates with letters; one of the 26 letters is for "none"

DTYPES = ("auto", "float32", "bfloat16")


def _require(holds: bool, knob: str, rule: str) -> None:
    if not holds:
        raise InputError(f"--config.llm.{knob} must be {rule}")


@dataclasses.dataclass
class EmbeddedConfig:
    """Settings of the small Mistral that the label stage trains on the offline users.

    The defaults suit ``demo``. For ``lfm`` use hidden 128 and 8,000 steps. With these settings, the model
    ranks a user's own artists above random artists with an AUC of 0.90; popularity reaches 0.77.

    Attributes:
      hidden: width D of the model.
      layers: number of decoder layers.
      heads: number of attention heads; the number of key-value heads is half of it.
      vocabulary: size of the byte-pair vocabulary learned from the catalogue.
      context: number of tokens in a training row, and in the longest prompt that the model can read.
      steps: number of optimiser steps. There is no time limit, so that the seed determines the result.
      batch_size: training rows per step.
      learning_rate: peak of the cosine schedule.
      shuffle: share of the histories whose items are shuffled in each epoch. If the data set has no order in
        time, all histories are shuffled.
      drop: probability that an item is left out of its history. Each epoch draws again.
      holdout: share of the offline users that the model does not train on. The held-out loss and the
        threshold of ``none`` are computed on these users.
    """

    hidden: int = 64
    layers: int = setting(2, at_least=1)
    heads: int = 4
    vocabulary: int = 3000
    context: int = setting(128, at_least=32)
    steps: int = setting(800, at_least=1)
    batch_size: int = setting(4, at_least=1)
    learning_rate: float = setting(4e-3, above=0)
    shuffle: float = setting(0.0, at_least=0, at_most=1)
    drop: float = setting(0.0, at_least=0, below=1)
    holdout: float = setting(0.1, above=0, below=1)

    def check(self) -> None:
        """Raises InputError for impossible values."""
        settings.check(self, "llm.embedded")
        _require(self.heads >= 2 and self.heads % 2 == 0, "embedded.heads", "even and at least 2")
        _require(
            self.hidden >= 1 and self.hidden % (2 * self.heads) == 0,
            "embedded.hidden",
            f"a multiple of twice --config.llm.embedded.heads ({2 * self.heads})",
        )
        _require(self.vocabulary >= 300, "embedded.vocabulary", "at least 300 (256 bytes and some merges)")


@dataclasses.dataclass
class LoraConfig:
    """Settings of LoRA (arXiv 2106.09685), which fine-tunes the model on offline users; off by default.

    Attributes:
      steps: optimiser steps. 0: the lora stage does nothing, and the model labels without an adapter.
      batch_size: prompts per step.
      learning_rate: peak of the cosine schedule. Small models may need ten times the default or more.
      rank: rank of the updates.
      alpha: LoRA scales the updates by alpha / rank.
      dropout: dropout rate for the inputs of LoRA's updates during fine-tuning.
      targets: comma-separated names of the modules that LoRA updates.
      negatives: number of items in a training prompt that the user never liked; 0: the prompt has as many
        candidates as in the label stage.
      negative_sampling: how these items are drawn: ``uniform``, or ``popularity`` (with probability
        proportional to 1 + likes by offline users).
      none_share: share of the training prompts that do not contain the user's item, so that the right answer
        is "none". Only for lettered modes.
      holdout: share of the offline users that LoRA does not train on. The accuracy is measured on these
        users; with the embedded model, only on the users of embedded.holdout among them.
      save_every: steps between checkpoints. A killed fine-tuning continues from the last checkpoint.
      gradient_checkpointing: computes activations twice instead of storing them, for less memory and more
        time.
      dtype: dtype of the frozen weights: ``auto`` (bfloat16 on a GPU, else float32), ``float32`` or
        ``bfloat16``. The updates are float32.
    """

    steps: int = setting(0, at_least=0)
    batch_size: int = setting(16, at_least=1)
    learning_rate: float = setting(2e-4, above=0)
    rank: int = setting(16, at_least=1)
    alpha: float = setting(32.0, above=0)
    dropout: float = setting(0.05, at_least=0, below=1)
    targets: str = "q_proj,k_proj,v_proj,o_proj"
    negatives: int = setting(0, at_least=0)
    negative_sampling: str = setting("uniform", choices=("uniform", "popularity"))
    none_share: float = setting(0.1, at_least=0, below=1)
    holdout: float = setting(0.1, above=0, below=1)
    save_every: int = setting(50, at_least=1)
    gradient_checkpointing: bool = False
    dtype: str = setting("auto", choices=DTYPES)

    def check(self) -> None:
        """Raises InputError for impossible values."""
        settings.check(self, "llm.lora")
        _require(bool(self.target_modules()), "lora.targets", "a comma-separated list of module names")

    def target_modules(self) -> list[str]:
        """The names in ``targets``."""
        return [name.strip() for name in self.targets.split(",") if name.strip()]


@dataclasses.dataclass
class LLMConfig:
    """Settings of the LLM: the model, its prompts and the mode.

    Attributes:
      model: folder or hub id of a causal language model in safetensors; empty: the embedded model.
      revision: branch, tag or commit of a hub id; empty: the default branch.
      pad_token: padding token, if the tokenizer has none.
      mode: how the model is asked. ``likelihood``: scores are log-likelihoods of the candidates' titles after
        the history. ``choice``: each candidate has a letter, and scores are log-probabilities of the letters.
        ``generate``: the model answers the prompt of ``choice`` in free text, and scores are logarithms of
        the shares of answers that name a candidate.
      template: text of the prompts. ``titles``: bare lines. ``brief``: the first 40 characters of each title.
        ``list``: titles with an introduction. ``auto``: ``titles`` for the embedded model, ``list`` for a
        given model. ``FILE.json``: your own file.
      chat: whether the tokenizer's chat template wraps prompts of ``choice`` and ``generate``: ``auto`` (if
        the tokenizer has one), ``on`` or ``off``. If the template can switch thinking off, it does.
      permutations: for ``choice`` and ``generate``, number of orders of the candidates. The model gets each
        prompt once per order, and the scores are averaged. ``likelihood`` does not depend on the order.
      max_new_tokens: for ``generate``, maximum number of tokens of an answer, including the model's thinking.
      retries: for ``generate``, maximum number of further attempts after an invalid answer, each in another
        order of the candidates.
      on_invalid: if no attempt gives a valid answer, the prompt gets no label (``drop``) or the label
        ``none``.
      normalise: for ``likelihood``, ``sum`` or ``mean`` of the log-probabilities of a title's tokens.
      none_rule: for ``likelihood``, rule that computes the threshold of ``none`` from held-out offline users:
        ``youden``, ``quantile`` or ``never``.
      none_quantile: for the rule ``quantile``, share of the random items that are below the threshold.
      batch_size: prompts per forward pass.
      store: folder of a label store that several runs share. If the store has the answer to a prompt, no run
        sends this prompt to the model. Empty: the run's own ``labels/shards``.
      shard_size: number of prompts per stored file. If the process dies, the answers of an unfinished file
        are lost.
      dtype: ``auto``, ``float32`` or ``bfloat16``. ``auto`` is bfloat16 on a GPU. On a CPU, it is
        measured: bfloat16 if this multiplies faster here and ranks the candidates of some prompts alike,
        else float32. Labels then depend on the machine; the manifest says which dtype they have. Models
        below 10 M parameters (the embedded model) and models in Ray stay in float32 on a CPU.
      device: ``auto`` (a GPU if the machine has one), ``cpu``, ``cuda``, ``cuda:1``, ...
      threads: CPU threads of each process that runs the model; 0: one per core, or one thread if ``workers``
        is set.
      adapter: folder of a LoRA adapter in peft's format. Empty: the run's own adapter if ``lora.steps`` is
        above 0, else no adapter.
      adapter_use: ``merge`` adds the adapter to the weights when the model is loaded; ``attach`` computes the
        adapter in every forward pass.
      engine: runs the model: ``transformers`` (on one device), ``ray`` (on several devices and machines) or
        ``vllm`` (if it is installed).
      workers: number of processes that share the prompts of a request, each with a copy of the model. For
        ``transformers``, only on a CPU; 0: one process with all threads. The labels are the same for each
        number from 1 on. For ``ray``, 0 is one per GPU, or one if there is no GPU.
      ray_address: address of a running Ray cluster. Empty: the run starts Ray only for this machine, and
        stops it at the end.
      embedded: settings of the model that is trained if no model is given.
      lora: settings of the fine-tuning by LoRA.
    """

    model: str = ""
    revision: str = ""
    pad_token: str = ""
    mode: str = setting("likelihood", choices=("likelihood", "choice", "generate"))
    template: str = "auto"
    chat: str = setting("auto", choices=("auto", "on", "off"))
    permutations: int = setting(1, at_least=1)
    max_new_tokens: int = setting(8, at_least=1)
    retries: int = setting(1, at_least=0)
    on_invalid: str = setting("drop", choices=("drop", "none"))
    normalise: str = setting("sum", choices=("sum", "mean"))
    none_rule: str = setting("youden", choices=("youden", "quantile", "never"))
    none_quantile: float = setting(0.5, at_least=0, at_most=1)
    batch_size: int = setting(32, at_least=1)
    store: str = ""
    shard_size: int = setting(1024, at_least=1)
    dtype: str = setting("auto", choices=DTYPES)
    device: str = "auto"
    threads: int = 0
    adapter: str = ""
    adapter_use: str = setting("merge", choices=("merge", "attach"))
    engine: str = setting("transformers", choices=("transformers", "ray", "vllm"))
    workers: int = 0
    ray_address: str = ""
    embedded: EmbeddedConfig = dataclasses.field(default_factory=EmbeddedConfig)
    lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)

    def check(self) -> None:
        """Raises InputError for impossible values."""
        settings.check(self, "llm")
        named = self.template in ("auto", *templates.TEMPLATES) or self.template.endswith(templates.SUFFIX)
        _require(named, "template", "auto, titles, brief, list or the path of a .json file")
        templates.choose(self.template, embedded=not self.model)  # reports a faulty file now
        if self.mode == "likelihood":
            _require(self.permutations == 1, "permutations", "1 with likelihood, which ignores the order")
            _require(self.chat != "on", "chat", "auto or off with likelihood, which uses no chat template")
        device = self.device in ("auto", "cpu", "cuda") or self.device.removeprefix("cuda:").isdigit()
        _require(device, "device", "auto, cpu, cuda or cuda:<number>")
        _require(self.threads >= 0, "threads", "0 (one per core) or more")
        _require(self.workers >= 0, "workers", "0 (chosen by the engine) or more")
        shared = not self.workers or self.engine == "ray" or self._on_cpu()
        _require(
            shared,
            "workers",
            "0 unless --config.llm.engine=ray, or transformers with --config.llm.device=cpu",
        )
        idle = bool(self.ray_address) and self.engine != "ray"
        _require(not idle, "ray_address", "left at its default unless --config.llm.engine=ray")
        _require(not self.revision or bool(self.model), "revision", "empty if --config.llm.model is empty")
        self.embedded.check()
        self.lora.check()
        _require(
            not (self.adapter and self.lora.steps),
            "adapter",
            "empty if --config.llm.lora.steps is above 0: the run labels with its own adapter",
        )
        _require(
            not self.lora.steps or self.lora.holdout >= self.embedded.holdout,
            "lora.holdout",
            f"at least --config.llm.embedded.holdout ({self.embedded.holdout}): "
            "the threshold of none is computed on these users",
        )

    def _on_cpu(self) -> bool:
        """Whether the engine is transformers and the device is, or may be, a CPU."""
        return self.engine == "transformers" and self.device in ("auto", "cpu")

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "LLMConfig":
        """The inverse of `dataclasses.asdict`."""
        parts = {"embedded": EmbeddedConfig(**tree["embedded"]), "lora": LoraConfig(**tree["lora"])}
        return cls(**{**tree, **parts})

    def asking(self) -> dict[str, Any]:
        """Returns the settings that determine an answer, besides model, template and prompt."""
        used = {
            "likelihood": ("normalise",),
            "choice": ("chat", "permutations"),
            "generate": ("chat", "permutations", "max_new_tokens", "retries"),
        }[self.mode]
        return {name: getattr(self, name) for name in ("mode", *used)}
