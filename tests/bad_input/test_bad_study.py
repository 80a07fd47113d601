"""Bad settings, tuned values and collected results of studies and benchmarks."""

from __future__ import annotations

import json

import pytest

from ialp_jax.claim import RESULTS as RESULTS_FOLDER
from ialp_jax.claim import claim

STUDY = (
    "--config=experiments/configs/paper.py",
    "--config.worlds=smoke",
    "--config.not_offline=",
    "--config.results=HERE/results",
    "--config.tuned=HERE/tuned",
    "--config.readme=HERE/README.md",
    "--workdir=HERE/study",
)
COLUMNS = "world,agent,seed,env_steps,metric,value\n"
CURVES = COLUMNS + "".join(
    f"smoke,a2c,0,{steps},{metric},1.0\n"
    for steps in (0, 1000)
    for metric in ("return", "length", "reward_per_step", "coverage", "category_entropy", "gini")
)
CONFIG = {"study": {}, "worlds": {}, "pairs": {"smoke": {"a2c": {"key": "k", "tuned": None}}}}
GOOD = {"results/config.json": json.dumps(CONFIG), "results/curves.csv": CURVES, "README.md": "no markers\n"}
NO_CURVES = "HERE/results/curves.csv: not a table with the columns world,agent,seed,env_steps,... (...)"
RESULTS = {
    "none": (
        {"results/config.json": None},
        "HERE/results/config.json is missing; run the study first (--stage=all)",
    ),
    "settings a list": ({"results/config.json": "[]"}, "HERE/results/config.json: not a JSON object, but []"),
    "settings of something else": (
        {"results/config.json": "{}"},
        "HERE/results/config.json: not the settings of a study; give another --config.results",
    ),
    "pairs a list": (
        {"results/config.json": json.dumps(CONFIG | {"pairs": {"smoke": [5]}})},
        "HERE/results/config.json: the entries of smoke are not pairs of a study; give ...",
    ),
    "pairs of numbers": (
        {"results/config.json": json.dumps(CONFIG | {"pairs": {"smoke": {"a2c": 5}}})},
        "HERE/results/config.json: the entries of smoke are not pairs of a study; give ...",
    ),
    "no column": ({"results/curves.csv": CURVES.replace(",metric", ",measure")}, NO_CURVES),
    "empty": ({"results/curves.csv": ""}, NO_CURVES),
    "binary": ({"results/curves.csv": b"\xff\xfe\x00"}, NO_CURVES),
    "words": ({"results/curves.csv": CURVES.replace("1.0", "one")}, NO_CURVES),
    "steps of words": (
        {"results/curves.csv": CURVES.replace("1000", "many")},
        "HERE/results/curves.csv: ...",
    ),
    "no return": (
        {"results/curves.csv": CURVES.replace("return", "profit")},
        "HERE/results/curves.csv: smoke, a2c: not the curves of an agent ('return')",
    ),
    "no rows": (
        {"results/curves.csv": COLUMNS},
        "HERE/results/curves.csv: has no curves of smoke, a2c; run the study again",
    ),
    "rows twice": (
        {"results/curves.csv": CURVES + CURVES.split("\n", 1)[1]},
        "HERE/results/curves.csv: smoke, a2c: not the curves of an agent (...)",
    ),
    "no markers": (
        {},
        "--config.readme=HERE/README.md: has no markers of tables; add one of <!-- study:headline -->, "
        "<!-- study:overview -->, "
        "<!-- study:table -->, <!-- study:tuned -->, <!-- study:verdicts --> and its <!-- /study:... -->",
    ),
    "no file for the tables": (
        {"README.md": None},
        "--config.readme=HERE/README.md: cannot be read (No such ...)",
    ),
}


def write(folder, files):
    for name, content in files.items():
        if content is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("case", RESULTS)
def test_results(refused, tmp_path, case):
    changes, message = RESULTS[case]
    claim(tmp_path / "results", RESULTS_FOLDER)
    write(tmp_path, GOOD | changes)
    refused(message, "main", *STUDY, "--stage=report")


