"""Tests the flags, the table and the processes of the benchmark, and one tiny case of each kind."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import benchmark
from experiments.benchmarks import rows, suites
from experiments.benchmarks.rows import Row, table
from experiments.benchmarks.suites import Case

PROMISED = (
    "random_n3000_b2048",
    "random_n1000000_b2048",
    "actor_n3000_b1024",
    "actor_cached_n3000_b1024",
    "actor_n1000000_b64",
)


@pytest.fixture(autouse=True)
def fresh_flags():
    yield
    benchmark.FLAGS.unparse_flags()
    for name in ("suite", "out", "full"):
        benchmark.FLAGS[name].unparse()


def error_line(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        benchmark.parse(["benchmark", *arguments])
    output = capsys.readouterr().err
    assert ended.value.code == 2
    assert output.startswith("error: ")
    assert output.count("\n") == 1
    return output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--suite=nonsense", "--out=x.csv"), "--suite"),
        (("--out=x.csv",), "--suite"),
        (("--suite=simulator",), "--out"),
        (("--suite=simulator", "--out=."), "folder"),
        (("--suite=simulator", "--out=/proc/none/x.csv"), "/proc/none/x.csv"),
        (("--suite=simulator", "--out=x.csv", "more"), "'more'"),
        (("--suite=simulator", "--out=x.csv", "--config=a.py"), "config"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, arguments, named):
    assert named in error_line(capsys, *arguments)


@pytest.mark.parametrize("full", [False, True])
def test_help_lists_flags_and_cases_without_large_libraries(full):
    script = f"import sys; from experiments import benchmark; benchmark.parse(['x', '--help{'full' * full}'])"
    # -X importtime writes the name of every imported module to stderr
    command = [sys.executable, "-X", "importtime", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "absl" in imported
    assert not imported & {"jax", "torch"}
    lines = done.stdout.splitlines()
    words = set(done.stdout.replace(",", " ").replace("[", " ").replace("]", " ").split())
    assert max(map(len, lines)) <= 110
    assert full or len(lines) <= 45
    for suite, cases in suites.SUITES.items():
        assert sum(line.startswith(f"  {suite}: ") for line in lines) == 1
        assert {case.name for case in cases(full)} <= words
    for name in ("--suite", "--out", "--cases", "--full"):
        assert any(line.startswith(f"  {name}") for line in lines)
    assert any(line.startswith("  --flagfile") for line in lines) == full


def test_the_documented_simulator_cases_are_in_the_suite_with_and_without_full():
    for full in (False, True):
        names = [case.name for case in suites.simulator(full)]
        assert set(PROMISED) <= set(names)
        assert len(names) == len(set(names))
    grid = {f"random_n{items}_b{users}" for items in (300, 3000, 30000, 1000000) for users in suites.USERS}
    assert grid <= set(names)


@pytest.mark.parametrize("full", [False, True])
def test_the_label_cases_are_in_the_suite_with_and_without_full(full):
    names = [case.name for case in suites.labels(full)]
    assert {"choice_small", "choice_small_batched", "likelihood_small", "smollm_likelihood"} <= set(names)
    assert len(names) == len(set(names))


TINY_LABELS = """
import json, sys, torch
torch.set_num_threads(1)
from experiments.benchmarks import labels, published_shapes
from ialp_jax.llm.config import EmbeddedConfig
labels.SMALL = EmbeddedConfig(hidden=16, layers=1, heads=2, vocabulary=900, context=1024)
labels.speed.SECONDS = 0.05
published_shapes.precision.SMALLEST = 0
rows = [
    *labels.choice("a", "generate_one", 4, 2),
    *labels.choice("b", "generate_batch", 4, 2),
    *labels.choice("c", "simple", 4, 4),
    *labels.likelihood("d", 4, 2),
    *labels.generate("e", 4),
    *labels.dtypes("f", 4),
    *published_shapes.smollm_likelihood("g", 3, "tiny", 1),
    *published_shapes.gpu_labels("h", "tiny", 2, 1),
]
print(json.dumps([rows, "jax" in sys.modules]))
"""


@pytest.mark.slow
def test_the_label_cases_run_without_jax(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("IALP_DATA", "/no/such/folder")  # the generated world
    process = subprocess.run([sys.executable, "-c", TINY_LABELS], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    measured, loaded_jax = json.loads(process.stdout.splitlines()[-1])
    assert not loaded_jax
    table = {(row[0], row[1]): Row(*row) for row in measured}
    for case, baseline in {"a": "generate_one", "c": "simple", "d": "full_sequences"}.items():
        speed = table[case, "prompts_per_second"]
        assert speed.baseline == baseline
        assert math.isclose(speed.ratio, speed.value / table[case, f"{baseline}_prompts_per_second"].value)
    assert 0 < table["c", "share_of_matmul_rate"].value < 10
    assert table["f", "choice_bfloat16"].ratio > 0
    smol = table["g", "prompts_per_second"]
    assert smol.baseline == "float32_one_thread"
    assert math.isclose(smol.ratio, smol.value / table["g", "float32_one_thread_prompts_per_second"].value)
    assert math.isclose(table["g", "minutes_for_32000"].value, 32_000 / smol.value / 60)
    assert table["g", "workers"].value == len(os.sched_getaffinity(0))
    assert table["g", "bfloat16_speed"].value > 0
    assert table["h", "prompts_per_second"].value > 0
    assert table["h", "fast_method"].value == 1
    assert 0 < table["h", "share_of_matmul_rate"].value < 10


def test_the_simple_method_gives_the_same_letter_scores(monkeypatch):
    """The benchmark compares two methods. They do the same work, because their scores are equal."""
    torch = pytest.importorskip("torch")
    import numpy as np

    from experiments.benchmarks import labels
    from ialp_jax.llm.modes.choice import score_lines

    monkeypatch.setenv("IALP_DATA", "/no/such/folder")
    monkeypatch.setattr(labels, "SMALL", labels.EmbeddedConfig(16, 1, 2, 900, 1024))
    task, outputs = labels.prepare("choice", 6, "float32"), []
    assert {len(name) for name in task.scorer.asker.letters.names} == {1}
    scores, _ = score_lines(task.scorer.model, task.scorer.asker.letters, task.part(6), 4)
    real = torch.Tensor.log_softmax
    monkeypatch.setattr(
        torch.Tensor, "log_softmax", lambda self, dim: outputs.append(real(self, dim)) or outputs[-1]
    )
    labels.best_simple(task, 6, 4)()
    np.testing.assert_allclose(torch.cat(outputs).numpy(), scores, atol=1e-4)
    lengths = task.scorer.asker.letters.lengths(task.part(6))
    assert labels.operations(task.scorer.model, lengths) > 0


def test_the_parent_process_does_not_load_jax():
    code = "import sys, experiments.benchmark; print('jax' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"


def hold(name, mebibytes):
    memory = bytearray(mebibytes * 2**20)
    for byte in range(0, len(memory), 4096):
        memory[byte] = 1
    return [Row(name, "peak_memory", rows.peak_memory(), "MiB")]


def break_down(name):
    raise ValueError("out of luck")


def case(function, **settings):
    return Case("small", f"test_benchmark:{function}", settings)


@pytest.fixture
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.mark.usefixtures("importable")
def test_each_case_has_a_separate_process_and_peak_memory():
    ballast = bytearray(b"x") * (300 * 2**20)  # this memory must not count as memory of a case
    large, small = (rows.measure(case("hold", mebibytes=size))[0].value for size in (200, 1))
    assert 190 < large - small < 210
    assert small < 200 < len(ballast)


@pytest.mark.usefixtures("importable")
def test_a_failed_case_is_reported_and_the_other_rows_are_written(tmp_path, monkeypatch, capsys):
    cases = [case("break_down"), case("hold", mebibytes=1)]
    monkeypatch.setitem(benchmark.SUITES, "simulator", lambda full: cases)
    out = tmp_path / "deep" / "table.csv"
    assert benchmark.main(["benchmark", "--suite=simulator", f"--out={out}"]) == 1
    assert "small: its process ended with code 1: ValueError: out of luck" in capsys.readouterr().err
    lines = list(csv.DictReader(out.open()))
    assert [(line["suite"], line["metric"], line["ratio"]) for line in lines] == [
        ("simulator", "peak_memory", "")
    ]


def linger(name, seconds, file):
    """Starts a child that writes to a file if nobody stops it, and waits itself."""
    child = f"import time, pathlib; time.sleep({seconds}); pathlib.Path({file!r}).touch()"
    subprocess.run([sys.executable, "-c", child], check=True)
    return [Row(name, "never", 1.0, "")]


def count_lines(name, file):
    return [Row(name, "lines", len(Path(file).read_text().splitlines()), "")]


@pytest.mark.usefixtures("importable")
def test_a_case_over_its_limit_is_stopped_and_reported_and_rows_come_one_by_one(
    tmp_path, monkeypatch, capsys
):
    out, late = tmp_path / "table.csv", tmp_path / "late"
    slow = dataclasses.replace(case("linger", seconds=4, file=str(late)), most_seconds=1.5)
    cases = [case("count_lines", file=str(out)), slow, case("count_lines", file=str(out))]
    monkeypatch.setitem(benchmark.SUITES, "gpu", lambda full: cases)
    began = time.monotonic()
    assert benchmark.main(["benchmark", "--suite=gpu", f"--out={out}"]) == 1
    assert "small: stopped after its limit of 1.5 s" in capsys.readouterr().err
    lines = [int(line["value"]) for line in csv.DictReader(out.open())]
    assert lines == [1, 2]  # the head of the table; then also the row of the first case
    time.sleep(max(0.0, began + 5.5 - time.monotonic()))
    assert not late.exists()  # the child of the slow case was stopped, too


def test_the_gpu_suite_has_its_cases_in_order_and_fits_into_nine_minutes():
    cases = suites.gpu(False)
    assert [each.name for each in cases] == [
        "gpu_matmul",
        *("random_n3000_b2048", "random_n3000_b65536", "actor_n3000_b1024", "actor_n3000_b16384"),
        *("gpu_a2c_coat_b256", "gpu_a2c_coat_b20", "gpu_a2c_coat_b20_s10"),
        *("gpu_labels_135m_b32", "gpu_labels_135m_b512", "gpu_labels_7b_b32", "gpu_labels_7b_b512"),
        *("gpu_adapt_stage", "gpu_busy_b20"),
    ]
    assert suites.SUITE_SECONDS["gpu"] <= 9 * 60
    assert all(each.most_seconds is None for each in suites.start(False))
    assert [each.name for each in suites.start(True)] == ["start_smoke_cold", "start_smoke_warm"]


@pytest.mark.usefixtures("importable")
def test_a_suite_ends_in_time_and_measures_only_the_chosen_cases(tmp_path, monkeypatch, capsys):
    out = tmp_path / "table.csv"
    names = ("first", "slow", "late", "other")
    cases = [dataclasses.replace(case("count_lines", file=str(out)), name=name) for name in names]
    cases[1] = dataclasses.replace(case("linger", seconds=60, file=str(tmp_path / "never")), name="slow")
    monkeypatch.setitem(benchmark.SUITES, "gpu", lambda full: cases)
    monkeypatch.setitem(benchmark.SUITE_SECONDS, "gpu", 4.0)
    arguments = ["benchmark", "--suite=gpu", f"--out={out}"]
    assert benchmark.main([*arguments, "--cases=first,slow,late"]) == 1
    assert "late: not measured, because the time of the suite is over" in capsys.readouterr().err
    assert [line["case"] for line in csv.DictReader(out.open())] == ["first"]
    with pytest.raises(SystemExit):
        benchmark.main([*arguments, "--cases=first,sloth"])
    message = "error: --cases: 'sloth' is no case of this suite; cases: first, slow, late, other\n"
    assert capsys.readouterr().err == message


def test_every_case_names_a_function_with_its_settings():
    """Reads the modules without importing them, because some need torch or a GPU."""
    import ast

    for suite in suites.SUITES.values():
        for each in suite(True):
            module, _, function = each.function.partition(":")
            tree = ast.parse(Path(*module.split(".")).with_suffix(".py").read_text())
            found = {node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)}
            names = {argument.arg for argument in found[function].args}
            assert {"case", *each.settings} <= names, each


def test_the_start_cases_run_the_command_in_a_fresh_folder(monkeypatch):
    from experiments.benchmarks import start

    calls = []

    def run(command, cwd, env, **more):
        flags = dict(flag.split("=", 1) for flag in command[3:])
        cache = Path(flags["--config.compilation_cache"])
        work = Path(flags["--workdir"])
        calls.append((flags.get("--stage"), cache.exists(), (work / "adapt").exists()))
        cache.mkdir(parents=True, exist_ok=True)
        (work / "adapt" if flags.get("--stage") == "adapt" else work).mkdir(parents=True, exist_ok=True)
        assert not any(name.startswith("JAX_COMPILATION_CACHE") for name in env)
        return subprocess.CompletedProcess(command, 0, "adapt ...\nadapt: 1.5 s\n", "")

    monkeypatch.setattr(start.subprocess, "run", run)
    by_metric = {row.metric: row for row in start.smoke("start_smoke_warm", warm=True)}
    assert by_metric["seconds"].baseline == "cold"
    assert by_metric["seconds"].ratio == by_metric["seconds"].value / by_metric["cold_seconds"].value
    assert [row.metric for row in start.smoke("start_smoke_cold", warm=False)] == ["seconds"]
    assert [filled for _, filled, _ in calls] == [False, True, False]
    calls.clear()
    rows_of_stage = start.adapt_stage("gpu_adapt_stage")
    assert [row.metric for row in rows_of_stage] == [
        *("cold_stage", "cold_process", "warm_stage", "warm_process")
    ]
    assert {row.value for row in rows_of_stage[::2]} == {1.5}
    assert calls[2:] == [("adapt", False, False), ("adapt", True, False)]


def test_a_command_that_fails_is_named(tmp_path):
    from experiments.benchmarks import start

    with pytest.raises(RuntimeError, match=r"no such file: nothing\.py"):
        start.command(tmp_path, "--config=nothing.py")


FAKE_SMI = """#!/bin/sh
trap 'exit 0' TERM
while true; do echo 50; echo "[N/A]"; sleep 0.05; done
"""


@pytest.mark.slow
def test_the_gpu_cases_run_on_a_cpu(monkeypatch, tmp_path):
    from experiments.benchmarks import gpu, simulator
    from ialp_jax.networks.config import NetworkConfig

    monkeypatch.setattr(simulator, "WORLD_USERS", 40)
    monkeypatch.setattr(gpu, "SIZE", NetworkConfig(width=8, blocks=1, heads=1))
    monkeypatch.setattr(gpu, "coat", lambda: simulator.world(80))
    monkeypatch.setattr(gpu, "SECONDS", 0.02)
    rates = {row.metric: row.value for row in gpu.matrix_rates("m", size=64)}
    assert set(rates) == {"rate_bfloat16", "rate_tf32", "rate_float32"}
    assert min(rates.values()) > 0
    one, ten = ({row.metric: row for row in gpu.learn("a", users=4, seeds=n)} for n in (1, 3))
    assert one["interactions_per_second"].baseline == ""
    assert ten["interactions_per_second"].baseline == "one_seed"
    assert 0 < ten["interactions_per_second"].ratio < 10
    smi = tmp_path / "nvidia-smi"
    smi.write_text(FAKE_SMI)
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    busy = {row.metric: row.value for row in gpu.busy("b", users=20, env_steps=1000)}
    assert busy["device_share_busy"] == 0.5
    assert busy["interactions_per_second"] > 0


def test_the_table_has_the_documented_columns():
    text = rows.table(
        "training", [Row("a", "speed", 1234567.8, "steps/s", "naive", 2.5), Row("b", "m", 1, "s")]
    )
    assert text.splitlines() == [
        "suite,case,metric,value,unit,baseline,ratio",
        "training,a,speed,1.23457e+06,steps/s,naive,2.5",
        "training,b,m,1,s,,",
    ]


def test_medians_are_per_step_and_ignore_one_slow_run():
    from experiments.benchmarks.timing import Program, medians

    slow = iter([0.0] * 6 + [0.3])

    def run(steps, each):
        time.sleep(steps * each + next(slow, 0.0))

    fast = Program(lambda steps: run(steps, 0.001), 0.0)
    heavy = Program(lambda steps: run(steps, 0.003), 0.0)
    a, b = medians([fast, heavy], seconds=0.02, repeats=5)
    assert 0.0009 < a < 0.002
    assert 2 < b / a < 4


@pytest.mark.slow
@pytest.mark.parametrize(("function", "baseline"), [("random_actions", "cartpole"), ("actor", "naive")])
def test_a_simulator_case_measures_speed_memory_and_baseline(monkeypatch, function, baseline):
    from experiments.benchmarks import simulator, timing

    monkeypatch.setattr(simulator, "medians", lambda programs, seconds: timing.medians(programs, 0.01, 3))
    monkeypatch.setattr(simulator, "SIZE", simulator.NetworkConfig(width=4, blocks=1, heads=1))
    by_metric = {row.metric: row for row in getattr(simulator, function)("tiny", users=3, items=40)}
    speed = by_metric["env_steps_per_second"]
    assert speed.baseline == baseline
    assert math.isclose(
        speed.ratio, speed.value / by_metric[f"{baseline}_steps_per_second"].value, rel_tol=1e-6
    )
    assert by_metric["peak_memory"].value > 50
    assert 0.01 < by_metric["compile_seconds"].value < 100
    json.dumps(list(by_metric.values()))


@pytest.mark.slow
@pytest.mark.parametrize("baseline", ["uncached", "one_device"])
def test_the_case_of_a_frozen_actor_names_its_baseline(monkeypatch, baseline):
    from experiments.benchmarks import simulator, timing

    monkeypatch.setattr(simulator, "medians", lambda programs, seconds: timing.medians(programs, 0.01, 3))
    monkeypatch.setattr(simulator, "SIZE", simulator.NetworkConfig(width=4, blocks=1, heads=1))
    measured = simulator.frozen_actor("tiny", users=4, items=70, baseline=baseline)
    by_metric = {row.metric: row for row in measured}
    speed = by_metric["env_steps_per_second"]
    assert speed.baseline == baseline
    assert speed.ratio == pytest.approx(speed.value / by_metric[f"{baseline}_steps_per_second"].value)


def test_the_timed_loop_takes_every_step(monkeypatch):
    """The compiled loop plays real sessions. Their users like about one item in ten."""
    import jax
    import jax.numpy as jnp

    from experiments.benchmarks import simulator

    outputs = {}

    def run_once(loop, *arguments):
        outputs["result"] = jax.jit(loop)(jnp.int32(200), *arguments)
        return simulator.Program(lambda steps: None, 0.0)

    monkeypatch.setattr(simulator, "compiled", run_once)
    world = simulator.world(30)
    simulator.program(world.env, world.params, simulator.uniform(30, 50), None, 50)
    assert 0.03 < float(outputs["result"][2].mean()) / 200 < 0.3


@pytest.mark.slow
def test_a_training_case_has_the_correct_ratios(monkeypatch):
    """The test replaces the measured times by given ones, so it knows every ratio."""
    from experiments.benchmarks import simulator, training
    from ialp_jax.agents.a2c import a2c
    from ialp_jax.agents.config import A2CConfig
    from ialp_jax.networks.config import NetworkConfig
    from ialp_jax.networks.heads import ActorCritic

    def tiny(name, world):
        size = NetworkConfig(width=8, blocks=1, heads=1)
        items = world.params.user_model.item_bias.shape[0] - 1
        return a2c(A2CConfig(num_users=4, rollout_length=2), ActorCritic(items, 10, size))

    monkeypatch.setattr(simulator, "WORLD_USERS", 40)
    monkeypatch.setattr(training, "coat", lambda: simulator.world(80))
    monkeypatch.setattr(training, "agent_of", tiny)
    monkeypatch.setattr(
        training, "medians", lambda programs, **how: [2.0 ** (3 * i) for i in range(len(programs))]
    )
    monkeypatch.setattr(simulator, "yardsticks", lambda case: [Row(case, "rate", 100.0, "GFLOP/s")])
    for name, value in {"SEEDS": 2, "POINTS": 2, "UPDATES": 1, "EPISODES": 8}.items():
        monkeypatch.setattr(training, name, value)
    values = {row.metric: row.value for row in training.online("a2c_coat", "a2c")}
    assert values["interactions_per_second"] == 8.0
    tens = [values[f"ten_seeds_by_{way}"] for way in ("map", "vmap", "devices")]
    assert tens == [8.0, 64.0, 512.0]
    assert values["share_of_matmul_rate"] == pytest.approx(values["operations_per_interaction"] * 8e6 / 100e9)
    assert values["operations_per_interaction"] > 0
    assert values["return_after_16_steps"] >= 0
    assert values["seconds_to_90_percent_of_it"] >= 0


@pytest.mark.slow
def test_the_encoder_case_measures_rows_per_second(monkeypatch):
    from experiments.benchmarks import encoder

    monkeypatch.setattr(encoder, "ITEMS", 50)
    values = {row.metric: row.value for row in encoder.training_step("sasrec", 2, 6, 4)}
    assert values["rows_per_second"] == pytest.approx(2 / values["seconds"])


def test_the_training_and_encoder_cases_have_their_documented_names():
    assert [case.name for case in suites.training(False)] == ["a2c_coat", "dqn_coat"]
    assert [case.name for case in suites.encoder(True)] == ["sasrec_128x200x50"]


@pytest.mark.usefixtures("importable")
def test_an_earlier_table_stays_until_a_case_is_measured(tmp_path, monkeypatch):
    out = tmp_path / "table.csv"
    before = table("gpu", [Row("earlier", "rate", 1.0, "")])
    out.write_text(before)
    slow = dataclasses.replace(case("linger", seconds=60, file=str(tmp_path / "never")), most_seconds=1.0)
    monkeypatch.setitem(benchmark.SUITES, "gpu", lambda full: [slow])
    assert benchmark.main(["benchmark", "--suite=gpu", f"--out={out}"]) == 1
    assert out.read_text() == before
