"""Bad flags and config files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = ("--config=experiments/configs/smoke.py", "--stage=data", "--workdir=HERE/run")
FLAGS = {
    # unknown or malformed flags
    "unknown flag": ("--workdri=x", "Unknown command line flag 'workdri'. Did you mean: workdir ?"),
    "no flag": ("smoke", "'smoke' is not a flag; all arguments are given as --name=value"),
    "empty stage": ("--stage=", "flag --stage=: value should be one of <all|data|simulate|...>"),
    "two stages": ("--stage=data,adapt", "flag --stage=data,adapt: value should be one of <...>"),
    "search of a run": (
        "--stage=search",
        "--stage=search: only a study has a search; give --config=experiments/configs/paper.py",
    ),
    "half a flag": (
        "--redo=maybe",
        "flag --redo=maybe: ('Non-boolean argument to boolean flag', 'maybe')",
    ),
    "flag file": (
        "--flagfile=HERE/none",
        "--flagfile=HERE/none: cannot be read (No such file or directory)",
    ),
    "folder as a flag file": ("--flagfile=HERE", "--flagfile=HERE: cannot be read (Is a directory)"),
    "no flag file": ("--flagfile", "--flagfile with no argument"),
    "second config after a setting": (
        "--config=experiments/configs/quickstart.py",
        "--config: given twice, together with settings; give it once, before the settings",
    ),
    "run at a URL": ("--workdir=gs://b/run", "--workdir=gs://b/run: must be a local path, not a URL"),
    "start at a URL": ("--start_from=s3://b/x", "--start_from=s3://b/x: must be a local path, not a URL"),
    "data at a URL": (
        "--config.data.root=file:///x",
        "--config.data.root=file:///x: must be a local path, not a URL",
    ),
    "compiled programs at a URL": (
        "--config.compilation_cache=gs://b/x",
        "--config.compilation_cache=gs://b/x: must be a local folder; JAX reads other places from the ...",
    ),
    "compiled programs in a word": (
        "--config.compilation_cache=None",
        "--config.compilation_cache=None: must be auto, off or a folder; for a folder of this ...",
    ),
    "nothing to start from": (
        "--start_from=HERE/none",
        "--start_from=HERE/none: not a run folder, it has no config.json",
    ),
    # unknown settings
    "unknown setting": (
        "--config.data.nme=x",
        "--config.data.nme: no such setting; did you mean --config.data.name?",
    ),
    "unknown group": ("--config.xyz.q=1", "--config.xyz.q: no such setting; --helpfull lists all settings"),
    "setting without a name": (
        "--config.=3",
        "--config.: no such setting; --helpfull lists all settings",
    ),
    "negated unknown setting": (
        "--noconfig.tensorbord",
        "--config.tensorbord: no such setting; did you mean --config.tensorboard?",
    ),
    "a group is no value": ("--config.agents=5", "flag --config.agents=5: Unable to parse value ..."),
    # wrong types
    "text for a number": (
        "--config.num_seeds=three",
        "flag --config.num_seeds=three: invalid literal for int() with base 10: 'three'",
    ),
    "nothing for a number": (
        "--config.num_seeds=",
        "flag --config.num_seeds=: invalid literal for int() with base 10: ''",
    ),
    "part of a seed": (
        "--config.num_seeds=1.5",
        "flag --config.num_seeds=1.5: invalid literal for int() with base 10: '1.5'",
    ),
    "maybe": (
        "--config.data.download=maybe",
        "flag --config.data.download=maybe: ('Non-boolean argument to boolean flag', 'maybe')",
    ),
    # numbers out of range
    "no seed": ("--config.num_seeds=0", "--config.num_seeds must be at least 1 and --config.seed at least 0"),
    "huge seed": (
        "--config.seed=99999999999999999999",
        "--config.seed=99999999999999999999: must be at most 2147483647",
    ),
    "nan rate": (
        "--config.agents.a2c.learning_rate=nan",
        "--config.agents.a2c.learning_rate=nan: must be a finite number",
    ),
    "infinite rate": (
        "--config.pretrain.learning_rate=inf",
        "--config.pretrain.learning_rate=inf: must be a finite number",
    ),
    "nan patience": (
        "--config.simulator.patience=nan",
        "--config.simulator.patience=nan: must be a finite number",
    ),
    "nan cost": (
        "--config.agents.a2c.entropy_cost=nan",
        "--config.agents.a2c.entropy_cost=nan: must be a finite number",
    ),
    "negative cost": (
        "--config.agents.pg.value_cost=-1",
        "--config.agents.pg.value_cost=-1.0 must be at least 0",
    ),
    "negative rate": (
        "--config.agents.dqn.learning_rate=-1",
        "--config.agents.dqn.learning_rate=-1.0 must be positive",
    ),
    "discount": ("--config.agents.dqn.discount=1.5", "--config.agents.dqn.discount=1.5 must be in [0, 1]"),
    "empty network": (
        "--config.network.width=0",
        "--config.network.heads=2 must divide --config.network.width=0, and both and .blocks be at least 1",
    ),
    "no horizon": (
        "--config.simulator.horizon=0",
        "--config.simulator.history_length and .horizon must be at least 1",
    ),
    "odd steps": (
        "--config.adapt.env_steps=1500",
        "--config.adapt.env_steps=1500 must be a multiple of 1000",
    ),
    "odd checkpoints": (
        "--config.checkpoint.every=1500",
        "--config.checkpoint.every=1500 must be 0 or a multiple of 1000",
    ),
    "no negatives": ("--config.audit.negatives=0", "--config.audit.negatives=0 must be at least 1"),
    "one candidate": (
        "--config.labelling.candidates=1",
        "--config.labelling.candidates=1 must be at least 2",
    ),
    "share": ("--config.data.online=0", "--config.data.online=0.0: the share must be above 0 and below 1"),
    "shares": (
        "--config.data.offline=0.9",
        "--config.data.offline, ...: the shares must sum to 1, but sum to 1.4",
    ),
    "few users": ("--config.data.demo.users=5", "--config.data.demo.users=5: must be in 10..1000000"),
    "horizon beyond the items": (
        "--config.simulator.horizon=500",
        "--config.simulator.horizon=500: a session could show all 115 items; horizon + history_length + ...",
    ),
    # unknown names
    "empty name": (
        "--config.name=",
        "--config.name='': must be the name of a folder, without / and not empty",
    ),
    "name that climbs": (
        "--config.name=../up",
        "--config.name='../up': must be the name of a folder, without / and not empty",
    ),
    "world": (
        "--config.data.name=moon",
        "--config.data.name=moon: unknown world; known: coat, demo, industry, lfm, movielens, tabular",
    ),
    "agent": (
        "--config.adapt.agents=a2c,sac",
        "--config.adapt.agents: unknown 'sac'; known: random, popular, ...",
    ),
    "agent twice": ("--config.adapt.agents=a2c,dqn,a2c", "--config.adapt.agents: 'a2c' stands there twice"),
    "no agent": ("--config.adapt.agents=,", "--config.adapt.agents: name at least one"),
    "judges": (
        "--config.evaluation.users=everybody",
        "--config.evaluation.users='everybody' must be one of evaluation, tuning",
    ),
    "preset": (
        "--config.simulator.preset=brutal",
        "--config.simulator.preset=brutal: unknown; known: easy, hard, paper",
    ),
    "mode": (
        "--config.llm.mode=telepathy",
        "--config.llm.mode='telepathy' must be one of likelihood, choice, generate",
    ),
    "device": ("--config.llm.device=tpu", "--config.llm.device must be auto, cpu, cuda or cuda:<number>"),
    "hash": ("--config.data.sha256=abc", "--config.data.sha256: 'abc' is not a sha256 of 64 hex digits"),
    "wide encoding": (
        "--config.data.tabular.encoding=utf-16",
        "--config.data.tabular.encoding=utf-16: convert the file to utf-8 first",
    ),
    "encoding": (
        "--config.data.tabular.encoding=klingon",
        "--config.data.tabular.encoding=klingon: no such encoding in Python",
    ),
    "factors": (
        "--config.simulator.user_model.factors=a,b",
        "--config.simulator.user_model.factors=a,b: expected numbers separated by commas, as in '8,16'",
    ),
}
CONFIG = "from experiments.config import Config\ndef get_config():\n    "
LOADED = "--config: the file cannot be loaded: HERE/c.py"
FILES = {
    "raises": (f"{CONFIG}raise OSError('no\\nluck \\x1b[31m')", f"{LOADED}:3: OSError: no luck \\x1b[31m"),
    "ends": ("raise SystemExit(0)", f"{LOADED}:1: SystemExit: 0"),
    "divides": ("x = 1 / 0", f"{LOADED}:1: ZeroDivisionError: division by zero"),
    "imports": (
        "import no_such_module",
        f"{LOADED}:1: ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "syntax": ("def get_config(:", f"{LOADED}: SyntaxError: ..."),
    "NUL": ("x = 1\0", f"{LOADED}: ...null bytes"),
    "no get_config": ("x = 1", f"{LOADED}: no 'get_config'"),
    "recurses": ("def get_config():\n    return get_config()", f"{LOADED}:2: RecursionError: ..."),
    "wants arguments": (
        "def get_config(size):\n    return 1",
        f"{LOADED}: TypeError: get_config() missing 1 ...",
    ),
    "None": (f"{CONFIG}pass", "--config: get_config() must return a Config or a Study, not NoneType"),
    "the class": (
        f"{CONFIG}return Config",
        "--config: get_config() must return a Config or a Study, not type",
    ),
    "misspelt argument": (f"{CONFIG}return Config(num_seed=3)", f"{LOADED}:3: TypeError: ...num_seed..."),
    "misspelt field": (
        f"{CONFIG}c = Config(); c.agents.a2c.lerning_rate = 1.0; return c",
        "--config.agents.a2c.lerning_rate: no such setting; --helpfull lists all settings",
    ),
    "text for a number": (
        f"{CONFIG}return Config(num_seeds='3')",
        "--config.num_seeds='3': must be of type int",
    ),
    "truth for a number": (
        f"{CONFIG}return Config(num_seeds=True)",
        "--config.num_seeds=True: must be of type int",
    ),
    "None for a group": (
        f"{CONFIG}c = Config(); c.data = None; return c",
        "--config.data=None: must be of type DataConfig",
    ),
    "NaN": (
        f"{CONFIG}c = Config(); c.data.like_at = float('nan'); return c",
        "--config.data.like_at=nan: must be a finite number",
    ),
}


@pytest.mark.parametrize("case", FLAGS)
def test_flags(refused, tmp_path, monkeypatch, case):
    flag, message = FLAGS[case]
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)  # takes precedence over the setting
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    refused(message, "main", *START[:2], "--config.tensorboard=true", *START[2:], flag)
    assert not list(tmp_path.glob("run/data"))


@pytest.mark.parametrize("case", FILES)
def test_config_files(refused, tmp_path, case):
    source, message = FILES[case]
    (tmp_path / "c.py").write_text(source)
    refused(message, "main", "--config=HERE/c.py", "--workdir=HERE/run")
    assert [path.name for path in tmp_path.iterdir()] == ["c.py"]


@pytest.mark.parametrize("name", ["", "HERE", "HERE/none.py", "HERE/none.py:big"])
def test_files_that_are_not_config_files(refused, name):
    file = name.removesuffix(":big")
    refused(f"--config: no such file: {file}".strip(), "main", f"--config={name}", "--config.num_seeds=2")


def test_a_word_for_a_file_that_takes_none(refused):
    name = "experiments/configs/smoke.py"
    refused(f"--config={name}:big: {name} takes no word after a colon", "main", f"--config={name}:big")


def test_a_flag_file_that_is_no_text(refused, tmp_path):
    (tmp_path / "f").write_bytes(b"\xff\xfe")
    refused("--flagfile: the file is not a text in UTF-8 (...)", "main", *START, "--flagfile=HERE/f")


def test_a_wrong_setting_in_a_flag_file(refused, tmp_path):
    (tmp_path / "f").write_text("--config.num_sed=3\n")
    message = "--config.num_sed: no such setting; did you mean --config.num_seeds?"
    refused(message, "main", *START, "--flagfile=HERE/f")


SWEEP = "--sweep=launch/sweeps/learning_rate.py"


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ("give one folder, not 0; see --help", ("collect", "")),
        ("give one folder, not 2; see --help", ("collect", "HERE", "HERE")),
        ("Missing value for flag --base", ("collect", "HERE", "--base")),
        ("Unknown command line flag 'bas'. Did you mean: base ?", ("collect", "HERE", "--bas=x")),
        (
            "--out=gs://b/x: must be a local path, not a URL",
            ("benchmark", "--suite=encoder", "--out=gs://b/x"),
        ),
        (
            "--config.llm.store=gs://b/x: must be a local path, not a URL",
            ("sweep", START[0], SWEEP, "--workdir=HERE/s", "--config.llm.store=gs://b/x"),
        ),
    ],
)
def test_arguments_of_other_commands(refused, tmp_path, message, command):
    refused(message, *command)
    assert not list(tmp_path.iterdir())


COMMANDS = {  # each command runs in a new process
    "main": (
        ("experiments.main", *START, "--config.num_seeds=0"),
        "--config.num_seeds must be at least 1 and --config.seed at least 0",
    ),
    "main on a file": (
        ("experiments.main", *START[:2], "--workdir=HERE"),
        "HERE: cannot be written (File exists)",
    ),
    **{
        f"flag file of {name}": (
            (name, "--flagfile=HERE/none"),
            "--flagfile=HERE/none: cannot be read (Not a directory)",
        )
        for name in ("experiments.main", "experiments.benchmark", "launch.sweep", "launch.collect")
    },
    "inspect": (("ialp_jax.labelling.inspect", "HERE"), "HERE: no such folder"),
    "benchmark": (
        ("experiments.benchmark", "--suite=moon", "--out=HERE"),
        "flag --suite=moon: value should be one of <simulator|labels|training|encoder|start|gpu>",
    ),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_whole_commands(tmp_path, case):
    (here := tmp_path / "file").write_text("mine")
    args, message = COMMANDS[case]
    command = [sys.executable, "-m", *(arg.replace("HERE/run", str(tmp_path / "run")) for arg in args)]
    command = [arg.replace("HERE", str(here)) for arg in command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {message.replace('HERE', str(here))}\n"
    assert here.read_text() == "mine"
