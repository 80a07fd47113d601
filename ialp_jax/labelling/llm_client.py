"""Client of the LLM worker: checks data and model, starts the worker, and trains the embedded model."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from ialp_jax import store
from ialp_jax.claim import LABELS, STORE, claim
from ialp_jax.data.files import load_dataset
from ialp_jax.errors import InputError
from ialp_jax.labelling import label_files
from ialp_jax.labelling.worker_process import WorkerProcess
from ialp_jax.llm import adapter_files, model_files, require_packages
from ialp_jax.llm.config import LLMConfig
from ialp_jax.llm.prompting import templates


class LLMClient:
    """Manages a model and the worker process that runs it. Must be used as a context manager.

    The worker starts when the client sends the first order. So torch is not loaded if no order needs a model.
    """

    def __init__(self, config: LLMConfig, data_folder: Path, folder: Path, seed: int) -> None:
        """Stores the settings. Files are read only when the context is entered.

        Args:
          config: settings of the LLM; the constructor checks them.
          data_folder: folder of the data stage.
          folder: folder of the labels, for ``model/`` (the embedded model) and ``worker.log``.
          seed: seed for training the embedded model, for the calibration and for LoRA.
        """
        config.check()
        self._config, self._seed = config, seed
        self._data_folder, self._folder = Path(data_folder), Path(folder)
        self._template = templates.choose(config.template, embedded=not config.model)
        self._process: WorkerProcess | None = None
        self._log = self._folder / "worker.log"
        self._adapter = Path(config.adapter).expanduser() if config.adapter else None
        self._shape = (0, 0)  # L and K of the next prompts

    def __enter__(self) -> Self:
        """Reads the data and finds the model. Raises InputError if a package or a file is missing."""
        require_packages("the LLM")
        claim(self._folder, LABELS)
        self._data_files = store.verify(self._data_folder)["files"]
        dataset = load_dataset(self._data_folder)
        self._titles = templates.shown(dataset, self._template).catalogue.titles
        self._catalogue = label_files.catalogue_facts(dataset)
        if self._config.store:  # reports a wrong folder now, not after hours of training and labelling
            claim(Path(self._config.store).expanduser(), STORE, "--config.llm.store")
        self._model_folder = self._folder / "model"
        if self._config.model:
            self._model_folder = model_files.resolve(self._config.model, self._config.revision)
            model_files.check(self._model_folder)  # reports a missing file now
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

    def model_fingerprint(self) -> str:
        """Returns the fingerprint of the model's files. Trains the embedded model first if it is missing."""
        if not self._config.model and not self._is_trained():
            self._order("train", recipe=self._recipe())
        return model_files.fingerprint(self._model_folder)

    def _order(
        self, task: str, changes: Mapping[str, Any] = MappingProxyType({}), **details: Any
    ) -> dict[str, Any]:
        """Sends one order of `_full_order` to the worker. Returns the reply's header.

        Raises:
          InputError: the worker reports an error, for example that torch is missing or memory ran out.
        """
        if self._process is None:
            self._process = WorkerProcess(self._log)
        return self._process.ask(self._full_order(task, changes, **details))[0]

    def _full_order(
        self, task: str, changes: Mapping[str, Any] = MappingProxyType({}), **details: Any
    ) -> dict[str, Any]:
        """Returns an order with the settings that all tasks need; ``changes`` replaces some settings."""
        config = dataclasses.asdict(self._config) | {"adapter": str(self._adapter or "")}
        return {
            "do": task,
            "config": {**config, **changes},
            "seed": self._seed,
            "data_folder": str(self._data_folder),
            "model_folder": str(self._model_folder),
            "shape": self._shape,
            **details,
        }

    def _recipe(self) -> str:
        """Returns the fingerprint of all settings and data that determine the embedded model."""
        parts = [dataclasses.asdict(self._config.embedded), self._template.digest(), self._seed]
        return store.fingerprint([parts, self._data_files])

    def _is_trained(self) -> bool:
        """Whether the embedded model exists, is unaltered and was trained with the configured recipe."""
        manifest = intact_manifest(self._model_folder, "the model is trained again")
        return manifest.get("recipe") == self._recipe()


def intact_manifest(folder: Path, consequence: str) -> dict[str, Any]:
    """Returns the manifest of an intact folder, otherwise an empty manifest. Warns if a file changed."""
    try:
        return store.verify(folder) if store.read_manifest(folder) else {}
    except InputError as error:
        warnings.warn(f"{error}; {consequence}", stacklevel=5)
        return {}
