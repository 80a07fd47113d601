"""A small Mistral on disk and one thread for torch, for all tests of the LLM."""

from small_mistral import model_folder, one_thread, wide_folder  # noqa: F401
