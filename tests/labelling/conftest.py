"""Fixtures: a small Mistral on disk, one thread for torch, fast compilation."""

from diagnostic_worlds import quick_compilation  # noqa: F401
from small_mistral import model_folder, one_thread, wide_folder  # noqa: F401
