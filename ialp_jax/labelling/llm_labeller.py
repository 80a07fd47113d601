"""Labels prompts with the LLM: takes answers from the store or the worker, and turns them into labels."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.labelling import label_files, quality, shards
from ialp_jax.labelling.label_store import LabelStore
from ialp_jax.labelling.llm_client import LLMClient, intact_manifest
from ialp_jax.labelling.shards import Batch
from ialp_jax.labelling.worker_pool import WorkerPool
from ialp_jax.llm import adapter_files, model_files
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.modes import none_rule
from ialp_jax.llm.modes.answers import CAUSES, Answers
from ialp_jax.llm.prompting import chat, orders
from ialp_jax.llm.worker.protocol import CALIBRATION
from ialp_jax.types import Labels, Prompts

LEAST_SHARE = 1e-6  # of answers that name a candidate, so that the logarithm of each share is finite
# Entries of a calibration's manifest that are not copied into the manifest of labels.
_OMITTED = ("unconditional", "files", CALIBRATION)


class LLMLabeller(LLMClient):
    """Labels prompts with the configured model, see `ialp_jax.labelling.labeller.Labeller`.

    The model answers each prompt only once per store. After a restart, a run must make all its requests
    again, in the same order. If all answers are stored, torch is not loaded.

    Attributes:
      places: the ``places`` of the answers, see `Answers`: one array int8 [P, A] per request.
    """

    def __init__(
        self,
        config: LLMConfig,
        data_folder: Path,
        folder: Path,
        seed: int,
        on_caution: Callable[[str], object] = warnings.warn,
    ) -> None:
        """Stores the settings. Files are read only when the context is entered.

        Args:
          config: settings of the LLM; the constructor checks them.
          data_folder: folder of the data stage.
          folder: folder of the labels, for ``model/`` (only the embedded model), ``calibration/``, ``plans/``
            and, if ``config.store`` is empty, ``shards/``.
          seed: seed for training the embedded model and for the calibration.
          on_caution: function that is called with a reason why the labels may be useless.
        """
        super().__init__(config, data_folder, folder, seed)
        self._on_caution = on_caution
        own_store = self._folder / label_files.SHARDS
        self._store_folder = Path(config.store).expanduser() if config.store else own_store
        self._store: LabelStore | None = None
        self._fingerprint = self._context = ""
        self._calibration: dict[str, Any] = {}
        self._is_loaded = False  # whether the worker is ready to score
        self._pool: WorkerPool | None = None
        self._batches: list[Batch] = []
        self._choices: list[np.ndarray] = []
        self._causes: list[np.ndarray] = []
        self._num_candidates: list[int] = []  # K of each request.
        self._invalid_reply = ""  # text of the first invalid reply that is not blank
        self.places: list[np.ndarray] = []

    def label(self, prompts: Prompts) -> Labels:
        """Labels P prompts.

        Raises:
          InputError: the worker reports an error, for example that torch is missing or memory ran out.
        """
        prompts, answers = self._answers(prompts)
        choice = self._decide(answers, prompts.candidates)
        self._record(answers, choice)
        return Labels(
            prompts.histories, prompts.candidates, choice, log_scores(answers.scores, self._config.mode)
        )

    def evidence(self, prompts: Prompts, counted: bool) -> np.ndarray:
        """Returns scores for a calibration, see `ialp_jax.labelling.labeller.LabelSource`.

        In ``likelihood``, this is the score after the history minus the score after an empty history, so that
        the effects of a title's length and spelling cancel. In the other modes, it is the score itself.
        """
        prompts, answers = self._answers(prompts)
        if counted:
            self._record(answers, self._decide(answers, prompts.candidates))
        scores = log_scores(answers.scores, self._config.mode).astype(np.float64)
        if self._config.mode == "likelihood":
            scores -= self._calibration["unconditional"][prompts.candidates]
        scores[answers.cause > 0] = np.nan
        return scores

    def _answers(self, prompts: Prompts) -> tuple[Prompts, Answers]:
        """Checks P prompts, and takes their answers from the store or the worker."""
        histories, candidates = (np.asarray(array, np.int32) for array in prompts[:2])
        self._check(histories, candidates)
        prompts = Prompts(histories, candidates)
        self._shape = prompts.shape
        if self._store is None:
            self._open()
        answers, batches = self._store.answers(prompts, self._compute)
        self._batches += batches
        return prompts, answers

    def _decide(self, answers: Answers, candidates: np.ndarray) -> np.ndarray:
        """Turns answers into labels, int32 [P].

        In ``likelihood``, the rule of "none" decides whether the label is "none". In the other modes, the
        model decides.
        """
        choice = answers.choice
        if self._config.mode == "likelihood":
            unconditional = self._calibration["unconditional"][candidates]
            choice = none_rule.decide(answers, unconditional, self._calibration["threshold"])
        return np.maximum(choice, 0) if self._config.on_invalid == "none" else choice

    def _record(self, answers: Answers, choice: np.ndarray) -> None:
        """Stores the results of one request, which `manifest` counts later."""
        self._choices.append(choice)
        self._causes.append(answers.cause)
        self.places.append(answers.places)
        self._num_candidates.append(answers.scores.shape[1])
        invalid = answers.replies[answers.cause > 0].ravel().tolist()
        self._invalid_reply = self._invalid_reply or next((text for text in invalid if text.strip()), "")

    def manifest(self) -> dict[str, Any]:
        """Returns model, settings, counts and costs of the labels.

        ``asked`` counts the different prompts that this run sent to the model. ``taken`` counts the different
        prompts whose answers were already in the store. ``tokens`` and ``seconds`` are the costs of the
        prompts in ``asked``, including the costs in earlier processes of the run.

        In lettered modes, ``answers_invalid`` counts all invalid answers by cause, including answers that the
        model later replaced by a valid one. ``order_bias`` is the result of
        `ialp_jax.llm.prompting.orders.order_bias` for the prompts with the most frequent number of
        candidates. ``cautions`` lists reasons why the labels may be useless, see
        `ialp_jax.labelling.quality`.
        """
        trained = {} if self._config.model else store.read_manifest(self._model_folder) or {}
        manifest = {
            "model": self._config.model or "embedded",
            "revision": self._config.revision,
            "fingerprint": self._fingerprint,
            "catalogue": self._catalogue,
            "store": self._config.store,
            "context": self._context,
            "adapter": adapter_files.fingerprint(self._adapter) if self._adapter else "",
            "adapter_use": self._config.adapter_use if self._adapter else "",
            "template": dataclasses.asdict(self._template),
            "template_sha256": self._template.digest(),
            **self._config.asking(),
            "on_invalid": self._config.on_invalid,
            **self._mode_facts(),
            **{name: value for name, value in self._calibration.items() if name not in _OMITTED},
            "counts": self._counts(),
            "asked": sum(len(batch.answers.choice) for batch in self._batches),
            "taken": self._store.taken if self._store else 0,
            "tokens": sum(batch.tokens for batch in self._batches),
            "seconds": round(sum(batch.seconds for batch in self._batches), 3),
            "training": trained.get("training", {}),
        }
        return {**manifest, "cautions": quality.cautions(manifest)}

    def _counts(self) -> dict[str, Any]:
        """Counts prompts by kind of label.

        ``valid`` includes ``none``. ``invalid`` counts, for each cause, the prompts without a valid answer,
        even if ``on_invalid`` gives them the label "none".
        """
        choices = np.concatenate([np.zeros(0, np.int32), *self._choices])
        causes = np.concatenate([np.zeros(0, np.uint8), *self._causes])
        return {
            "prompts": len(choices),
            "valid": int(np.sum(causes == 0)),
            "none": int(np.sum(choices == 0)),
            "invalid": {name: int(np.sum(causes == i)) for i, name in enumerate(CAUSES) if i},
        }

    def _mode_facts(self) -> dict[str, Any]:
        """Returns entries of the manifest that only some modes have."""
        if self._config.mode == "likelihood":
            return {"none_rule": self._config.none_rule}
        sizes = self._num_candidates
        usual = max(sizes, key=sizes.count, default=1)
        of_usual_size = [p.ravel() for p, size in zip(self.places, sizes, strict=True) if size == usual]
        places = np.concatenate([np.zeros(0, np.int8), *(p.ravel() for p in self.places)])
        return {
            "answers_invalid": {name: int(np.sum(places == -i)) for i, name in enumerate(CAUSES) if i},
            "order_bias": orders.order_bias(np.concatenate([np.zeros(0, np.int8), *of_usual_size]), usual),
        }

    def require_valid(self) -> None:
        """Raises InputError if there are answers, but all of them are invalid."""
        quality.require_valid(self.manifest(), self._invalid_reply, self._store_folder)

    def _check(self, histories: np.ndarray, candidates: np.ndarray) -> None:
        if histories.ndim != 2 or candidates.ndim != 2 or len(histories) != len(candidates):
            raise ValueError(f"not [P, L] and [P, K]: {histories.shape} and {candidates.shape}")
        if candidates.shape[1] < 1:
            raise ValueError("no candidates")
        for name, array, least in (("histories", histories, 0), ("candidates", candidates, 1)):
            if array.size and not least <= array.min() <= array.max() < len(self._titles):
                raise ValueError(f"{name}: item ids outside {least}..{len(self._titles) - 1}")

    def _open(self) -> None:
        """Trains and calibrates the model if necessary, then opens the store."""
        config = self._config
        self._fingerprint = self._adapted(self.model_fingerprint())
        facts = self._facts()
        rule = [config.none_rule, config.none_quantile, config.embedded.holdout, self._seed, self._data_files]
        # The fingerprint includes the shape, because a calibration tests the model on the longest prompts.
        self._calibrate(store.fingerprint([facts, self._titles, rule, self._shape]))
        # These values replace "auto". There is also a hash of the chat template's text, because the text may
        # contain the date.
        names = ("device", "dtype", "plain", "wrapper_sha256")
        resolved = {name: self._calibration[name] for name in names if name in self._calibration}
        resolved["device"] = resolved["device"].partition(":")[0]
        if caution := quality.thinking({**self._calibration, **config.asking()}):
            self._on_caution(caution)
            resolved["thinking"] = chat.OPEN  # changes how answers are read
        name = config.model or "embedded"
        self._context = shards.describe(self._store_folder, {**facts, **resolved}, model=name)
        self._store = LabelStore(
            self._store_folder,
            self._folder / label_files.PLANS,
            self._context,
            self._titles,
            self._template,
            config.shard_size,
        )

    def _facts(self) -> dict[str, Any]:
        """Returns the settings that determine an answer, together with the prompt.

        The entry ``fingerprint`` covers the files of the model and its adapter, so each revision of a model
        has a different fingerprint.
        """
        names = ("pad_token", "dtype", "device", "batch_size", "engine")
        acting = model_files.acting(self._model_folder, self._config.mode)
        return {
            **({"acting": acting} if acting else {}),
            "fingerprint": self._fingerprint,
            "template": dataclasses.asdict(self._template),
            **self._config.asking(),
            **{name: getattr(self._config, name) for name in names},
        }

    def _adapted(self, base: str) -> str:
        """Returns the fingerprint of the model with its adapter. Raises InputError if they do not match."""
        if self._config.lora.steps:
            self._adapter = self._folder.parent / adapter_files.FOLDER
            if store.read_manifest(self._adapter) is None:
                raise InputError(f"{self._adapter}: missing or not finished; run --stage=lora first")
        if not self._adapter:
            return base
        adapter_files.check(self._adapter)
        adapter_files.check_base(self._adapter, self._config.model, base)
        return store.fingerprint([base, adapter_files.fingerprint(self._adapter), self._config.adapter_use])

    def _calibrate(self, fingerprint: str) -> None:
        """Reads the calibration with this fingerprint. If it is missing, lets the worker make it.

        Each shape of prompts (L and K) has its own calibration. The audit and the label stage have different
        shapes.
        """
        folder = self._folder / "calibration" / "{}x{}".format(*self._shape)
        manifest = intact_manifest(folder, "the model is calibrated again")
        if manifest.get(CALIBRATION) != fingerprint:
            details = {CALIBRATION: fingerprint, "calibration_folder": str(folder)}
            self._order("load", self._threads(), **details)
            self._is_loaded = True
            manifest = store.verify(folder)
        self._calibration = {**manifest, **store.read_arrays(folder / "arrays.npz")}

    def _compute(self, parts: Sequence[Prompts]) -> Iterator[Batch]:
        """Sends batches of prompts to the worker or the workers, and yields the answers."""
        # A dtype that was measured once stays, so that a restarted run gives the same bits.
        measured = {"dtype": self._calibration["dtype"]} if "dtype" in self._calibration else {}
        checked_before = {name: self._calibration.get(name) for name in ("plain", "wrapper")}
        details = {CALIBRATION: None, **checked_before}
        if self._process is None or not self._is_loaded:
            self._order("load", {**self._threads(), **measured}, **details)
            self._is_loaded = True
        if not self._config.workers or self._config.engine != "transformers":
            score_orders = [({"do": "score"}, part.arrays()) for part in parts]
            for header, arrays in self._process.ask_all(score_orders):
                yield Batch(Answers(**arrays), header["tokens"], header["seconds"])
            return
        if self._pool is None:
            self._pool = WorkerPool(self._process, self._config.workers, self._log)
            # The first worker has counted the memory of all workers.
            alone = {**self._threads(), **measured, "workers": 1}
            self._pool.load(self._full_order("load", alone, **details))
        yield from self._pool.answers(parts, self._config.batch_size)

    def _threads(self) -> dict[str, int]:
        """The threads of each worker: with several workers, one is the default."""
        one = self._config.workers and self._config.engine == "transformers" and not self._config.threads
        return {"threads": 1} if one else {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the workers."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        super().__exit__(kind, error, trace)


def log_scores(scores: np.ndarray, mode: str) -> np.ndarray:
    """The model's scores [P, K] on a logarithmic scale; in ``generate``, its scores are shares of answers."""
    return np.log(np.maximum(scores, np.float32(LEAST_SHARE))) if mode == "generate" else scores
