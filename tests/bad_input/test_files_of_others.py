"""No command replaces or deletes a file that the project did not make, in any folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import call
from folders import contents
from hypothesis import given
from hypothesis import strategies as st
from small_run import SETTINGS

from ialp_jax import store
from ialp_jax.claim import RUN, STORE, claim

OTHER = (*SETTINGS, "--config.seed=1", "--redo")  # changes every stage
RUNS = "HERE/run"
NOT_OURS = "{0}: is not empty, it holds {1!r}; give a new or empty folder by {2}, since a {3} folder ..."
IN_PART = "{0}: lies in HERE/run/{1}, which the run replaces; name another place"
IS_RUN = "{0}: is the folder of the run, which replaces its files; name another"
MINE = "HERE/run/{0}: holds {1!r}, which was not written by this project; move it away"
STUDY = ("--config=experiments/configs/paper.py", "--config.not_offline=", "--config.worlds=smoke")
WHOLE = ("--config.data_root=", "--config.readme=", "--config.tuned=")


def main(*flags: str, workdir: str = RUNS) -> tuple[str, ...]:
    return ("main", *SETTINGS, f"--workdir={workdir}", *flags)


def study(*flags: str, workdir: str = "HERE/study") -> tuple[str, ...]:
    return ("main", *STUDY, *WHOLE, f"--workdir={workdir}", *flags)


def not_ours(folder: str, holds: str, flag: str = "--workdir", kind: str = RUN) -> str:
    return NOT_OURS.format(folder, holds, flag, kind)


FILES = {"project/data/interactions.csv": "mine", "project/data/items.csv": "mine"}
MODEL = {"model/config.json": '{"model_type": "mistral"}', "model/model.safetensors": "weights"}
# case -> (files of the user beside the finished run HERE/run, command, expected message).
CASES: dict[str, tuple[dict[str, str], tuple[str, ...], str]] = {
    # the folder is not a run
    "a project": (FILES, main("--stage=data", workdir="HERE/project"), not_ours("HERE/project", "data")),
    "a project, all stages": (FILES, main(workdir="HERE/project"), not_ours("HERE/project", "data")),
    "a project, dry run": (
        FILES,
        main("--dry_run", workdir="HERE/project"),
        not_ours("HERE/project", "data"),
    ),
    "a project, redo": (
        FILES,
        main("--stage=data", "--redo", workdir="HERE/project"),
        not_ours("HERE/project", "data"),
    ),
    "a project, start_from": (
        FILES,
        main("--start_from=HERE/run", workdir="HERE/project"),
        not_ours("HERE/project", "data"),
    ),
    "a model": (MODEL, main("--stage=data", workdir="HERE/model"), not_ours("HERE/model", "config.json")),
    "a hidden file": (
        {"home/.bashrc": "mine"},
        main("--stage=data", workdir="HERE/home"),
        not_ours("HERE/home", ".bashrc"),
    ),
    "the root": (
        {},
        main("--stage=data", workdir="/"),
        "/: is not empty, it holds ...; give a new or empty ...",
    ),
    "a home folder with compiled programs": (
        {".cache/mine": "mine"},
        main("--stage=data", "--config.compilation_cache=HERE/.cache/compiled", workdir="HERE"),
        not_ours("HERE", ".cache"),
    ),
    "a lock of others": (
        {"home/.lock": "mine"},
        main("--stage=data", workdir="HERE/home"),
        not_ours("HERE/home", ".lock"),
    ),
    "a marker of others": (
        {"home/.ialp_jax": "my notes"},
        main("--stage=data", workdir="HERE/home"),
        not_ours("HERE/home", ".ialp_jax"),
    ),
    "settings of others": (
        {"home/config.json": '{"data": {}, "simulator": {}, "agents": {}}'},
        main("--stage=data", workdir="HERE/home"),
        not_ours("HERE/home", "config.json"),
    ),
    "labels as a run": (
        {},
        main("--stage=data", workdir="HERE/run/labels"),
        "HERE/run/labels: is a folder of the kind 'labels'; give a new or empty folder by --workdir, ...",
    ),
    # files of the user in folders of a run
    **{
        f"{name} in {part}, {change}": (
            {f"run/{part}/{name}": "mine"},
            main("--redo", f"--stage={stage}", f"--config.{change}"),
            MINE.format(part, name),
        )
        for part, name, stage, change in (
            ("data", "mine.csv", "data", "data.demo.users=81"),
            ("data", "deep/mine.csv", "data", "data.demo.users=81"),
            ("data", ".mine", "data", "data.demo.users=81"),
            ("simulator", "notes.txt", "simulate", "seed=1"),
            ("simulator", "notes.txt", "simulate", "simulator.user_model.seed=1"),
            ("pretrain/ialp", "mine.txt", "pretrain", "pretrain.ialp_learning_rate=0.1"),
            ("adapt/a2c", "mine.png", "adapt", "adapt.env_steps=2000"),
        )
    },
    "a report of others": (
        {"run/report/index.html": "mine"},
        main("--stage=report"),
        not_ours("HERE/run/report", "index.html", kind="report"),
    ),
    # the user names files in folders that the run replaces
    **{
        f"{name} at {place}": (
            {},
            main(f"--config.{name}=HERE/run/{place}"),
            IN_PART.format(f"--config.{name}=HERE/run/{place}", part),
        )
        for name, place, part in (
            ("data.root", "data", "data"),
            ("data.root", "data/raw", "data"),
            ("data.root", "report/../simulator", "simulator"),
            ("llm.model", "labels/model", "labels"),
            ("llm.adapter", "lora", "lora"),
            ("llm.store", "labels", "labels"),
            ("llm.store", "adapt/a2c/answers", "adapt"),
        )
    },
    **{
        f"{name} is the run": (
            {},
            main(f"--config.{name}=HERE/run/."),
            IS_RUN.format(f"--config.{name}=HERE/run/."),
        )
        for name in ("data.root", "llm.model", "llm.store", "llm.adapter")
    },
    "start_from itself": ({}, main("--start_from=HERE/run"), IS_RUN.format("--start_from=HERE/run")),
    "start_from no run": (
        MODEL,
        main("--start_from=HERE/model", workdir="HERE/new"),
        "--start_from=HERE/model: not a run folder of this project",
    ),
    # studies
    "a study in a project": (
        FILES,
        study("--stage=data", workdir="HERE/project"),
        not_ours("HERE/project", "data", kind="study"),
    ),
    "a trace of a study in a project": (
        FILES,
        study("--stage=report", "--profile", "--config.results=HERE/results", workdir="HERE/project"),
        not_ours("HERE/project", "data", kind="study"),
    ),
    "a lock that is a link": (
        {},
        main("--stage=data", workdir="HERE/linked"),
        "HERE/linked: cannot be written (Too many levels of symbolic links)",
    ),
    "a world of others": (
        {"study/smoke/data/mine.csv": "mine"},
        study("--stage=data"),
        not_ours("HERE/study", "smoke", kind="study"),
    ),
    "results in a project": (
        FILES,
        study("--stage=report", "--config.results=HERE/project"),
        not_ours("HERE/project", "data", "--config.results", "results"),
    ),
    "results in a world": (
        {},
        study("--config.results=HERE/study/smoke/report"),
        "--config.results=HERE/study/smoke/report: lies in HERE/study/smoke/report, which the run ...",
    ),
    "results are a world": (
        {},
        study("--config.results=HERE/study/smoke"),
        "--config.results=HERE/study/smoke: is the folder of the run, which replaces its files; name another",
    ),
    "tuned in a world": (
        {},
        study("--config.tuned=HERE/study/smoke/tuning"),
        "--config.tuned=HERE/study/smoke/tuning: lies in HERE/study/smoke/tuning, which the run ...",
    ),
    "compiled programs in a part": (
        {},
        main("--config.compilation_cache=HERE/run/labels/compiled"),
        "--config.compilation_cache=HERE/run/labels/compiled: lies in HERE/run, the folder of --workdir; ...",
    ),
    "compiled programs in a world": (
        {},
        study("--config.compilation_cache=HERE/study/smoke"),
        "--config.compilation_cache=HERE/study/smoke: lies in HERE/study, the folder of --workdir; ...",
    ),
    "compiled programs in a new run": (
        {},
        main("--stage=data", "--config.compilation_cache=HERE/new/cache", workdir="HERE/new"),
        "--config.compilation_cache=HERE/new/cache: lies in HERE/new, the folder of --workdir; name a ...",
    ),
    "a README in a world": (
        {},
        study("--config.readme=HERE/study/smoke/report/README.md"),
        "--config.readme=...: lies in HERE/study/smoke/report, which the run replaces; name another place",
    ),
    "values of others": (
        {"mine/smoke.json": '{"mine": {"a": 1}}'},
        study("--stage=search", "--config.tuned=HERE/mine", "--config.methods=a2c"),
        "HERE/mine/smoke.json: must map agent ids to settings; run --stage=search",
    ),
    # sweeps, stores and tables
    "a sweep in a project": (
        FILES,
        ("sweep", *SETTINGS, "--sweep=launch/sweeps/learning_rate.py", "--workdir=HERE/project"),
        not_ours("HERE/project", "data", kind="sweep"),
    ),
    "a report of others beside runs": (
        {"report/summary.csv": "mine"},
        ("collect", "HERE"),
        not_ours("HERE/report", "summary.csv", kind="report").replace(" by --workdir", ""),
    ),
    "a table of runs of others beside runs": (
        {"report/summary.csv": "run,accuracy\n1,0.5\n"},
        ("collect", "HERE"),
        not_ours("HERE/report", "summary.csv", kind="report").replace(" by --workdir", ""),
    ),
    "a store in a project": (
        FILES,
        main("--stage=label", "--config.labelling.source=llm", "--config.llm.store=HERE/project"),
        not_ours("HERE/project", "data", "--config.llm.store", "label store"),
    ),
    "a run as a store": (
        {},
        main("--stage=data", "--config.llm.store=HERE/run", workdir="HERE/new"),
        "HERE/run: is a folder of the kind 'run'; give a new or empty folder by --config.llm.store, ...",
    ),
    "a table over a README": (
        {"README.md": "mine"},
        ("benchmark", "--suite=simulator", "--out=HERE/README.md"),
        "--out=HERE/README.md: exists and is not a table of this command; name another file",
    ),
    "labels over a table": (
        {"items.csv": "item_id,title\n"},
        ("inspect", "HERE/run", "--export=HERE/items.csv"),
        "--export=HERE/items.csv: exists and is not a table of this command; name another file",
    ),
}


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("case", CASES)
def test_files_of_others(refused, run, tmp_path, monkeypatch, capfd, case):
    files, (command, *args), message = CASES[case]
    if any("compilation_cache" in arg for arg in args):
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)  # takes precedence over the setting
    if command == "collect":
        assert call(capfd, "main", *SETTINGS, f"--workdir={run}", "--stage=report").code == 0
    put(tmp_path, files)
    if "HERE/linked" in message:
        shutil.copytree(run, tmp_path / "linked")
        (tmp_path / "linked" / ".lock").unlink(missing_ok=True)
        (tmp_path / "linked" / ".lock").symlink_to(tmp_path / "mine")
        (tmp_path / "mine").write_text("mine")
    refused(message, command, *args)


def test_links_into_the_run_are_resolved(refused, run, tmp_path):
    (tmp_path / "link").symlink_to(run / "data")
    refused(IN_PART.format("--config.data.root=HERE/link", "data"), *main("--config.data.root=HERE/link"))


def test_empty_folders_and_own_folders_are_accepted(capfd, tmp_path):
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        assert call(capfd, *main("--stage=data", workdir=str(tmp_path / "empty"))).code == 0
    claim(tmp_path / "store", STORE)
    claim(tmp_path / "store", STORE)


def test_a_run_of_an_older_version_is_recognised_and_marked(capfd, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "old")
    (tmp_path / "old" / store.MARKER).unlink(missing_ok=True)
    assert call(capfd, *main("--stage=data", workdir=str(tmp_path / "old"))).code == 0
    assert (tmp_path / "old" / store.MARKER).is_file()


# File names that the project uses, and some that it does not use.
PLACES = [
    *("config.json", "notes.txt", ".lock", "manifest.json", "data/interactions.csv", "data/manifest.json"),
    *("data/arrays.npz", "simulator/worlds.csv", "labels/arrays.npz", "labels/model/config.json"),
    *("labels/shards/mine", "lora/adapter_config.json", "report/index.html", "report/summary.csv"),
    *("audit/labels.csv", "adapt/a2c/arrays.npz", "adapt/mine.txt", "pretrain/ialp/params/mine"),
    *("checkpoints/adapt/a2c/1000/mine", "checkpoints/adapt/a2c/mine", "tensorboard/adapt/a2c/mean/mine"),
    *("tuning/mine", "profile/mine", ".data.mine.partial/mine", "store/mine.csv", "dry_run.txt"),
]
TEXTS = st.sampled_from(["", "mine", "{}", '{"files": {}}', '{"files": {"mine": "0"}}', "run,a\n", "[]"])
ACTIONS = st.sampled_from(
    [
        ("main", *SETTINGS, "--stage=data"),
        ("main", *OTHER, "--stage=data"),
        ("main", *OTHER, "--stage=report"),
        ("main", *SETTINGS, "--stage=label"),
        ("main", *SETTINGS, "--start_from=RUN", "--stage=data"),
        ("main", *STUDY, *WHOLE, "--stage=data"),
        ("main", *STUDY, *WHOLE, "--stage=report", "--config.results=WHERE"),
        ("sweep", *SETTINGS, "--sweep=launch/sweeps/learning_rate.py", "--executor=print"),
        ("collect", "WHERE"),
        ("benchmark", "--suite=none", "--out=WHERE/notes.txt"),
        ("inspect", "RUN", "--export=WHERE/notes.txt"),
    ]
)


@given(
    files=st.dictionaries(st.sampled_from(PLACES), TEXTS, max_size=4),
    in_a_run=st.booleans(),
    actions=st.lists(ACTIONS, min_size=1, max_size=2),
)
def test_no_command_changes_files_of_others(tmp_path_factory, capfd, finished, files, in_a_run, actions):
    home, source = tmp_path_factory.mktemp("home"), contents(finished)
    where = home / "where"
    where.mkdir()
    if in_a_run:  # the user's files are in the folder of a finished run
        shutil.copytree(finished, where, dirs_exist_ok=True)
    mine = {name: text for name, text in files.items() if not (where / name).exists()}
    mine = {n: t for n, t in mine.items() if not any((where / p).is_file() for p in Path(n).parents)}
    if in_a_run:
        mine.pop(".lock", None)  # every marked folder may have a lock file
    put(where, mine)
    for command, *args in actions:
        flags = [arg.replace("WHERE", str(where)).replace("RUN", str(finished)) for arg in args]
        workdir = [f"--workdir={where}"] if command in ("main", "sweep") else []
        ended = call(capfd, command, *flags, *workdir)
        assert ended.code in (0, 2), ended.err
        after = {name: (where / name).read_text() for name in mine if (where / name).is_file()}
        assert after == mine, (command, args)
    assert contents(finished) == source, "the run that others start from is as it was"
    shutil.rmtree(home)
