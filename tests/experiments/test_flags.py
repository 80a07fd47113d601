"""A wrong command line gives a one-line error and exit code 2. The help explains every setting."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import flags
from experiments.config import Config
from ialp_jax.agents import registry
from ialp_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def run(*args: str) -> subprocess.CompletedProcess:
    """Runs the whole command."""
    return subprocess.run(
        [sys.executable, "-m", "experiments.main", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def parse_in_child(lines: list[list[str]]) -> list[tuple[int, str]]:
    """Parses many command lines, each in a fork of one process that has already imported all modules."""
    script = """
import json, os, sys
from experiments import flags
import experiments.config
lines = json.load(sys.stdin)
results = []
for args in lines:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 2)
        sys.argv = ["main", *args]
        flags.parse(sys.argv)
        os._exit(0)
    os.close(writer)
    text = os.fdopen(reader).read()
    _, status = os.waitpid(pid, 0)
    results.append((os.waitstatus_to_exitcode(status), text))
print(json.dumps(results))
"""
    process = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(lines),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [(code, text) for code, text in json.loads(process.stdout)]


SMOKE = "--config=experiments/configs/smoke.py"
BAD = {
    "unknown flag": (["--workdri=x"], "workdri"),
    "unknown stage": (["--stage=train"], "train"),
    "a stage by its name of before": (["--stage=tune"], "--stage=tune is now --stage=lora"),
    "a setting by its name of before": (
        ["--config.llm.tune.steps=3"],
        "--config.llm.tune is now --config.llm.lora",
    ),
    "missing config file": (["--config=no/such.py"], "no/such.py"),
    "unknown key": ([SMOKE, "--config.data.nme=demo"], "did you mean --config.data.name"),
    "unknown section": ([SMOKE, "--config.dta.name=demo"], "config.dta.name"),
    "wrong type": ([SMOKE, "--config.num_seeds=three"], "num_seeds"),
    "fraction for a whole number": ([SMOKE, "--config.num_seeds=1.5"], "num_seeds"),
    "no seeds": ([SMOKE, "--config.num_seeds=0"], "num_seeds"),
    "unknown world": ([SMOKE, "--config.data.name=moon"], "moon"),
    "empty split": ([SMOKE, "--config.data.online=0.0"], "online"),
    "shares over one": ([SMOKE, "--config.data.offline=0.9"], "sum to 1"),
    "one candidate": ([SMOKE, "--config.labelling.candidates=1"], "candidates"),
    "odd env steps": ([SMOKE, "--config.adapt.env_steps=1500"], "1000"),
    "unknown agent": ([SMOKE, "--config.adapt.agents=a2c,sac"], "sac"),
    "negative learning rate": ([SMOKE, "--config.agents.a2c.learning_rate=-1.0"], "learning_rate"),
    "discount over one": ([SMOKE, "--config.agents.dqn.discount=1.5"], "discount"),
    "unknown schedule": ([SMOKE, "--config.agents.a_ialp_ap.schedule=steps"], "schedule"),
    "heads": ([SMOKE, "--config.network.heads=3"], "heads"),
    "start beyond history": ([SMOKE, "--config.simulator.start_length=99"], "start_length"),
    "unknown user model": ([SMOKE, "--config.simulator.user_model.family=knn"], "family"),
    "unknown none rule": ([SMOKE, "--config.llm.none_rule=coin"], "none_rule"),
    "argument that is no flag": ([SMOKE, "quickstart"], "quickstart"),
}


@pytest.fixture(scope="module")
def bad_results():
    return dict(zip(BAD, parse_in_child([args for args, _ in BAD.values()]), strict=True))


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_clear_line(case, bad_results):
    code, text = bad_results[case]
    assert code == 2
    assert BAD[case][1] in text
    assert text.startswith("error: ")
    assert text.count("\n") == 1


def test_the_command_reports_a_mistake_in_one_line(tmp_path):
    process = run(SMOKE, "--config.data.nme=demo", f"--workdir={tmp_path / 'r'}")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def get_config():\n    return {}\n", "Config"),
        ("def get_config(:\n", "cannot be loaded"),
        ("import no_such_module\n", "no_such_module"),
        ("x = 1\n", "get_config"),
    ],
)
def test_a_broken_config_file_is_one_clear_line(tmp_path, source, message):
    (tmp_path / "c.py").write_text(source)
    code, text = parse_in_child([[f"--config={tmp_path / 'c.py'}"]])[0]
    assert code == 2
    assert message in text
    assert text.count("\n") == 1


def test_correct_command_lines_pass_and_the_default_is_the_quickstart():
    lines = [
        [],
        [SMOKE],
        [SMOKE, "--config.num_seeds=4", "--config.agents.a_ialp_ft.learning_rate=1e-4", "--stage=label"],
    ]
    assert parse_in_child(lines) == [(0, "")] * 3
    assert Path(flags.DEFAULT_CONFIG).name == "quickstart.py"


NAMES = ("--config", "--workdir", "--stage", "--redo", "--dry_run", "--distributed")


def test_help_fits_on_a_screen_and_names_every_flag_and_section():
    done = run("--help")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 110
    for name in (*NAMES, *(f"--config.{field.name}" for field in dataclasses.fields(Config))):
        assert sum(line.lstrip().startswith((f"{name} ", f"{name}.", f"{name}=")) for line in lines) >= 1, (
            name
        )


def test_helpfull_explains_every_setting():
    done = run("--helpfull")
    assert done.returncode == 0
    assert done.stdout.strip() == flags.help_text(full=True).strip()
    for name in NAMES:
        assert f"{name}: " in done.stdout
    for path, _, meaning in flags.knobs(Config()):
        assert f"--config.{path}=" in done.stdout
        assert len(meaning) > 5, f"--config.{path} is not explained"


def test_help_for_a_study_lists_the_settings_of_the_study():
    done = run("--config=experiments/configs/paper.py", "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) <= 45
    assert "settings of the study in experiments/configs/paper.py" in done.stdout
    assert "--config.name=paper " in done.stdout
    assert "--config.worlds=" in done.stdout
    assert "--config.simulator" not in done.stdout


def test_help_for_a_run_has_the_values_of_its_file(tmp_path):
    (tmp_path / "c.py").write_text(
        "import dataclasses\nfrom experiments.config import Config\n"
        "@dataclasses.dataclass\nclass Mine(Config):\n    unexplained: int = 3\n"
        "def get_config():\n    return Mine(name='mine', seed=7)\n"
    )
    (tmp_path / "f").write_text("--help\n")
    done = run(f"--config={tmp_path / 'c.py'}", f"--flagfile={tmp_path / 'f'}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--config.name=mine " in done.stdout
    assert "--config.seed=7 " in done.stdout
    assert "--config.unexplained=3" in done.stdout


def test_help_for_a_missing_file_is_one_error():
    done = run("--config=no/such.py", "--help")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --config: no such file: no/such.py\n"


@pytest.mark.parametrize("asked", ["--help=true", "--helpshort", "-?", "--helpxml"])
def test_other_names_of_help(asked):
    done = run(asked)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == flags.help_text(full=asked == "--helpxml").strip()


def test_defaults_are_valid_and_their_agents_exist():
    Config().check()
    assert set(Config().agent_ids()) < set(registry.ids())


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (ROOT / "experiments/configs").glob("[a-z]*.py"))
)
def test_every_config_file_is_valid(name):
    import importlib

    config = importlib.import_module(f"experiments.configs.{name}").get_config()
    assert dataclasses.is_dataclass(config)
    config.check()


def test_invalid_settings_raise_input_errors():
    with pytest.raises(InputError):
        Config(num_seeds=0).check()
