"""Settings of the LLM and of the small Mistral that is trained where no model is given."""

import dataclasses
from typing import Any

from ialp_jax import settings
from ialp_jax.errors import InputError
from ialp_jax.llm.prompting import templates
from ialp_jax.settings import setting

MOST_LETTERED = 25  # candidates that the letters A to Z can name, with one letter left for "none"

DTYPES = ("auto", "fastest", "float32", "bfloat16")


def _require(holds: bool, knob: str, rule: str) -> None:
    if not holds:
        raise InputError(f"--config.llm.{knob} must be {rule}")


@dataclasses.dataclass
class EmbeddedConfig:
    """The Mistral that the label stage builds and trains itself on the offline users.

    The defaults suit ``demo``. For ``lfm``: hidden 128, 8,000 steps (users' own artists against random
    ones: AUC 0.90, popularity 0.78).

    Attributes:
      hidden: width D of the model.
      layers: number of decoder layers.
      heads: attention heads; half as many key-value heads.
      vocabulary: size of the byte-pair vocabulary learned from the catalogue.
      context: tokens of one training row, and the longest prompt the model will read.
      steps: optimiser steps; a budget in steps, not in seconds, so that a seed fixes the result.
      batch_size: training rows per step.
      learning_rate: peak of the cosine schedule.
      shuffle: share of the histories whose order is drawn anew in each epoch; where the data set knows no
        order of time, all are.
      drop: probability that an item is left out of its history, drawn anew in each epoch.
      holdout: share of the offline users kept out of training, for the held-out loss and for ``none``.
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
        """Raises InputError for values that no model can have."""
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
    """Fine-tuning of the model by LoRA (arXiv 2106.09685) on the offline users; off by default.

    Attributes:
      steps: optimiser steps; 0: the lora stage does nothing, and the model labels without an adapter.
      batch_size: prompts per step.
      learning_rate: peak of the cosine schedule; small models bear ten times the default and more.
      rank: of the low-rank updates.
      alpha: the updates are scaled by alpha / rank.
      dropout: share of the updates' inputs that is dropped during fine-tuning.
      targets: comma-separated names of the modules that are updated.
      negatives: items in a training prompt beside the user's own; 0: as many as the label stage shows.
      negative_sampling: ``uniform`` or ``popularity`` (likes of offline users plus 1), among what the user
        never liked.
      none_share: share of the training prompts without an item of the user's own, whose answer is none;
        for modes that answer by letter.
      holdout: share of the offline users that LoRA does not read; the accuracy is measured on them.
      save_every: steps between checkpoints, from which a killed fine-tuning goes on.
      gradient_checkpointing: computes activations twice instead of keeping them: less memory, more time.
      dtype: of the frozen weights, as of ``llm.dtype``; the updates are float32.
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
    """Which model says the preferences, and how it is asked.

    Attributes:
      model: folder or hub id of a causal language model in safetensors; empty: the embedded one.
      revision: branch, tag or commit of a hub id; empty: the default branch.
      pad_token: padding token of a tokenizer that has none.
      mode: ``likelihood`` (log-likelihood of each candidate's title after the history), ``choice`` (the
        candidates bear letters; the logits of the letters after the prompt) or ``generate`` (the same
        prompt, answered in free text).
      template: ``titles`` (bare lines), ``brief`` (the same, of each title the first 40 characters), ``list``
        (with an introduction), ``auto``: titles for the embedded model, list for a given one; or a file of
        one's own, ``FILE.json``.
      chat: chat template of the tokenizer around prompts of ``choice`` and ``generate``: ``auto`` (where
        there is one), ``on`` or ``off``. A template that can switch the model's thinking off does so.
      permutations: for ``choice`` and ``generate``, under how many orders of its candidates each prompt is
        asked; scores are means over them. Under ``likelihood`` a score cannot depend on the order.
      max_new_tokens: for ``generate``, length of an answer, its thinking included.
      retries: for ``generate``, how often a prompt whose answer is invalid is asked again, each time under
        another order.
      on_invalid: an answer that stays invalid is no label (``drop``) or counts as ``none``.
      normalise: ``sum`` or ``mean`` of the log-probabilities over a title's tokens.
      none_rule: for ``likelihood``, threshold of ``none`` from held-out offline users: ``youden``,
        ``quantile`` or ``never``.
      none_quantile: for ``quantile``, the share of random items that counts as disliked.
      batch_size: prompts per forward pass.
      store: folder of a label store that runs share, so that no prompt is put twice to the same model in the
        same way; empty: the run's own ``labels/shards``.
      shard_size: prompts that are stored together, and lost together when the process dies.
      dtype: ``auto`` (bfloat16 on a GPU, else float32), ``fastest`` (whichever of the two multiplies faster
        here, by measurement), ``float32`` or ``bfloat16``.
      device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``, ...
      threads: CPU threads of the worker; 0: one per core.
      adapter: folder of a LoRA adapter in peft's format; empty: the run's own if ``lora.steps`` is above 0,
        else none.
      adapter_use: ``merge`` (into the weights, once) or ``attach`` (beside them, at every pass).
      engine: who runs the model: ``transformers`` on one device, ``ray`` on several devices and machines,
        ``vllm`` where it is installed.
      workers: for ``ray``, how many models; 0: one per GPU, or one where there is none.
      ray_address: of a running Ray cluster; empty: one is started on this machine, for this machine only, and
        ended again.
      embedded: the model that is trained where none is given.
      lora: fine-tuning of either model.
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
        templates.choose(self.template, embedded=not self.model)  # so that a faulty file is said at once
        if self.mode == "likelihood":
            _require(self.permutations == 1, "permutations", "1 with likelihood: it scores each title alone")
            _require(self.chat != "on", "chat", "auto or off with likelihood: a title goes on with the list")
        device = self.device in ("auto", "cpu", "cuda") or self.device.removeprefix("cuda:").isdigit()
        _require(device, "device", "auto, cpu, cuda or cuda:<number>")
        _require(self.threads >= 0, "threads", "0 (one per core) or more")
        _require(self.workers >= 0, "workers", "0 (one per GPU) or more")
        for knob in ("workers", "ray_address"):
            idle = bool(getattr(self, knob)) and self.engine != "ray"
            _require(not idle, knob, "left alone unless --config.llm.engine=ray")
        _require(not self.revision or bool(self.model), "revision", "empty where --config.llm.model is empty")
        self.embedded.check()
        self.lora.check()
        _require(
            not (self.adapter and self.lora.steps),
            "adapter",
            "empty where --config.llm.lora.steps is above 0: the run labels with its own adapter",
        )
        _require(
            not self.lora.steps or self.lora.holdout >= self.embedded.holdout,
            "lora.holdout",
            f"at least --config.llm.embedded.holdout ({self.embedded.holdout}): "
            "the threshold of none is set on those users",
        )

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "LLMConfig":
        """The inverse of `dataclasses.asdict`."""
        parts = {"embedded": EmbeddedConfig(**tree["embedded"]), "lora": LoraConfig(**tree["lora"])}
        return cls(**{**tree, **parts})

    def asking(self) -> dict[str, Any]:
        """The settings that decide, beside model, template and candidates, what a prompt's answer is."""
        used = {
            "likelihood": ("normalise",),
            "choice": ("chat", "permutations"),
            "generate": ("chat", "permutations", "max_new_tokens", "retries"),
        }[self.mode]
        return {name: getattr(self, name) for name in ("mode", *used)}
