"""Tests the report stage on artificial run folders."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.agents import AGENTS, REFERENCE
from experiments.reporting import plots, report, styles
from ialp_jax import store
from ialp_jax.agents import registry
from ialp_jax.data.files import save_dataset
from ialp_jax.errors import InputError
from ialp_jax.evaluation.metrics import CURVES, METRICS
from ialp_jax.types import Catalogue, Dataset, Histories, Interactions

STEPS = np.array([0, 1, 2, 3, 5, 7, 10, 15, 20, 40, 60, 80, 100, 120]) * 1000
ENDS = {  # agent -> (return at the first evaluation point, return at the last)
    "random": (0.2, 0.2),
    "popular": (7.2, 7.2),
    "oracle": (31.6, 31.6),
    "sasrec": (4.0, 4.0),
    "ialp": (3.7, 3.7),
    "dqn": (0.3, 8.0),
    "pg": (0.2, 5.5),
    "a2c": (0.2, 8.7),
    "a2c_warm": (3.1, 12.0),
    "a_ialp_ft": (3.7, 13.5),
    "a_ialp_ap": (3.7, 15.6),
}
NOT_LEARNING = ("random", "popular", "oracle", "sasrec", "ialp")
HOSTILE = "<script>alert('x')</script> & $\\frac$ “Ω”"


def write_agent(run: Path, agent: str, seeds: int = 3, **changed: np.ndarray) -> None:
    generator = np.random.default_rng(sum(agent.encode()))
    steps = STEPS[[0, -1]] if agent in NOT_LEARNING else STEPS
    first, last = ENDS.get(agent, (1.0, 6.0))
    rise = 1 - np.exp(-steps / 30_000)
    dip = 2.5 * np.exp(-(((steps - 4000) / 3000) ** 2)) * (agent == "a_ialp_ft")
    clean = first + (last - first) * rise / max(rise[-1], 1e-9) - dip
    returns = np.maximum(clean + generator.normal(0, 0.04 * clean.mean(), (seeds, len(steps))), 0)
    arrays = {
        "env_steps": steps,
        "return": returns,
        "length": 6 + 1.2 * returns,
        "reward_per_step": returns / (6 + 1.2 * returns),
        "coverage": np.full_like(returns, 0.125),
        "category_entropy": np.full_like(returns, 1.5),
        "gini": np.full_like(returns, 0.9),
        **changed,
    }
    manifest = {"agent": agent, "world": "demo", "seconds": 12.5, "num_seeds": seeds}
    store.save(run / "adapt" / agent, arrays, manifest)


def write_simulator(run: Path) -> None:
    generator = np.random.default_rng(1)
    facts = {
        "users": 1881,
        "items": 2828,
        "interactions": 71000,
        "like_rate": 0.31,
        "auc": 0.934,
        "ece": 0.0061,
    }
    facts |= {"popularity_auc": 0.761, "ndcg10": 0.41, "popularity_ndcg10": 0.12}
    for agent in ("random", "popular", "oracle"):
        value = ENDS[agent][0]
        ends = {"return": value, "return_ci_low": value * 0.97, "return_ci_high": value * 1.03, "length": 9.0}
        facts |= {f"{agent}_{name}": number for name, number in ends.items()}
    (run / "simulator").mkdir(parents=True)
    rows = [("demo", metric, value) for metric, value in facts.items()]
    table = pd.DataFrame(rows, columns=["world", "metric", "value"])
    table.to_csv(run / "simulator" / "worlds.csv", index=False)
    predicted = np.linspace(0.02, 0.9, 10)
    arrays = {
        "reliability_predicted": predicted,
        "reliability_observed": predicted**1.1,
        "reliability_count": np.array([4000, 1500, 700, 300, 200, 100, 60, 30, 10, 0]),
        "popularity_real": (600 / np.arange(1, 501)).astype(int),
        "popularity_simulated": 500 / np.arange(1, 501) ** 0.95,
        "likes_real": generator.poisson(30, 200),
        "likes_simulated": generator.poisson(31, 200),
    }
    store.write_arrays(run / "simulator" / "validation.npz", arrays)


def write_labels(run: Path, prompts: int = 60) -> None:
    generator = np.random.default_rng(2)
    scores = generator.normal(-4, 1.5, (prompts, 4)).astype(np.float32)
    arrays = {
        "histories": np.pad(generator.integers(1, 40, (prompts, 5)), ((0, 0), (2, 0))).astype(np.int32),
        "candidates": generator.integers(1, 40, (prompts, 4), np.int32),
        "choice": np.where(generator.random(prompts) < 0.4, 0, scores.argmax(1) + 1).astype(np.int32),
        "scores": scores,
        "round": np.repeat(np.arange(3), prompts // 3),
    }
    none = int((arrays["choice"] == 0).sum())
    counts = {
        "prompts": prompts,
        "valid": prompts - none,
        "none": none,
        "invalid": {"empty": 7, "several": 0},
    }
    manifest = {
        "model": "embedded",
        "revision": "",
        "template": {"name": "titles", "version": 1},
        "template_sha256": "ab12cd" * 10,
        "asked": 41,
        "seconds": 41.0,
    }
    manifest |= {
        "mode": "likelihood",
        "threshold": 0.73,
        "counts": counts,
        "tokens": 123456,
        "training": {"held_out_loss": 1.25},
    }
    store.save(run / "labels", arrays, manifest)


def label_facts() -> list[dict]:
    """Facts about three label rounds as the label stage writes them; the last round has no history."""
    names = ("prompts_without_real_likes", "none", "invalid", "chosen_like_probability")
    names += ("mean_like_probability", "best_like_probability", "rank_correlation")
    facts = [
        {"round": number, "prompts": 20, "real_likes": 0.9 - number / 10, "age": 4.5} for number in range(3)
    ]
    facts[2]["real_likes"] = None
    return [{**one, **dict.fromkeys(names, 0.25)} for one in facts]


def write_data(run: Path) -> None:
    titles = ("", *(f"{HOSTILE} {i}" if i % 3 == 0 else f"The Band No. {i}" for i in range(1, 41)))
    items = np.arange(1, 41, dtype=np.int32)
    catalogue = Catalogue(titles, np.zeros(41, np.int32), ("",))
    interactions = Interactions(np.zeros(40, np.int32), items, np.ones(40, bool))
    histories = Histories(items, np.array([0, 40]))
    save_dataset(
        run / "data", Dataset("demo", catalogue, interactions, histories, np.zeros(1, np.int8), {}), {}
    )


def write_run(
    run: Path, agents: tuple[str, ...] = tuple(ENDS), seeds: int = 3, skipped: bool = False
) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    config = {"name": "demo", "data": {"name": "demo", "note": HOSTILE}, "seeds": seeds}
    (run / "config.json").write_text(json.dumps(config))
    for agent in agents:
        write_agent(run, agent, seeds)
    write_simulator(run)
    if not skipped:
        write_labels(run)
        write_data(run)
        returns = np.linspace(0.9, 1.1, seeds)[:, None] * np.linspace(0.2, 3.7, 6)
        for name in set(filter(None, (registry.starts_from(agent, {}) for agent in agents))):
            arrays = {"updates": np.arange(6) * 500, "return": returns}
            store.save(run / "pretrain" / name, arrays, {"seconds": 33.0})
    return run


def images(page: str) -> list[str]:
    """The images of a page, decoded to SVG text."""
    return [
        base64.b64decode(data).decode() for data in re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", page)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("runs") / "demo")
    report.write_report(run)
    return run


def test_tables_contain_every_agent_and_metric(run: Path):
    summary = pd.read_csv(run / "report" / "summary.csv")
    assert (
        ",".join(summary.columns)
        == "world,agent,metric,mean,iqm,ci_low,ci_high,num_seeds,starts_from,temperature"
    )
    expected = [(agent, metric) for agent in ENDS for metric in METRICS]
    assert sorted(zip(summary.agent, summary.metric, strict=True)) == sorted(expected)
    assert (summary.num_seeds == 3).all()
    row = summary.set_index(["agent", "metric"]).loc["a2c", "final_return"]
    stored = store.load(run / "adapt" / "a2c")[0]["return"][:, -1]
    assert row["mean"] == pytest.approx(stored.mean())
    assert (row.ci_low, row.ci_high) == (pytest.approx(stored.min()), pytest.approx(stored.max()))

    curves = pd.read_csv(run / "report" / "curves.csv")
    assert ",".join(curves.columns) == "world,agent,seed,env_steps,metric,value"
    rows = curves[(curves.agent == "a2c") & (curves.metric == "return") & (curves.seed == 2)]
    np.testing.assert_array_equal(rows.env_steps, STEPS)
    np.testing.assert_allclose(rows.value, store.load(run / "adapt" / "a2c")[0]["return"][2])
    assert set(curves.metric) == set(CURVES)
    pd.testing.assert_frame_equal(
        pd.read_csv(run / "report" / "worlds.csv"), pd.read_csv(run / "simulator" / "worlds.csv")
    )


def test_same_results_give_the_same_bytes(run: Path, tmp_path: Path):
    again = write_run(tmp_path / "again")
    np.random.seed(7)  # noqa: NPY002
    report.write_report(again)
    files = sorted(path.name for path in (run / "report").iterdir())
    assert files == ["curves.csv", "index.html", "summary.csv", "worlds.csv"]
    for name in files:
        assert (again / "report" / name).read_bytes() == (run / "report" / name).read_bytes(), name


def test_label_rounds_have_a_table_and_a_plot_unless_an_earlier_version_made_the_labels(tmp_path: Path):
    run = write_run(tmp_path / "run")
    report.write_report(run)
    before = (run / "report" / "index.html").read_text()
    assert "Label rounds" not in before
    arrays, manifest = store.load(run / "labels")
    store.save(run / "labels", arrays, {**manifest, "rounds": label_facts()})
    report.write_report(run)
    page = (run / "report" / "index.html").read_text()
    table = page[page.index("<h3>Label rounds</h3>") :].partition("</table>")[0]
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in table.split("<tr>")[2:]]
    common = ["25.0%", "25.0%", "25.0%", "4.5", "0.25", "0.25", "0.25", "0.25"]
    assert rows == [["90.0%", *common], ["80.0%", *common], ["-", *common]]
    assert table.count('<th scope="col">') == 1 + len(rows[0])
    new = [svg for svg in images(page) if svg not in images(before)]
    assert len(new) == 1
    for name in ("real likes", "chosen item", "candidates", "best candidate", "round"):
        assert (name in new[0]) == (name != "real likes"), name  # a line without a last value has no name


def test_page_loads_no_other_file(run: Path):
    page = (run / "report" / "index.html").read_text()
    assert "<script" not in page
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    svgs = images(page)
    assert len(svgs) == 4 + 2 + 3  # learning curves with zoom; labels and pre-training; validation
    assert all("A-iALP_ap" in svg and "env steps (all users)" in svg for svg in svgs[:4])
    assert "the first 12,000 steps" in svgs[1]
    assert re.search(r"Oracle ↑ 3\d\.\d", svgs[1]), "an arrow and a value mark a reference outside the plot"


def test_text_from_data_is_escaped(run: Path):
    page = (run / "report" / "index.html").read_text()
    assert page.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; $\\frac$ “Ω” ") >= 3, "titles"
    for fact in ("empty 7", "embedded", "titles", "ab12cdab12cd", "1.25", "1.0"):
        assert f"<dd>{fact}</dd>" in page


def test_fine_tuning_is_shown_if_the_run_fine_tuned(tmp_path: Path):
    run = write_run(tmp_path, ("random", "a2c"), seeds=1)
    held_out = {"users": 9, "prompts": 500, "chance": 0.05, "loss_before": 3.0, "loss_after": 2.5}
    for name, mean in (("accuracy_before", 0.101), ("accuracy_after", 0.222), ("gain", 0.121)):
        held_out |= {name: mean, f"{name}_interval": [mean - 0.01, mean + 0.01]}
    log = {
        "steps": 40,
        "parameters": 1234,
        "loss": [[20, 3.1], [40, 2.6]],
        "held_out": held_out,
        "seconds": 7,
    }
    store.seal(run / "lora", {"fine_tuning": log})
    report.write_report(run)
    assert "Fine-tuning" not in (run / "report" / "index.html").read_text()
    store.write_json(run / "config.json", {"llm": {"lora": {"steps": 40}}})
    report.write_report(run)
    page = (run / "report" / "index.html").read_text()
    assert "22.2% [21.2%, 23.2%]" in page
    assert "Training loss over steps of fine-tuning" in page
    assert "<dt>fine-tuning</dt><dd>7.0 s</dd>" in page


def test_skipped_stages_single_seed_and_unknown_agent(tmp_path: Path):
    run = write_run(tmp_path / "run", ("random", "a2c", "new<agent>$x$"), seeds=1, skipped=True)
    summary = report.write_report(run)
    assert summary.ci_low.isna().all()
    page = (run / "report" / "index.html").read_text()
    assert "the label stage was skipped" in page
    assert "the pre-training stage was skipped" in page
    assert "one seed has no interval" in page
    assert "new&lt;agent&gt;$x$" in page
    assert "nan" not in page.lower()
    assert ">new&lt;agent&gt;$x$</text>" in images(page)[0]
    assert "[" not in report.console_table(summary).split("\n", 1)[1]


def test_console_table_has_a_line_per_agent(run: Path):
    lines = report.console_table(pd.read_csv(run / "report" / "summary.csv")).splitlines()
    assert lines[0] == "demo: mean over 3 seeds [95 % interval]"
    assert lines[1].split()[:3] == ["agent", "initial", "return"]
    assert len(lines) == 2 + len(ENDS)
    assert re.search(r"^A-iALP_ap +3\.\d\d +1\d\.\d\d \[1\d\.\d\d, 1\d\.\d\d\] .* 12\.5% +-$", lines[-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("adapt", "--stage=adapt first"),
        ("simulator/worlds.csv", "--stage=simulate first"),
        ("simulator/validation.npz", "validation.npz"),
        ("config.json", "config.json"),
        ("adapt/dqn/manifest.json", "dqn: incomplete"),
        ("adapt/dqn/arrays.npz", "missing"),
        ("labels/arrays.npz", "missing"),
    ],
)
def test_missing_results_are_named(tmp_path: Path, damage: str, message: str):
    run = write_run(tmp_path / "run", ("random", "dqn"))
    (run / damage).rename(tmp_path / "gone")
    with pytest.raises(InputError, match=message) as raised:
        report.write_report(run)
    assert "\n" not in str(raised.value)
    assert not (run / "report").exists()


def test_broken_results_are_named(tmp_path: Path):
    run = write_run(tmp_path / "run", ("random", "dqn"))
    write_agent(run, "dqn", coverage=np.ones((3, 5)))
    with pytest.raises(InputError, match=r"dqn: not the curves of an agent.*--stage=adapt"):
        report.write_report(run)
    write_agent(run, "dqn")
    (run / "simulator" / "worlds.csv").write_text("world,metric,value\ndemo,users,many\n")
    with pytest.raises(InputError, match=r"worlds\.csv"):
        report.write_report(run)


def test_agents_of_different_worlds_are_refused(tmp_path: Path):
    run = write_run(tmp_path / "run", ("random", "dqn"))
    arrays, manifest = store.load(run / "adapt" / "dqn")
    store.save(run / "adapt" / "dqn", arrays, {**manifest, "world": "lfm"})
    with pytest.raises(InputError, match="mixes the worlds demo, lfm"):
        report.write_report(run)


def test_names_of_lines_do_not_overlap():
    positions = np.array([0.5, 0.52, 0.1, 0.51])
    moved = plots.spread(positions, 0.1, 0.0, 1.0)
    assert np.diff(np.sort(moved)).min() >= 0.1 - 1e-9
    assert moved[2] == pytest.approx(0.1), "a label with enough space stays"
    np.testing.assert_array_equal(np.argsort(moved), np.argsort(positions))
    assert plots.spread(np.full(4, 1.0), 0.2, 0.0, 1.0).max() == pytest.approx(1.0)


def test_the_early_phase_ends_at_a_tenth_or_20000_steps():
    assert plots.early_limit(STEPS) == 12_000
    assert plots.early_limit(STEPS * 10) == 20_000
    assert plots.early_limit(np.array([0, 100, 200, 300])) == 200
    assert plots.early_limit(np.array([0])) == 0


def test_every_learning_agent_has_a_different_colour():
    colours = [record.colour for record in AGENTS.values() if record.group != REFERENCE]
    assert len(set(colours)) == len(colours)
    assert styles.ordered({"zeta", "a_ialp_ap", "random"}) == ["random", "a_ialp_ap", "zeta"]
