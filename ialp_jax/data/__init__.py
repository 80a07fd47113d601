"""Data sets: makes a ``Dataset`` from raw files or a generator.

This package needs only NumPy, because the LLM worker imports it too. `load` calls one of these loaders:

- ``lfm.py``, ``coat.py``, ``movielens.py``, ``industry.py`` (with ``amazon.py``, ``unisrec.py``): published
  sets. ``locate.py`` finds their files, ``download.py`` fetches them, ``tables.py`` reads lines of text
  files.
- ``tabular.py``: your own tables. ``sources.py`` opens CSV, CSV.gz, Parquet (``parquet.py``) and folders of
  part files, ``columns.py`` finds the columns, ``cells.py`` converts the cells.
- ``demo.py`` (with ``demo_words.py``): a generated world whose true user model is known.

``assemble.py`` then drops rows, items and users, and renumbers the rest. ``titles.py`` makes titles printable
and different from each other. ``splits.py`` assigns users to splits and builds histories. ``files.py`` saves
and loads a ``Dataset``, and ``invariants.py`` checks a loaded one.

``README.md`` in this folder explains how to use your own data.
"""

from __future__ import annotations

import importlib

from ialp_jax.data.config import LOADERS, DataConfig, DemoConfig
from ialp_jax.types import Dataset

__all__ = ["DataConfig", "DemoConfig", "load"]


def load(config: DataConfig) -> Dataset:
    """Reads or generates the data set that ``config`` names.

    Raises:
      InputError: the name is unknown, a setting is not valid, or a file is missing or malformed.
    """
    config.check()
    return importlib.import_module(LOADERS[config.name]).load(config)
