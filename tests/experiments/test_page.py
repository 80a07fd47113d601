"""Tests that the page is readable: contrast, ticks, long texts, narrow screens, provenance."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.ticker import MaxNLocator
from test_auditing import write_audit
from test_report import HOSTILE, images, write_run

from experiments.agents import AGENTS
from experiments.reporting import plots, report, styles
from experiments.reporting.page_provenance import provenance_section
from experiments.reporting.ticks import Shares
from ialp_jax import store
from ialp_jax.evaluation import statistics

CSS = Path(report.__file__).with_name("style.css").read_text()
RECORD = {
    "python": "3.12.1",
    "versions": {"jax": "0.10.2", "numpy": "2.4.6"},
    "device": {"platform": "gpu", "kind": "NVIDIA H100", "count": 4, "cpus": 16},
    "os": "Linux-6.1",
    "git": {"commit": "0123456789abcdef", "dirty": True},
    "command": "python -m experiments.main '--workdir=my runs/<a>'",
    "began": "2026-01-02T03:04:05+00:00",
    "seconds": 12.34,
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 20)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("page") / "run", tuple(AGENTS), seeds=2)
    write_audit(run)
    return run


def page_of(run):
    report.write_report(run)
    return (run / "report" / "index.html").read_text()


def test_contrast_follows_the_wcag_formula():
    assert styles.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert styles.contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)  # a known example of WCAG
    assert styles.contrast("#ffffff", "#e69f00") == styles.contrast("#e69f00", "#ffffff")


def test_all_text_in_plots_has_enough_contrast(run):
    svgs = images(page_of(run))
    assert len(svgs) >= 11
    colours = set()
    for svg in svgs:
        for style in re.findall(r"<text style=\"([^\"]*)\"", svg):
            colour = re.search(r"fill: (#\w{6})", style)
            colours.add(colour[1] if colour else "#000000")
            assert "opacity" not in style
    assert len(colours) > 8
    assert {
        c: round(styles.contrast(c, "#ffffff"), 2) for c in colours if styles.contrast(c, "#ffffff") < 4.5
    } == {}


def test_ink_darkens_only_colours_with_low_contrast():
    for style in AGENTS.values():
        ink = styles.ink(style.colour)
        assert styles.contrast(ink, "#ffffff") >= styles.READABLE
        assert (ink == style.colour) == (styles.contrast(style.colour, "#ffffff") >= styles.READABLE)


def test_all_text_of_the_page_has_enough_contrast():
    names = dict(re.findall(r"--(\w+): (#\w+)", CSS))
    assert set(re.findall(r"(?<![-\w])color: ([^;}]+)", CSS)) <= {"var(--ink)", "var(--soft)"}
    values = {value for value in re.findall(r"background: ([^;}]+)", CSS) if value != "#fff"}
    backgrounds = {"#ffffff", *(names["tint"] if value == "var(--tint)" else value for value in values)}
    assert len(backgrounds) == 4
    for background in backgrounds:
        assert styles.contrast(names["ink"], background) >= 4.5
    # Pale text (`soft`) has a white background. Coloured table cells have dark text (`ink`).
    assert styles.contrast(names["soft"], "#ffffff") >= 4.5
    assert ".chosen td { background: #fdeee4; font-weight: 600; color: var(--ink); }" in CSS


@given(st.floats(1e-6, 1.0), st.floats(0, 1), st.integers(2, 9))
def test_ticks_of_shares_are_distinct_and_exact(top, low, count):
    low = low * top * 0.99
    values = MaxNLocator(count).tick_values(low, top)
    labels = Shares().format_ticks(values)
    assert len(set(labels)) == len(values)
    np.testing.assert_allclose(
        [float(label.rstrip("%")) for label in labels], 100 * values, rtol=1e-5, atol=1e-9
    )


def test_ticks_of_a_small_share_have_enough_decimals():
    svg = plots.none_share(np.arange(3), np.array([0.03, 0.02, 0.01]))
    ticks = re.findall(r">([\d.]+%)</text>", svg)
    assert ticks == ["0.0%", "0.5%", "1.0%", "1.5%", "2.0%", "2.5%", "3.0%"]
    assert re.findall(r">([\d.]+%)</text>", plots.none_share(np.arange(2), np.array([0.4, 0.9])))[1] == "20%"


def test_a_very_long_title_is_clipped_and_its_beginning_is_in_an_attribute(run, monkeypatch):
    import test_report

    monkeypatch.setattr(test_report, "HOSTILE", f"{HOSTILE} {'x' * 10_000}")
    test_report.write_data(run)
    page = page_of(run)
    visible = re.sub(r"\stitle=\"[^\"]*\"", "", page.split("<h2>Settings")[0])
    assert "x" * 80 not in visible
    assert "x" * 30 + "…" in visible
    titles = re.findall(r"\stitle=\"([^\"]*)\"", page)
    assert titles
    assert all(len(re.sub(r"&\S{2,5};", "&", title)) <= 1000 for title in titles)
    assert "<script" not in page
    assert len(page) < 3e6


def test_every_cell_has_its_heading_for_narrow_screens(run):
    page = page_of(run)
    cells = re.findall(r"<td[^>]*>", page.split('<table class="results">')[1].split("</table>")[0])
    assert len(cells) == 7 * len(AGENTS)
    labels = [re.search(r'data-label="([^"]+)"', cell)[1] for cell in cells]
    assert labels[:7] == [heading for heading, _, _ in report.COLUMNS.values()]
    assert labels == labels[:7] * len(AGENTS)
    for table in re.findall(r"<table class=\"results\">.*?</table>", page, re.DOTALL):
        assert all("data-label=" in cell for cell in re.findall(r"<td[^>]*>", table))


def test_the_page_shows_how_the_results_were_made(run):
    assert "because an earlier version made the run" in page_of(run)
    for part, changes in (("adapt/a2c", {}), ("labels", {"git": None, "command": "other"})):
        manifest = store.read_manifest(run / part)
        store.write_json(run / part / store.MANIFEST, manifest | {"provenance": RECORD | changes})
    foot = page_of(run).split("How these results were made")[1]
    for text in (
        "0123456789abcdef with local changes",
        "unknown, not a clone",
        "4 x gpu NVIDIA H100",
        "<dt>jax</dt><dd>0.10.2</dd>",
        "adapt/a2c: made by the command",
        "python -m experiments.main &#39;--workdir=my runs/&lt;a&gt;&#39;",
        "2026-01-02T03:04:05+00:00",
        "12.3 s",
    ):
        assert text in foot, text
    assert foot.index("labels") < foot.index("adapt/a2c"), "in the order of the stages"


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"git": 5, "device": [], "versions": "x", "seconds": "long", "command": None},
        {"command": "y" * 9999},
    ],
)
def test_incomplete_and_broken_records_are_shown_as_far_as_possible(record):
    section = provenance_section({"data": record})
    assert section["parts"] == [("data", "", "")]
    assert all(len(command) <= 1000 for _, command in section["commands"])
    assert provenance_section({}) is None


def test_the_page_says_how_pre_training_was_evaluated(run):
    for name, episodes in (("ialp", 64), ("sasrec", 64), ("a2c_warm", 128)):
        manifest = store.read_manifest(run / "pretrain" / name)
        manifest |= {"evaluation": {"episodes": episodes, "greedy": episodes == 128}}
        store.write_json(run / "pretrain" / name / store.MANIFEST, manifest)
    note = re.search(r"Each point is the mean over [^<]+", page_of(run))[0]
    assert "iALP" in note
    assert "128 sessions, greedy (A2C warm)" in note
