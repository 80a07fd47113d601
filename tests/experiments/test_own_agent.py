"""Runs the README's example, word for word. It registers a new agent in a config file."""

import dataclasses
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from commands import call

from experiments.config import Config
from experiments.reporting.styles import style
from ialp_jax import agents
from ialp_jax.agents import registry
from ialp_jax.agents.config import WarmA2CConfig
from ialp_jax.errors import InputError

FOLDER = Path(agents.__file__).parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
COMMAND = re.search(r"```sh\npython -m experiments\.main (.*?)\n```", README, re.DOTALL)[1]
SMALL = (
    "num_seeds=1",
    "labelling.sessions=8",
    "labelling.steps=2",
    "labelling.rounds=1",
    "tensorboard=false",
)


@pytest.fixture
def records(monkeypatch):
    """Restores the registry of agents after a test that adds records to it."""
    monkeypatch.setattr(registry, "_RECORDS", dict(registry._RECORDS))


def make(config):
    raise AssertionError("not called")


@dataclasses.dataclass
class Settings:
    size: int = 1


@dataclasses.dataclass
class Postponed:
    size: "int" = 1


@pytest.mark.slow
def test_the_example_of_the_readme_learns_and_is_in_the_report(tmp_path, monkeypatch, capsys, records):
    assert sum(map(bool, EXAMPLE.splitlines())) <= 30
    monkeypatch.chdir(tmp_path)
    Path("my_bandit.py").write_text(EXAMPLE, encoding="utf-8")
    ended = call(capsys, "main", *shlex.split(COMMAND), *(f"--config.{setting}" for setting in SMALL))
    assert ended.code == 0, ended.err
    report = Path("runs/my_bandit/report")
    summary = pd.read_csv(report / "summary.csv").set_index(["agent", "metric"])["mean"]
    assert summary["my_bandit", "final_return"] > 1.3 * summary["random", "final_return"]
    curves = pd.read_csv(report / "curves.csv")
    returns = curves[(curves.agent == "my_bandit") & (curves.metric == "return")]
    assert list(returns.env_steps) == [0, 1000, 2000]
    assert returns.value.notna().all()
    assert "my_bandit" in (report / "index.html").read_text(encoding="utf-8")
    assert style("my_bandit").group == "Others"


def test_a_wrong_setting_of_an_own_agent_is_one_line(tmp_path, capsys, records):
    file = tmp_path / "my_bandit.py"
    file.write_text(EXAMPLE, encoding="utf-8")
    ended = call(capsys, "main", f"--config={file}", "--config.agents.my_bandit.pior=1")
    assert ended.code == 2
    assert ended.err == (
        "error: --config.agents.my_bandit.pior: no such setting; did you mean "
        "--config.agents.my_bandit.prior?\n"
    )


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (registry.AgentRecord("my-agent", make), "must be an identifier"),
        (registry.AgentRecord("class", make), "must be an identifier"),
        (registry.AgentRecord("a2c", make), "the package uses this id"),
        (registry.AgentRecord("check", make), "the package uses this id"),
        (
            registry.AgentRecord("mine", make, starts_from="bert"),
            "must be one of ialp, ialp_soft, a2c_warm, sasrec",
        ),
        (registry.AgentRecord("mine", make, WarmA2CConfig, "sasrec"), "its settings have start_from='ialp'"),
        (registry.AgentRecord("mine", make, dict), "its config must be a dataclass, not dict"),
        (registry.AgentRecord("mine", make, Postponed), "remove 'from __future__ import annotations'"),
    ],
)
def test_a_record_that_cannot_work_is_refused(record, message, records):
    with pytest.raises(InputError, match=message):
        registry.register(record)
    assert registry.record("mine") is None


def test_a_function_with_an_unknown_parameter_is_named(records):
    registry.register(registry.AgentRecord("mine", lambda config, speed: None, Settings))
    with pytest.raises(InputError, match="agent 'mine': its function has a parameter 'speed'; known: config"):
        registry.build("mine", {"config": Settings()})


def test_settings_of_an_own_agent_are_checked_like_others(records):
    registry.register(registry.AgentRecord("mine", make, Settings))
    config = Config()
    config.check()
    assert config.agents.mine.size == 1
    config.agents.mine.size = 0.5
    with pytest.raises(InputError, match=r"--config\.agents\.mine\.size=0\.5: must be of type int"):
        config.check()


def test_every_agent_is_in_the_readme_with_its_file():
    table = README[: README.index("## What is an agent?")]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == set(registry.ids())
    for file in re.findall(r"`(\w+\.py)`", table):
        assert (FOLDER / file).is_file()