TUNED = {
    "cut": ("{", "HERE/tuned/smoke.json: not readable JSON (...)"),
    "a list": ("[]", "HERE/tuned/smoke.json: not a JSON object, but []"),
    "numbers": ('{"a2c": 1}', "HERE/tuned/smoke.json: must map agent ids to settings; run --stage=search"),
    "unknown setting": (
        '{"a2c": {"agents.a2c.speed": 1}}',
        "HERE/tuned/smoke.json: no such setting: agents.a2c.speed; --helpfull lists all settings",
    ),
    "a group": (
        '{"a2c": {"agents.a2c": 1}}',
        "HERE/tuned/smoke.json: agents.a2c is a group of settings; name one of them",
    ),
    "another type": (
        '{"a2c": {"agents.a2c.learning_rate": "fast"}}',
        "HERE/tuned/smoke.json: agents.a2c.learning_rate='fast' must be of type float",
    ),
    "NaN": (
        '{"a2c": {"agents.a2c.learning_rate": NaN}}',
        "HERE/tuned/smoke.json: --config.agents.a2c.learning_rate=nan: must be a finite number",
    ),
    "out of range": (
        '{"a2c": {"agents.a2c.learning_rate": -1}}',
        "HERE/tuned/smoke.json: --config.agents.a2c.learning_rate=-1.0 must be positive",
    ),
}


@pytest.mark.parametrize("case", TUNED)
def test_tuned_values(refused, tmp_path, case):
    text, message = TUNED[case]
    write(tmp_path, {"tuned/smoke.json": text})
    refused(message, "main", *STUDY, "--stage=data")
    assert not (tmp_path / "study/smoke/data").exists()


SETTINGS = {
    "world": ("--config.worlds=smoke,moon", "--config.worlds: unknown 'moon'; known: ..."),
    "world twice": ("--config.worlds=smoke,smoke", "--config.worlds: 'smoke' stands there twice"),
    "no method": ("--config.methods=", "--config.methods: name at least one"),
    "method": ("--config.methods=sac", "--config.methods: unknown 'sac'; known: random, ..."),
    "seed of the search": (
        "--config.search.seed=0",
        "--config.search.seed=0: the search needs another seed than the study",
    ),
    "override": (
        "--config.overrides=agents.a2c.speed=1",
        "--config.overrides: no such setting: agents.a2c.speed; --helpfull lists all settings",
    ),
    "value": (
        "--config.overrides=agents.a2c.learning_rate=fast",
        "--config.overrides: agents.a2c.learning_rate=fast must be of type float",
    ),
    "NaN": (
        "--config.overrides=agents.a2c.learning_rate=nan",
        "--config.agents.a2c.learning_rate=nan: must be a finite number",
    ),
    "no pair": (
        "--config.overrides=fast",
        "--config.overrides: 'fast' must be path=value; put ';' between several settings",
    ),
    "another run": (
        "--start_from=HERE",
        "--start_from: not for a study; give the config file of one of its worlds",
    ),
    "dry run": ("--dry_run", "--dry_run: not for a study; give the config file of one of its worlds"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings(refused, tmp_path, case):
    flag, message = SETTINGS[case]
    refused(message, "main", *STUDY, "--stage=data", flag)
    assert not list(tmp_path.rglob("data"))


def test_results_of_another_study(refused, tmp_path):
    write(tmp_path, {"results/config.json": json.dumps(CONFIG | {"study": {"seed": 7}})})
    line = (
        "HERE/results contains a study with other settings (...seed: 7 -> 0...); "
        "give another --config.results, or --redo to replace it"
    )
    refused(line, "main", *STUDY, "--stage=adapt")


BENCHMARKS = {
    "no suite": (("--out=HERE/a.csv",), "--suite is missing; give, for example, --suite=simulator"),
    "no file": (("--suite=labels",), "--out is missing; give, for example, --out=benchmark.csv"),
    "unknown suite": (
        ("--suite=moon", "--out=HERE/a.csv"),
        "flag --suite=moon: value should be one of <...>",
    ),
    "a folder": (("--suite=labels", "--out=HERE"), "--out=HERE: is a folder; name a file in it"),
    "under a file": (("--suite=labels", "--out=HERE/f/a.csv"), "--out=HERE/f/a.csv: cannot be written (...)"),
    "a word": (("--suite=labels", "all"), "'all' is not a flag; all arguments are given as --name=value"),
    "a flag of the other": (("--suite=labels", "--workdir=x"), "Unknown command line flag 'workdir'"),
}


@pytest.mark.parametrize("case", BENCHMARKS)
def test_benchmarks(refused, tmp_path, case, monkeypatch):
    from experiments import benchmark

    for name in benchmark.FLAGS:
        benchmark.FLAGS[name].unparse()
    (tmp_path / "f").write_text("mine")
    args, message = BENCHMARKS[case]
    refused(message, "benchmark", *args)
