"""A sweep file becomes jobs with stable folders, or gives a one-line error."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from experiments import flags
from experiments.config import Config
from experiments.configs import ablations
from experiments.run import FINGERPRINT, report_fingerprint
from experiments.study.overrides import value_at
from ialp_jax import store
from ialp_jax.errors import InputError
from launch.jobs import job_name, jobs_of

EXAMPLE = Path(__file__).resolve().parents[2] / "launch" / "sweeps" / "learning_rate.py"
RANDOM = {
    "labelling.sessions": {"uniform": [8, 64]},
    "agents.a2c.learning_rate": {"log_uniform": [1e-4, 1e-1]},
    "agents.a2c.discount": [0.5, 0.9],
}


@pytest.fixture
def plan(tmp_path):
    def jobs(sweep, given=None, **settings):
        path = tmp_path / "sweep.py"
        path.write_text(sweep if isinstance(sweep, str) else f"SWEEP = {sweep!r}\n")
        config = Config(**settings)
        return jobs_of(path, config, given or {}, tmp_path / "out", "c.py", ["--stage=adapt"])

    return jobs


def test_a_grid_becomes_one_command_per_combination(plan, tmp_path):
    jobs = plan({"grid": {"seed": [0, 1], "agents.a_ialp_ft.learning_rate": [1e-3, 3]}}, {"num_seeds": 2})
    assert [job.name for job in jobs] == [
        "agents.a_ialp_ft.learning_rate=0.001,seed=0",
        "agents.a_ialp_ft.learning_rate=3.0,seed=0",
        "agents.a_ialp_ft.learning_rate=0.001,seed=1",
        "agents.a_ialp_ft.learning_rate=3.0,seed=1",
    ]
    assert jobs[2].arguments == (
        *("-m", "experiments.main", "--config=c.py", f"--config.llm.store={tmp_path / 'out' / 'store'}"),
        *("--config.num_seeds=2", "--config.seed=1", "--config.agents.a_ialp_ft.learning_rate=0.001"),
        *(f"--workdir={jobs[2].folder}", "--stage=adapt"),
    )
    assert (jobs[2].config.seed, jobs[2].config.num_seeds, jobs[2].config.agents.a_ialp_ft.learning_rate) == (
        1,
        2,
        0.001,
    )


def test_jobs_keep_their_names_when_a_sweep_is_reordered_or_extended(plan):
    before = {job.name for job in plan({"grid": {"seed": [0, 1], "network.width": [8, 16]}})}
    after = {job.name for job in plan({"grid": {"network.width": [32, 16, 8], "seed": [2, 1, 0]}})}
    assert before < after
    assert len(after) == 9
    few = plan({"random": RANDOM, "trials": 5, "seed": 3})
    more = plan({"random": dict(reversed(RANDOM.items())), "trials": 9, "seed": 3})
    assert [job.values for job in more[:5]] == [job.values for job in few]
    other = plan({"random": RANDOM, "trials": 5, "seed": 4})
    assert not {job.name for job in other} & {job.name for job in more}


def test_draws_stay_in_their_ranges_and_every_trial_runs_at_every_point_of_the_grid(plan):
    jobs = plan({"random": RANDOM, "trials": 200, "grid": {"seed": [0, 1]}})
    assert len(jobs) == 400
    sessions = [job.values["labelling.sessions"] for job in jobs]
    rates = [job.values["agents.a2c.learning_rate"] for job in jobs]
    assert {type(number) for number in sessions} == {int}
    assert 8 <= min(sessions) < 14 < 58 < max(sessions) <= 64
    assert 1e-4 <= min(rates) < 2e-4 < 5e-2 < max(rates) <= 1e-1
    assert 0.35 < sum(rate < 10**-2.5 for rate in rates) / len(rates) < 0.65  # evenly by powers of ten
    assert {job.values["agents.a2c.discount"] for job in jobs} == {0.5, 0.9}
    assert abs(np.corrcoef(sessions, np.log(rates))[0, 1]) < 0.3  # draws of two paths are independent


def test_every_variant_runs_at_every_point_of_the_grid(plan):
    variants = [{}, {"num_seeds": 2}, {"num_seeds": 4, "network.width": 8}]
    assert [job.name for job in plan({"variants": variants})] == [
        "default",
        "num_seeds=2",
        "network.width=8,num_seeds=4",
    ]
    jobs = plan({"variants": variants, "grid": {"seed": [0, 1]}})
    assert len(jobs) == 6
    assert [(job.config.num_seeds, job.config.seed) for job in jobs[2:4]] == [(2, 0), (2, 1)]


def test_trials_with_the_same_draws_are_one_job(plan):
    assert len(plan({"random": {"agents.a2c.discount": [0.5, 0.9]}, "trials": 20})) == 2


def test_names_are_safe_and_differ_for_different_values():
    names = [job_name({"data.root": text}) for text in ("a b", "a/b", "a-b", "x" * 400, "x" * 401)]
    assert len(set(names)) == 5
    assert names[2] == "data.root=a-b"
    assert all("/" not in name and " " not in name and len(name) < 200 for name in names)


def test_labels_are_shared_unless_the_command_names_a_store(plan):
    grid = {"grid": {"seed": [0]}}
    assert plan(grid)[0].config.llm.store.endswith("/out/store")
    assert plan(grid, {"llm.store": ""})[0].config.llm.store == ""


def test_a_job_is_done_if_it_has_a_report_of_its_settings(plan):
    job, other = plan({"grid": {"seed": [0, 1]}})
    assert not job.is_done()
    store.save(job.folder / "report", {}, {FINGERPRINT: report_fingerprint(job.config)})
    assert job.is_done()
    job.config.llm.store = "elsewhere"  # the folder of the label store does not change the result
    assert job.is_done()
    job.config.num_seeds += 1
    assert not job.is_done()
    assert not other.is_done()


BAD = {
    "no such setting": ({"grid": {"agents.a_ialp_ft.rate": [1]}}, "no such setting: agents.a_ialp_ft.rate"),
    "a group": ({"grid": {"agents.a_ialp_ft": [1]}}, "group of settings"),
    "wrong type": ({"grid": {"num_seeds": [1, "two"]}}, "num_seeds='two' must be of type int"),
    "no list": ({"grid": {"num_seeds": 3}}, "num_seeds needs a list"),
    "empty list": ({"grid": {"num_seeds": []}}, "num_seeds needs a list"),
    "impossible value": (
        {"grid": {"num_seeds": [1, 0]}},
        "num_seeds=0: --config.num_seeds must be at least 1",
    ),
    "unknown part": ({"grid": {"seed": [0]}, "gird": {}}, "unknown part 'gird'"),
    "empty": ({}, "must be a dict with 'grid', 'random' or 'variants'"),
    "no list of variants": ({"variants": {"seed": 1}}, "'variants' must be a list of dicts"),
    "a variant's setting": (
        {"variants": [{"agents.a_ialp_ft.rate": 1}]},
        "no such setting: agents.a_ialp_ft.rate",
    ),
    "variant and grid": ({"grid": {"seed": [0]}, "variants": [{"seed": 1}]}, "seed is in"),
    "no dict": ({"grid": [1]}, "'grid' must map"),
    "no trials": ({"random": {"seed": [0]}}, "'random' and 'trials' go together"),
    "trials of a grid": ({"grid": {"seed": [0]}, "trials": 2}, "'random' and 'trials' go together"),
    "no whole trials": ({"random": {"seed": [0]}, "trials": 1.5}, "'trials' must be a whole number"),
    "both": ({"grid": {"seed": [0]}, "random": {"seed": [0]}, "trials": 1}, "seed is in"),
    "unknown range": ({"random": {"seed": {"normal": [0, 1]}}, "trials": 1}, "must be a list or"),
    "empty range": ({"random": {"seed": {"uniform": [1, 1]}}, "trials": 1}, "must be a list or"),
    "log of zero": ({"random": {"seed": {"log_uniform": [0, 1]}}, "trials": 1}, "ends above 0"),
    "range of words": ({"random": {"data.name": {"uniform": [0, 1]}}, "trials": 1}, "is not a number"),
    "no sweep": ("x = 1\n", "has neither SWEEP nor get_sweep()"),
    "broken file": ("SWEEP = {\n", "cannot be loaded: SyntaxError"),
    "failing file": ("def get_sweep():\n    return 1 / 0\n", "cannot be loaded: ZeroDivisionError"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_sweep_is_an_error_before_any_job_starts(plan, tmp_path, case):
    sweep, message = BAD[case]
    with pytest.raises(InputError) as error:
        plan(sweep)
    assert message in str(error.value)
    assert "sweep.py" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_swept_setting_on_the_command_line_is_refused(plan):
    with pytest.raises(InputError, match="seed is swept; do not give it"):
        plan({"grid": {"seed": [0]}}, {"seed": 1})
    with pytest.raises(InputError, match="--sweep: no such file: no/file"):
        jobs_of(Path("no/file"), Config(), {}, Path("out"), "c.py")


SIDE_SETTINGS = ("adapt.agents", "agents.a_ialp_ap.alpha_start", "simulator.start_length")


def test_each_ablation_changes_one_thing():
    config = ablations.get_config()
    jobs = jobs_of(EXAMPLE.with_name("ablations.py"), config, {}, Path("/out"), "c.py")
    assert jobs[0].name == "default"
    assert len({job.folder for job in jobs}) == len(jobs) > 20
    for job in jobs[1:]:
        changed = [path for path in job.values if path not in SIDE_SETTINGS]
        assert any(
            job.values[path] != value_at(config, path) for path in job.values if path != "adapt.agents"
        )
        assert len({path.rpartition(".")[2] for path in changed}) == 1


def test_the_example_has_six_jobs():
    jobs = jobs_of(EXAMPLE, Config(), {}, Path("/out"), flags.DEFAULT_CONFIG)
    assert len(jobs) == 6
    assert all(shlex.split(shlex.join(job.arguments)) == list(job.arguments) for job in jobs)
