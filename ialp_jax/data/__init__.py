"""Data sets: raw files or a generator -> ``Dataset``. NumPy only, so that the LLM worker reads it too."""

from __future__ import annotations

import importlib

from ialp_jax.data.config import LOADERS, DataConfig, DemoConfig
from ialp_jax.types import Dataset

__all__ = ["DataConfig", "DemoConfig", "load"]


def load(config: DataConfig) -> Dataset:
    """Reads or generates the data set that ``config`` names.

    Raises:
      InputError: unknown name, impossible setting, missing or malformed file.
    """
    config.check()
    return importlib.import_module(LOADERS[config.name]).load(config)
