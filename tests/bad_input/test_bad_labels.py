"""Tests useless labels, broken chat templates, and impossible settings of the LLM."""

from __future__ import annotations

import shutil

import pytest
from small_run import SETTINGS
from test_bad_models import reseal

from ialp_jax import store
from ialp_jax.data.files import load_dataset

START = ("--config=experiments/configs/smoke.py", "--stage=data", "--workdir=HERE/run")
LABEL = (
    *SETTINGS,
    "--config.labelling.source=llm",
    "--config.labelling.sessions=4",
    "--config.labelling.steps=2",
    "--config.llm.model=HERE/model",
    "--config.llm.threads=1",
    "--workdir=HERE/run",
    "--stage=label",
)
KEPT = "the answers are stored in HERE/run/labels/shards"
SILENT = "{{ bos_token }}"
BROKEN = "{{ raise_exception('not today') }}"
THINKING = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}[answer]<think>\n{% endif %}"
)
FLAGS = {
    "ray's address without ray": (
        "--config.llm.ray_address=local",
        "--config.llm.ray_address must be left at its default unless --config.llm.engine=ray",
    ),
    "workers of vllm": (
        "--config.llm.workers=2 --config.llm.engine=vllm",
        "--config.llm.workers must be 0 unless --config.llm.engine=ray, or transformers with "
        "--config.llm.device=cpu",
    ),
    "no such engine": (
        "--config.llm.engine=rya",
        "--config.llm.engine='rya' must be one of transformers, ray, vllm",
    ),
    "maybe a chat": ("--config.llm.chat=yes", "--config.llm.chat='yes' must be one of auto, on, off"),
    "a chat about titles": (
        "--config.llm.chat=on",
        "--config.llm.chat must be auto or off with likelihood, which uses no chat template",
    ),
    "orders of titles": (
        "--config.llm.permutations=3",
        "--config.llm.permutations must be 1 with likelihood, which ignores the order",
    ),
    "no words": ("--config.llm.max_new_tokens=0", "--config.llm.max_new_tokens=0 must be at least 1"),
    "less than no retry": ("--config.llm.retries=-1", "--config.llm.retries=-1 must be at least 0"),
    "invalid answers elsewhere": (
        "--config.llm.on_invalid=skip",
        "--config.llm.on_invalid='skip' must be one of drop, none",
    ),
    "a port of nothing": (
        "--coordinator=127.0.0.1:0",
        "--coordinator, --num_processes and --process_id must be given together or not at all",
    ),
}


@pytest.mark.parametrize("case", FLAGS)
def test_flags(refused, case):
    flags, message = FLAGS[case]
    refused(message, "main", *START, *flags.split())


MANIFESTS = {
    "counts of another kind": ({"counts": [1, 2]}, "counts is [1, 2]"),
    "counts of texts": ({"counts": {"invalid": {"empty": "x"}}}, "counts is {'invalid': {'empty': 'x'}}"),
    "bias of another kind": ({"order_bias": "high"}, "order_bias is 'high'"),
    "bias beyond 1": (
        {"order_bias": {"answers": 3, "shares": [7], "bias": 0, "by_chance": 0}},
        "order_bias is {...",
    ),
    "a wrapper of one part": ({"wrapper": ["x"]}, "wrapper is ['x']"),
    "no order": ({"mode": "choice", "permutations": 0}, "permutations is 0"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests(refused, run, case):
    changes, message = MANIFESTS[case]
    reseal(run, **changes)
    refused(
        f"HERE/run/labels/manifest.json: its {message}; the label stage did not write it",
        "inspect",
        "HERE/run",
    )


@pytest.fixture
def simulated(finished, tmp_path):
    """A run whose data and simulate stages are done."""
    for name in ("data", "simulator"):
        shutil.copytree(finished / name, tmp_path / "run" / name)
    shutil.copy(finished / store.MARKER, tmp_path / "run")
    return tmp_path / "run"


def model(folder, data, template="", broken=False):
    """Makes a random Mistral model. If ``broken``, its output weights are NaN."""
    torch = pytest.importorskip("torch")
    from ialp_jax.llm.config import EmbeddedConfig
    from ialp_jax.llm.model import embedded
    from ialp_jax.llm.prompting import templates

    torch.manual_seed(0)
    recipe = EmbeddedConfig(hidden=32, layers=1, heads=2, vocabulary=320, context=1024)
    tokenizer = embedded.train_tokenizer(load_dataset(data).catalogue, templates.TEMPLATES["titles"], 320)
    made = embedded.build_model(recipe, tokenizer)
    if broken:
        made.get_output_embeddings().weight.data.fill_(float("nan"))
    if template:
        tokenizer.chat_template = template
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


LABELS = {
    "thinking without end": (
        {"template": THINKING},
        ("--config.llm.mode=generate", "--config.llm.on_invalid=none"),
        "all 8 answers of HERE/model are invalid (thinking 8)...; raise "
        f"--config.llm.max_new_tokens, so that the model ends its thinking; {KEPT}",
    ),
    "scores that are no numbers": (
        {"broken": True},
        ("--config.llm.mode=choice",),
        f"all 8 answers of HERE/model are invalid (non_finite 8); use --config.llm.dtype=float32; {KEPT}",
    ),
    "a template that breaks": (
        {"template": BROKEN},
        ("--config.llm.mode=choice",),
        "HERE/model: its chat template cannot be used (not today); use --config.llm.chat=off",
    ),
    "a template without the prompt": (
        {"template": SILENT},
        ("--config.llm.mode=choice", "--dry_run"),
        "HERE/model: its chat template alters the user's words; use --config.llm.chat=off",
    ),
    "no template though wanted": (
        {},
        ("--config.llm.mode=generate", "--config.llm.chat=on"),
        "--config.llm.chat=on: the tokenizer of HERE/model has no chat template; use auto or off",
    ),
    "more candidates than letters": (
        {},
        ("--config.llm.mode=choice", "--config.labelling.candidates=26"),
        "--config.labelling.candidates=26: with --config.llm.mode=choice letters name at most 25 candidates "
        "and none",
    ),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels(refused, simulated, tmp_path, case):
    made, flags, message = LABELS[case]
    model(tmp_path / "model", simulated / "data", **made)
    refused(message, "main", *LABEL, *flags)
    assert not (simulated / "labels/manifest.json").exists()
    shards = list((simulated / "labels").rglob("shards/*/*.npz"))
    assert bool(shards) == (KEPT in message)


@pytest.mark.parametrize(
    ("count", "message"),
    [(50, "a session has seen so many of the items ..."), (99, "the world has 53 items; use fewer")],
)
def test_more_candidates_than_items_end_with_one_line(refused, simulated, count, message):
    """The world has 53 items, and a history holds up to 10 of them."""
    flags = ("--config.labelling.source=popularity", f"--config.labelling.candidates={count}")
    refused(f"--config.labelling.candidates={count}: {message}", "main", *LABEL, *flags)


def test_dry_run_without_a_model(refused, simulated):
    refused("--config.llm.model=HERE/model: no such folder", "main", *LABEL, "--dry_run")
