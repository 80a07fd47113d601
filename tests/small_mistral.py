"""Fixtures: a small random Mistral on disk, made once for all tests of the LLM, and one thread for torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_world import dataset, recipe, sharpen


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Limits torch to one thread, because more threads slow small models down on shared cores."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Mistral and its tokenizer in the Hugging Face format. Tests must not change it."""
    return _model(tmp_path_factory.mktemp("mistral"))


@pytest.fixture(scope="session")
def wide_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like `model_folder`, with a context long enough for prompts with letters. Tests must not change it."""
    return _model(tmp_path_factory.mktemp("wide_mistral"), context=2048)


def _model(folder: Path, **changes: float) -> Path:
    torch = pytest.importorskip("torch")
    from ialp_jax.llm.model import embedded
    from ialp_jax.llm.prompting import templates

    torch.manual_seed(0)
    tokenizer = embedded.train_tokenizer(dataset().catalogue, templates.TEMPLATES["titles"], 320)
    model = embedded.build_model(recipe(layers=2, **changes), tokenizer)
    sharpen(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
