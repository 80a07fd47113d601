"""The label stage's side: asks the worker for labels, and starts it only if something is missing."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ialp_jax import store
from ialp_jax.claim import LABELS, STORE, claim
from ialp_jax.data.files import load_dataset
from ialp_jax.errors import InputError
from ialp_jax.labelling import label_files, quality, shards
from ialp_jax.labelling.label_store import LabelStore
from ialp_jax.labelling.process import WorkerProcess
from ialp_jax.labelling.shards import Batch
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.model import adapter_files, model_files
from ialp_jax.llm.modes import none_rule
from ialp_jax.llm.modes.answers import CAUSES, Answers
from ialp_jax.llm.prompting import chat, orders, prompts
from ialp_jax.types import Labels


class LabelWorker:
    """Labels prompts with the configured model; use it as a context manager.

    What was labelled before in the same folder or store is not labelled again. For that, a run that begins
    anew makes its requests again from the first one, in the same order; those that are stored cost no torch.
    """

    def __init__(self, config: LLMConfig, data_folder: Path, folder: Path, seed: int) -> None:
        """Takes the settings; nothing is read before the context is entered.

        Args:
          config: checked here.
          data_folder: of the data stage.
          folder: of the labels; gets ``model/`` (the embedded one), ``calibration/``, ``plans/`` and, where
            ``config.store`` is empty, ``shards/``.
          seed: of the embedded model's training and of the calibration.
        """
        config.check()
        self._config, self._seed = config, seed
        self._data_folder, self._folder = Path(data_folder), Path(folder)
        self._template = prompts.choose(config.template, embedded=not config.model)
        self._process: WorkerProcess | None = None
        self._loaded: dict[str, Any] = {}
        self._store: LabelStore | None = None
        own = self._folder / label_files.SHARDS
        self._store_folder = Path(config.store).expanduser() if config.store else own
        self._fingerprint = self._context = ""
        self._shape = (0, 0)  # L, K
        self._adapter = Path(config.adapter).expanduser() if config.adapter else None
        self._calibration: dict[str, Any] = {}
        self._batches: list[Batch] = []
        self._choices: list[np.ndarray] = []
        self._causes: list[np.ndarray] = []
        self.reply = ""  # of the first invalid answer in words
        self.notice: Callable[[str], object] = warnings.warn  # is told what speaks against the labels to come
        self.places: list[np.ndarray] = []  # of each request, int8 [P, A], see `Answers`
        self._sizes: list[int] = []  # K of each request

    def __enter__(self) -> LabelWorker:
        """Reads the data and finds the model. Raises InputError where either is not there."""
        claim(self._folder, LABELS)
        self._data_files = store.verify(self._data_folder)["files"]
        dataset = load_dataset(self._data_folder)
        self._titles = prompts.shown(dataset, self._template).catalogue.titles
        self._catalogue = label_files.catalogue_facts(dataset)
        if self._config.store:
            claim(self._store_folder, STORE, "--config.llm.store")  # before hours of training and labelling
        self._model_folder = self._folder / "model"
        if self._config.model:
            self._model_folder = model_files.resolve(self._config.model, self._config.revision)
            model_files.check(self._model_folder)  # so that what is missing is said at once
        if self._adapter:
            adapter_files.check(self._adapter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the worker."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def label(self, histories: np.ndarray, candidates: np.ndarray) -> Labels:
        """Labels P prompts.

        Args:
          histories: int32 [P, L], liked items, oldest first, left-padded with 0.
          candidates: int32 [P, K], ids 1..N.

        Raises:
          InputError: the worker cannot work, in one line: torch or model missing, out of memory, ...
        """
        histories, candidates = np.asarray(histories, np.int32), np.asarray(candidates, np.int32)
        self._check(histories, candidates)
        self._shape = histories.shape[1], candidates.shape[1]
        if self._store is None:
            self._open()
        answers, batches = self._store.answers(histories, candidates, self._compute)
        choice = self._decide(answers, candidates)
        self._batches += batches
        self._choices.append(choice)
        self._causes.append(answers.cause)
        self.places.append(answers.places)
        invalid = answers.replies[answers.cause > 0]
        self.reply = self.reply or next((text for text in invalid.ravel().tolist() if text.strip()), "")
        self._sizes.append(candidates.shape[1])
        return Labels(histories, candidates, choice, answers.scores)

    def _decide(self, answers: Answers, candidates: np.ndarray) -> np.ndarray:
        """Labels int32 [P] of answers: by the rule of "none" or by the model's own word."""
        choice = answers.choice
        if self._config.mode == "likelihood":
            alone = self._calibration["unconditional"][candidates]
            choice = none_rule.decide(answers, alone, self._calibration["threshold"])
        return np.maximum(choice, 0) if self._config.on_invalid == "none" else choice

    def manifest(self) -> dict[str, Any]:
        """Who labelled, how, and how much of it.

        ``counts.valid`` includes ``none``, ``counts.invalid`` prompts without a valid answer, whatever
        ``on_invalid`` makes of them; ``asked`` counts different prompts that this run put to the model,
        ``taken`` those whose answers were in the store before; ``tokens`` and ``seconds`` are what the asked
        ones cost, also where that was in an earlier process. With letters, ``answers_invalid`` counts single
        answers by cause, those that were asked again included, and ``order_bias`` is
        `ialp_jax.llm.prompting.orders.order_bias` among the prompts with the most usual number of candidates.
        ``cautions`` says why the labels may be junk, see `ialp_jax.labelling.quality`.
        """
        choices = np.concatenate([np.zeros(0, np.int32), *self._choices])
        causes = np.concatenate([np.zeros(0, np.uint8), *self._causes])
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
            **{k: v for k, v in self._calibration.items() if k not in ("unconditional", "files", "key")},
            "counts": {
                "prompts": len(choices),
                "valid": int(np.sum(causes == 0)),
                "none": int(np.sum(choices == 0)),
                "invalid": {name: int(np.sum(causes == i)) for i, name in enumerate(CAUSES) if i},
            },
            "asked": sum(len(batch.answers.choice) for batch in self._batches),
            "taken": self._store.taken if self._store else 0,
            "tokens": sum(batch.tokens for batch in self._batches),
            "seconds": round(sum(batch.seconds for batch in self._batches), 3),
            "training": trained.get("training", {}),
        }
        return {**manifest, "cautions": quality.cautions(manifest)}

    def require_valid(self) -> None:
        """Raises InputError if there are answers so far and none of them is valid."""
        quality.require_valid(self.manifest(), self.reply, self._store_folder)

    def _mode_facts(self) -> dict[str, Any]:
        """What only some modes have to tell."""
        if self._config.mode == "likelihood":
            return {"none_rule": self._config.none_rule}
        usual = max(self._sizes, key=self._sizes.count, default=1)
        same = [p.ravel() for p, size in zip(self.places, self._sizes, strict=True) if size == usual]
        told = np.concatenate([np.zeros(0, np.int8), *(p.ravel() for p in self.places)])
        return {
            "answers_invalid": {name: int(np.sum(told == -i)) for i, name in enumerate(CAUSES) if i},
            "order_bias": orders.order_bias(np.concatenate([np.zeros(0, np.int8), *same]), usual),
        }

    def _check(self, histories: np.ndarray, candidates: np.ndarray) -> None:
        if histories.ndim != 2 or candidates.ndim != 2 or len(histories) != len(candidates):
            raise ValueError(f"not [P, L] and [P, K]: {histories.shape} and {candidates.shape}")
        if candidates.shape[1] < 1:
            raise ValueError("no candidates")
        for name, array, least in (("histories", histories, 0), ("candidates", candidates, 1)):
            if array.size and not least <= array.min() <= array.max() < len(self._titles):
                raise ValueError(f"{name}: item ids outside {least}..{len(self._titles) - 1}")

    def model(self) -> str:
        """Fingerprint of the model's files; the embedded model is trained where it is not there yet."""
        if not self._config.model and not self._is_trained():
            self._worker(do="train", recipe=self._recipe())
        return model_files.fingerprint(self._model_folder)

    def _worker(self, **order: Any) -> WorkerProcess:
        """The process, started if need be, after one order that all others depend on."""
        if self._process is None:
            self._process = WorkerProcess(self._folder / "worker.log")
        common = {
            "config": dataclasses.asdict(self._config) | {"adapter": str(self._adapter or "")},
            "seed": self._seed,
            "data_folder": str(self._data_folder),
            "model_folder": str(self._model_folder),
            "shape": self._shape,
        }
        self._loaded = self._process.ask({**common, **order})[0]
        return self._process

    def _open(self) -> None:
        """Trains and calibrates what is not there yet, then opens the store."""
        config = self._config
        self._fingerprint = self._adapted(self.model())
        facts = self._facts()
        rule = [config.none_rule, config.none_quantile, config.embedded.holdout, self._seed, self._data_files]
        # The shape too: the longest prompts to come are tried.
        self._calibrate(store.fingerprint([facts, self._titles, rule, self._shape]))
        # What "auto" became; and a chat template may tell the date.
        names = ("device", "dtype", "plain", "wrapper_sha256")
        found = {name: self._calibration[name] for name in names if name in self._calibration}
        found["device"] = found["device"].partition(":")[0]
        if caution := quality.thinking({**self._calibration, **config.asking()}):
            self.notice(caution)
            found["thinking"] = chat.OPEN  # how answers are read depends on it
        name = config.model or "embedded"
        self._context = shards.describe(self._store_folder, {**facts, **found}, model=name)
        self._store = LabelStore(
            self._store_folder,
            self._folder / label_files.PLANS,
            self._context,
            self._titles,
            self._template,
            config.shard_size,
        )

    def _facts(self) -> dict[str, Any]:
        """The settings that fix an answer beside its prompt.

        The fingerprint is of the files of the model and its adapter, so it stands for the revision too.
        """
        knobs = ("pad_token", "dtype", "device", "batch_size", "engine")
        acting = model_files.acting(self._model_folder, self._config.mode)
        return {
            **({"acting": acting} if acting else {}),
            "fingerprint": self._fingerprint,
            "template": dataclasses.asdict(self._template),
            **self._config.asking(),
            **{name: getattr(self._config, name) for name in knobs},
        }

    def _adapted(self, base: str) -> str:
        """Fingerprint of the model with its adapter. Raises InputError where the two do not fit."""
        if self._config.tune.steps:
            self._adapter = self._folder.parent / adapter_files.FOLDER
            if store.read_manifest(self._adapter) is None:
                raise InputError(f"{self._adapter}: missing or not finished; run --stage=tune first")
        if not self._adapter:
            return base
        adapter_files.check(self._adapter)
        adapter_files.check_base(self._adapter, self._config.model, base)
        return store.fingerprint([base, adapter_files.fingerprint(self._adapter), self._config.adapter_use])

    def _recipe(self) -> str:
        """Digest of all that fixes the embedded model."""
        parts = [dataclasses.asdict(self._config.embedded), self._template.digest(), self._seed]
        return store.fingerprint([parts, self._data_files])

    def _is_trained(self) -> bool:
        """Whether the embedded model is there, unaltered and of the configured recipe."""
        manifest = _intact(self._model_folder, "the model is trained again")
        return manifest.get("recipe") == self._recipe()

    def _calibrate(self, key: str) -> None:
        """Reads the calibration of this key; has it made if it is missing.

        Each shape of prompts has its calibration: those of the audit and of the label stage differ.
        """
        folder = self._folder / "calibration" / "{}x{}".format(*self._shape)
        manifest = _intact(folder, "the model is calibrated again")
        if manifest.get("key") != key:
            self._worker(do="load", calibrate=key, calibration_folder=str(folder))
            manifest = store.verify(folder)
        self._calibration = {**manifest, **store.read_arrays(folder / "arrays.npz")}

    def _compute(self, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[Batch]:
        """Has the worker score batches, each histories [n, L] and candidates [n, K]."""
        if self._process is None or self._loaded.get("did") != "load":
            kept = {name: self._calibration.get(name) for name in ("plain", "wrapper")}
            self._worker(do="load", calibrate=None, **kept)
        orders = [({"do": "score"}, {"histories": h, "candidates": c}) for h, c in parts]
        for header, arrays in self._process.ask_all(orders):
            yield Batch(Answers(**arrays), header["tokens"], header["seconds"])


def _intact(folder: Path, consequence: str) -> dict[str, Any]:
    """The manifest of a complete, unaltered folder; else an empty one, with a warning where it is altered."""
    try:
        return store.verify(folder) if store.read_manifest(folder) else {}
    except InputError as error:
        warnings.warn(f"{error}; {consequence}", stacklevel=5)
        return {}
