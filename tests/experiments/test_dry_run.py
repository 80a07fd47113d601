"""Tests the output of ``--dry_run``, and that it runs only the data stage."""

from __future__ import annotations

import pytest

from experiments import dry_run, stages
from experiments.configs import smoke
from experiments.run import Run
from ialp_jax import store
from ialp_jax.labelling import estimate_client

ESTIMATE = {
    "model": "mistralai/Mistral-7B-Instruct-v0.3",
    "mode": "choice",
    "device": "cuda",
    "dtype": "bfloat16",
    "if_ranks_agree": False,
    "parameters": 7_248_023_552,
    "layers": 32,
    "counted": "its tokenizer",
    "sampled": 256,
    "mean_tokens": 410.2,
    "most_tokens": 640,
    "parts": [
        {"name": "labels", "prompts": 12000, "tokens": 4_922_400, "flops": 6.9e16, "seconds": 230.0},
        {"name": "titles alone", "prompts": 57, "tokens": 22_000, "flops": 3.1e14, "seconds": 1.0},
    ],
    "weights_bytes": 14_496_047_104,
    "batch_bytes": 2_000_000_000,
    "free_bytes": 80_000_000_000,
    "refusal": "",
    "rate": 6e14,
    "utilisation": 0.5,
    "timed_prompts": 0,
    "workers": 1,
    "hours": 231.0 / 3600,
}


def test_the_estimate_is_printed_in_words():
    text = "\n".join(dry_run.lines(ESTIMATE, "transformers", 0, 32))
    for text_part in (
        "asks mistralai/Mistral-7B-Instruct-v0.3, mode choice, engine transformers, bfloat16 on cuda",
        "7.25 B parameters, 32 layers",
        "410 tokens each for a label, 640 at most, by its tokenizer over 256 prompts",
        "14.50 GB of weights + 2.00 GB for a batch of 32 = 16.50 GB; 80.00 GB are free: fits",
        "0.0642 hours at 50% of the rate of a matrix product, 600 TFLOP/s; this share is assumed",
    ):
        assert text_part in text
    rows = {line[2:33].strip(): line[33:].split() for line in text.splitlines() if line.startswith("  ")}
    assert rows["labels"] == ["12,000", "4,922,400", "6.90e+16", "0.064"]
    assert rows["total"] == ["12,057", "4,944,400", "6.93e+16", "0.064"]
    assert "reach less" not in text


@pytest.mark.parametrize(
    ("changes", "engine", "workers", "note"),
    [
        ({"refusal": "it needs 16.5 GB"}, "transformers", 0, "does not fit: it needs 16.5 GB"),
        ({}, "ray", 4, "; 4 workers share them"),
        ({"parameters": 40_000}, "transformers", 0, "0.04 M parameters"),
        ({"parameters": 40_000}, "transformers", 0, "models as small as this reach less"),
        ({"if_ranks_agree": True}, "transformers", 0, "bfloat16 (if its ranks agree with float32) on cuda"),
        (
            {"timed_prompts": 64},
            "transformers",
            0,
            "measured here on 64 of these prompts with random weights",
        ),
        ({"timed_prompts": 64, "workers": 2}, "transformers", 2, "random weights, 2 workers at a time"),
        ({"workers": 2}, "transformers", 2, "= 16.50 GB for each of 2 workers; 80.00 GB are free"),
    ],
)
def test_a_note_is_printed_only_if_it_applies(changes, engine, workers, note):
    assert note not in "\n".join(dry_run.lines(ESTIMATE, "transformers", 0, 32))
    assert note in "\n".join(dry_run.lines({**ESTIMATE, **changes}, engine, workers, 32))


