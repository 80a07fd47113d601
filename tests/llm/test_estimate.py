"""Compares the figures of the dry run with hand computations, and with measurements by torch."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_world import dataset, recipe, save
from small_world import prompts as draw

torch = pytest.importorskip("torch")

import mistral_layout  # noqa: E402

from ialp_jax.errors import InputError  # noqa: E402
from ialp_jax.labelling import estimate_client, worker_process  # noqa: E402
from ialp_jax.llm.config import LLMConfig, LoraConfig  # noqa: E402
from ialp_jax.llm.model import loading, memory, speed  # noqa: E402
from ialp_jax.llm.model.scorer import Scorer  # noqa: E402
from ialp_jax.llm.modes import none_rule  # noqa: E402
from ialp_jax.llm.prompting import lengths, templates  # noqa: E402
from ialp_jax.llm.worker import estimate, precision, trial  # noqa: E402

SIZES = memory.Sizes(
    parameters=1000,
    body=600,
    head=200,
    layers=3,
    attention=16,
    key_value=8,
    hidden=8,
    intermediate=24,
    vocabulary=25,
    context=64,
)


@pytest.fixture
def quick(monkeypatch):
    """Without measurements: half of 1 TFLOP/s."""
    monkeypatch.setattr(speed, "matmul_rate", lambda device, dtype: 1e12)
    monkeypatch.setattr(trial, "measure", lambda *args: trial.Speeds(5e11))


@pytest.fixture(scope="module")
def true_size(tmp_path_factory):
    """Mistral-7B-Instruct without its weights."""
    folder = tmp_path_factory.mktemp("Mistral-7B-Instruct-v0.3")
    mistral_layout.write_tokenizer(folder)
    mistral_layout.write_json(folder / "config.json", mistral_layout.config(mistral_layout.TRUE_SIZES))
    return folder


def settings(folder="", **changes):
    fixed_settings = {
        "model": str(folder),
        "pad_token": "</s>",
        "dtype": "bfloat16",
        "threads": 1,
        "device": "cpu",
    }
    return LLMConfig(**fixed_settings | changes) if folder else LLMConfig(embedded=recipe(), **changes)


def costs_of(folder=None, count=12000, shape=(10, 20), more=(), **changes):
    demands = [lengths.Demand("labels", count, lengths.sample_of(dataset(), shape, 0)), *more]
    return estimate.estimate(folder, dataset(), settings(folder or "", **changes), demands, shape, 0)


def by_name(costs):
    return {part["name"]: part for part in costs["parts"]}


def test_operations_by_hand():
    assert memory.forward_flops(SIZES, 10, 0, 0) == 2 * 600 * 10
    assert memory.forward_flops(SIZES, 0, 100, 0) == 4 * 3 * 16 * 100
    assert memory.forward_flops(SIZES, 0, 0, 7) == 2 * 200 * 7


def test_operations_equal_the_count_of_torch(model_folder):
    """Compares with torch's counter on a forward pass of the toy model. Both count only matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    model = loading.load_model(model_folder, "cpu", "float32")
    with (
        FlopCounterMode(display=False) as counter,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        model(input_ids=torch.ones(1, 40, dtype=torch.long))
    ours = memory.forward_flops(memory.read_sizes(model_folder), 40, 40**2, 40)
    assert ours == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_the_real_mistral_needs_only_configuration_and_tokenizer(true_size, quick):
    costs = costs_of(true_size)
    assert (costs["parameters"], costs["layers"]) == (7_248_023_552, 32)
    assert costs["weights_bytes"] == 2 * costs["parameters"]
    assert costs["counted"] == "its tokenizer"
    check, threshold, alone, labels = costs["parts"]
    assert check["prompts"] == 4
    assert labels["prompts"] == 12000
    assert labels["tokens"] == pytest.approx(12000 * costs["mean_tokens"])
    assert 60 < costs["mean_tokens"] < costs["most_tokens"] < 400
    low = 2 * (costs["parameters"] - 2 * 32768 * 4096) * labels["tokens"]
    assert low < labels["flops"] < 1.15 * 2 * costs["parameters"] * labels["tokens"]
    assert threshold["prompts"] == none_rule.NUM_PROMPTS
    assert threshold["tokens"] < labels["tokens"] / 12
    assert alone["prompts"] == 1  # a row holds up to 50 titles, and there are 48
    total = sum(part["flops"] for part in costs["parts"])
    assert costs["hours"] == pytest.approx(total / (1e12 * estimate.UTILISATION) / 3600)


def test_without_a_tokenizer_the_tokens_are_marked_as_a_guess(true_size, quick, tmp_path):
    (tmp_path / "config.json").write_text((true_size / "config.json").read_text())
    for mode in ("likelihood", "choice"):
        costs = costs_of(tmp_path, mode=mode)
        assert costs["counted"] == f"a guess of {lengths.CHARACTERS_PER_TOKEN} characters each"
        assert costs["mean_tokens"] == pytest.approx(costs_of(true_size, mode=mode)["mean_tokens"], rel=0.5)


def test_the_mode_determines_the_parts(true_size, quick):
    likelihood, choice, generate = (costs_of(true_size, mode=m) for m in ("likelihood", "choice", "generate"))
    assert list(by_name(choice)) == ["check of the masks", "labels"]
    assert list(by_name(generate)) == ["check of the masks", "labels", "asked again, at most"]
    assert by_name(generate)["asked again, at most"]["prompts"] == 12000
    thrice = costs_of(true_size, mode="generate", retries=3, permutations=2)
    assert by_name(thrice)["asked again, at most"]["prompts"] == 3 * 2 * 12000
    assert list(by_name(costs_of(true_size, mode="generate", retries=0))) == list(by_name(choice))
    assert list(by_name(costs_of(true_size, mode="choice", engine="vllm"))) == ["labels"]
    choice, generate = (by_name(costs)["labels"] | costs for costs in (choice, generate))
    assert generate["tokens"] - choice["tokens"] == pytest.approx(8 * 12000, rel=0.1)
    twice = costs_of(true_size, mode="choice", permutations=2)
    assert by_name(twice)["labels"]["tokens"] == pytest.approx(2 * choice["tokens"])
    assert choice["mean_tokens"] > likelihood["mean_tokens"] / 2


def test_measured_lengths_equal_the_tokens_of_labelling(model_folder):
    prompts = lengths.sample_prompts(48, (5, 4))
    for mode in ("likelihood", "choice"):
        config = settings(model_folder, mode=mode, pad_token="", dtype="float32", template="titles")
        template = templates.TEMPLATES["titles"]
        scorer = Scorer(model_folder, dataset().catalogue.titles, template, config)
        tokenizer = loading.load_tokenizer(model_folder, "")
        try:
            spent = scorer.answer(prompts)[1]
        except InputError:  # the toy's context of 96 is too short for this mode
            continue
        ruler = lengths.Ruler(tokenizer, model_folder, dataset().catalogue.titles, template, config, 96)
        assert ruler.measure(prompts).prompt.sum() == spent


def test_the_embedded_model_is_trained_first(quick):
    costs = costs_of(count=100, shape=(3, 4))
    training = costs["parts"][0]
    assert training["name"] == "training of the embedded model"
    assert (training["prompts"], training["tokens"]) == (3 * 4, 3 * 4 * 96)
    assert costs["refusal"] == ""
    assert costs["parameters"] < 1e6


def test_lora_costs_two_passes_or_three_with_gradient_checkpointing(true_size, quick):
    lora = LoraConfig(steps=10, batch_size=8)
    plain = [by_name(costs_of(true_size, mode="choice", count=80))["labels"]]
    parts_by_name = {p["name"]: p for p in costs_of(true_size, mode="choice", count=80, lora=lora)["parts"]}
    names = ["fine-tuning by LoRA", "held-out prompts of LoRA", "check of the masks", "labels"]
    assert list(parts_by_name) == names
    held_out = parts_by_name["held-out prompts of LoRA"]
    assert held_out["prompts"] == 4 * lengths.NUM_HELD_OUT
    assert held_out["flops"] == pytest.approx(plain[0]["flops"] / 80 * 4 * lengths.NUM_HELD_OUT)
    assert parts_by_name["fine-tuning by LoRA"]["prompts"] == 80
    assert parts_by_name["fine-tuning by LoRA"]["flops"] == pytest.approx(2 * plain[0]["flops"])
    lora.gradient_checkpointing = True
    again = costs_of(true_size, mode="choice", count=80, lora=lora)["parts"][0]
    assert again["flops"] == pytest.approx(3 * plain[0]["flops"])


def test_demands_with_one_name_are_one_part_and_the_largest_determines_the_memory(true_size, quick):
    wide = lengths.sample_of(dataset(), (10, 40), 0)
    more = [
        lengths.Demand("audit", 30, wide),
        lengths.Demand("audit", 12, lengths.sample_of(dataset(), (10, 4), 0)),
    ]
    alone, both = costs_of(true_size), costs_of(true_size, more=more)
    audit = by_name(both)["audit"]
    assert audit["prompts"] == 42
    tokens = [by_name(costs_of(true_size, more=[one]))["audit"]["tokens"] for one in more]
    assert audit["tokens"] == sum(tokens)
    assert both["batch_bytes"] > alone["batch_bytes"]
    assert by_name(both)["labels"] == by_name(alone)["labels"]
    for name in ("check of the masks", "threshold of none", "titles alone"):  # once for each stage
        assert by_name(both)[name]["prompts"] == 2 * by_name(alone)[name]["prompts"]


def test_without_demands_nothing_is_calibrated(true_size, quick):
    costs = estimate.estimate(true_size, dataset(), settings(true_size), [], (10, 20), 0)
    assert costs["parts"] == []


def test_a_model_that_does_not_fit_is_reported_without_an_error(true_size, quick, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 8_000_000_000)
    assert "8.0 GB of memory are free" in costs_of(true_size)["refusal"]


def test_a_faster_device_needs_less_time(true_size, monkeypatch):
    hours = []
    for rate in (1e12, 4e12):
        monkeypatch.setattr(trial, "measure", lambda *args, rate=rate: trial.Speeds(rate / 2))
        monkeypatch.setattr(speed, "matmul_rate", lambda device, dtype, rate=rate: rate)
        hours.append(costs_of(true_size)["hours"])
    assert hours[0] == pytest.approx(4 * hours[1])


def test_the_rate_is_measured(monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.05)
    assert 1e8 < speed.matmul_rate("cpu", "float32") < 1e14


@pytest.mark.parametrize(("ratio", "dtype"), [(1.19, "float32"), (1.21, "bfloat16")])
def test_an_open_dtype_is_estimated_by_its_speed(model_folder, quick, monkeypatch, ratio, dtype):
    monkeypatch.setattr(precision, "SMALLEST", 0)
    monkeypatch.setattr(precision, "speed_ratio", lambda sizes: ratio)
    costs = costs_of(model_folder, shape=(5, 4), dtype="auto", pad_token="")
    assert (costs["dtype"], costs["if_ranks_agree"]) == (dtype, dtype == "bfloat16")
    fixed = costs_of(model_folder, shape=(5, 4), dtype="float32", pad_token="")
    assert (fixed["dtype"], fixed["if_ranks_agree"]) == ("float32", False)
    assert costs_of(shape=(3, 4), dtype="auto")["dtype"] == "float32"  # the embedded model


def test_histories_are_only_of_offline_users():
    histories, candidates, _ = lengths.sample_of(dataset(), (10, 4), 0)
    offline_histories = [dataset().histories.of(user).tolist() for user in dataset().users(0)]
    assert all(row[row > 0].tolist() in offline_histories for row in histories)
    assert candidates.min() >= 1
    assert len(np.unique(histories, axis=0)) == len(offline_histories)


@pytest.fixture
def without_weights(tmp_path_factory):
    """A folder with the configuration and the tokenizer of a toy model."""
    folder = tmp_path_factory.mktemp("empty")
    sizes = {**mistral_layout.TOY_SIZES, "vocab_size": mistral_layout.write_tokenizer(folder)}
    mistral_layout.write_json(folder / "config.json", mistral_layout.config(sizes))
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_estimate_without_weights(without_weights, tmp_path, monkeypatch, workers):
    """Runs the worker processes. The model folder has no weights, so no worker can load a model."""
    data, log = save(tmp_path), tmp_path / "dry_run.log"
    demands = [lengths.Demand("some", 100, draw(8)), lengths.Demand("others", 7, draw(3, candidates=9))]
    config = settings(without_weights, workers=workers)
    costs = estimate_client.estimate(config, data, log, 0, demands, (5, 4))
    assert [by_name(costs)[name]["prompts"] for name in ("some", "others")] == [100, 7]
    assert costs["workers"] == max(1, workers)
    assert costs["timed_prompts"] == 11  # all of both samples
    assert costs["rate"] > 1e8
    assert 0 < costs["utilisation"] < 2
    assert all(part["seconds"] > 0 for part in costs["parts"])
    assert json.dumps(costs)
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
    monkeypatch.setattr(
        worker_process.subprocess, "Popen", lambda *a, **k: pytest.fail("a worker for a bad model")
    )
    with pytest.raises(InputError, match="no such folder"):
        estimate_client.estimate(settings("/no/such/folder"), data, log, 0, demands, (5, 4))


def test_workers_share_labels_but_no_calibration():
    one, other = (
        {"parts": [{"seconds": 10.0, "shared": False}, {"seconds": shared, "shared": True}], "mode": "choice"}
        for shared in (30.0, 60.0)
    )
    costs = estimate_client.together([one, other])
    assert [part["seconds"] for part in costs["parts"]] == [10.0, 20.0]
    assert costs["hours"] == 30.0 / 3600
    assert (costs["workers"], costs["mode"]) == (2, "choice")
    assert estimate_client.together([one])["hours"] == 40.0 / 3600


def test_the_weights_of_a_hub_model_are_not_downloaded(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    from ialp_jax.llm import model_files

    demands = []
    monkeypatch.setattr(
        hub,
        "snapshot_download",
        lambda *a, allow_patterns, **k: demands.append(allow_patterns) or str(tmp_path),
    )
    model_files.resolve("some-one/some-model", "", weights=False)
    model_files.resolve("some-one/some-model", "")
    assert "*.safetensors" not in demands[0]
    assert {"*.json", "*.model"} <= set(demands[0])
    assert set(demands[1]) - set(demands[0]) == {"*.safetensors"}