def test_a_dry_run_runs_only_the_data_stage(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(estimate_client, "estimate", lambda *args: calls.append(args) or ESTIMATE)
    config = smoke.get_config()
    dry_run.dry_run_labels(Run.open(tmp_path / "run", config, overwrite=False))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.json", "data"}
    (llm, data, _, seed, demands, shape) = calls[0]
    assert llm is config.llm
    assert data == tmp_path / "run" / "data"
    assert (seed, shape) == (0, (config.simulator.history_length, 5))
    (labels, *audit) = demands
    assert (labels.name, labels.count) == ("labels, 2 rounds of 60", 2 * 3 * 20)
    assert {demand.name for demand in audit} == {"audit"}
    assert "nothing is labelled" in capsys.readouterr().out


def test_with_labels_from_a_rule_only_the_audit_is_counted(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(estimate_client, "estimate", lambda *args: calls.append(args[4]) or ESTIMATE)
    config = smoke.get_config()
    config.labelling.source = "popularity"
    dry_run.dry_run_labels(Run.open(tmp_path / "audit", config, overwrite=False))
    assert {demand.name for demand in calls[0]} == {"audit"}
    config.audit.enabled, config.llm.lora.steps = False, 5
    dry_run.dry_run_labels(Run.open(tmp_path / "none", config, overwrite=False))
    assert len(calls) == 1
    assert "no prompt is put to an LLM" in capsys.readouterr().out


def test_the_questions_of_a_calibration_are_counted_if_the_llm_answers_them(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(estimate_client, "estimate", lambda *args: calls.append(args[4]) or ESTIMATE)
    config = smoke.get_config()
    config.audit.enabled, config.labelling.calibration = False, "logistic"
    config.labelling.calibration_questions = 30
    for source in ("llm+log_model", "log_model"):
        config.labelling.source = source
        dry_run.dry_run_labels(Run.open(tmp_path / source, config, overwrite=False))
    counts = [[(demand.name, demand.count) for demand in demands] for demands in calls]
    assert counts == [[("labels, 2 rounds of 60", 120), ("calibration of likes", 60)]]


@pytest.mark.slow
def test_the_estimate_equals_the_prompts_of_a_run(tmp_path, monkeypatch):
    """Compares the estimate with the manifests of a run with the same settings."""
    pytest.importorskip("torch")
    config, estimates = smoke.get_config(), []
    config.labelling.sessions, config.labelling.steps = 4, 2
    config.audit.users, config.audit.negatives = 6, 30  # 31 candidates: two prompts
    config.llm.threads = 1
    run = Run.open(tmp_path / "run", config, overwrite=False)
    estimate = estimate_client.estimate
    monkeypatch.setattr(
        estimate_client, "estimate", lambda *args: estimates.append(estimate(*args)) or estimates[0]
    )
    dry_run.dry_run_labels(run)
    parts = {part["name"]: part for part in estimates[0]["parts"]}
    stages.run_stages(run, ["simulate", "label", "audit"])
    labels, audit = (store.read_manifest(run.folder / name) for name in ("labels", "audit"))
    assert parts["labels, 2 rounds of 8"]["prompts"] == labels["counts"]["prompts"] == 16
    assert parts["audit"]["prompts"] == audit["counts"]["prompts"] == 2 * 2 * 6
    manifests = (labels, audit)  # their prompts have different shapes
    assert parts["threshold of none"]["prompts"] == sum(one["calibration_prompts"] for one in manifests)
    rows = config.llm.embedded.steps * config.llm.embedded.batch_size
    assert parts["training of the embedded model"]["prompts"] == rows
    for name, manifest in (("labels, 2 rounds of 8", labels), ("audit", audit)):
        each = parts[name]["tokens"] / parts[name]["prompts"]
        assert each == pytest.approx(manifest["tokens"] / manifest["asked"], rel=0.25), name
    expected = {"labels, 2 rounds of 8", "audit", "threshold of none", "training of the embedded model"}
    assert set(parts) - expected == {"check of the masks", "titles alone"}
    assert estimates[0]["timed_prompts"] > 0
    assert all(part["seconds"] > 0 for part in parts.values())
