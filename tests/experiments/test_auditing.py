"""Tests the audit stage with labellers of known quality, and its section of the report page."""

import shutil

import numpy as np
import pandas as pd
import pytest
from test_report import HOSTILE, write_run

from experiments import stages
from experiments.config import Config
from experiments.configs import smoke
from experiments.reporting import report
from experiments.run import Run
from experiments.stages import audit_stage as auditing
from ialp_jax import store
from ialp_jax.data.files import load_dataset
from ialp_jax.errors import InputError
from ialp_jax.labelling.audit_questions import PROMPT_CANDIDATES, Questions, draw
from ialp_jax.types import Labels


class Fake:
    """A labeller whose scores are a function of histories [P, L] and candidates [P, K].

    It chooses the candidate with the best score. If this item is in ``refused``, the label is "none".
    """

    def __init__(self, score, refused=()):
        self.score, self.refused, self.requests = score, refused, []

    def __call__(self, config, data_folder, folder, seed, on_caution):
        self.folder = folder
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def label(self, prompts):
        histories, candidates, _ = prompts
        self.requests.append(candidates)
        assert (candidates > 0).all()
        scores = self.score(histories, candidates).astype(np.float32)
        best = np.take_along_axis(candidates, scores.argmax(1)[:, None], 1)[:, 0]
        choice = np.where(np.isin(best, self.refused), 0, scores.argmax(1) + 1).astype(np.int32)
        choice[np.isnan(scores).any(1)] = -1
        return Labels(histories, candidates, choice, scores)

    def require_valid(self):
        pass

    def manifest(self):
        return {"model": "fake", "seconds": 1.5}


def questions_of(sizes, seed=0):
    generator = np.random.default_rng(seed)
    table = np.zeros((len(sizes), max(sizes)), np.int32)
    for row, size in zip(table, sizes, strict=True):
        row[:size] = generator.permutation(200)[:size] + 1
    return np.arange(len(sizes), dtype=np.int32)[:, None] + 1, table


def test_a_question_split_into_prompts_gives_the_same_label():
    histories, candidates = questions_of([101, 3, 26, 101, 25])

    def score(histories, candidates):
        return np.sin(candidates * 7.0 + histories)

    best = [candidates[q, score(q + 1, row[row > 0]).argmax()] for q, row in enumerate(candidates)]
    progress, refused = [], [*best[::2], 1, 2, 3]
    whole = auditing.ask(Fake(score, refused), histories, candidates, 1000)
    labeller = Fake(score, refused)
    parts = auditing.ask(labeller, histories, candidates, 25, progress.append)
    assert {request.shape[1] for request in labeller.requests} == {3, 13, 20, 21, 25}
    np.testing.assert_array_equal(parts.scores, whole.scores)
    np.testing.assert_array_equal(parts.choice, whole.choice)
    assert sum(progress) == pytest.approx(5)
    for q, size in enumerate([101, 3, 26, 101, 25]):
        np.testing.assert_allclose(parts.scores[q, :size], score(q + 1, candidates[q, :size]), rtol=1e-5)
        assert np.isnan(parts.scores[q, size:]).all()
        assert parts.choice[q] == (0 if best[q] in refused else np.nanargmax(parts.scores[q]) + 1)


def test_a_question_is_invalid_if_one_of_its_prompts_is_invalid():
    histories, candidates = questions_of([60, 60])
    bad = np.setdiff1d(candidates[1], candidates[0])[0]
    labels = auditing.ask(Fake(lambda h, c: np.where(c == bad, np.nan, 1.0 / c)), histories, candidates, 25)
    assert labels.choice[1] == -1
    assert labels.choice[0] == candidates[0].argmin() + 1


def test_the_widest_prompts_are_asked_first():
    """The model is checked with the shape of the first request, so later prompts must not be longer."""
    fake = Fake(lambda h, c: c)
    auditing.ask(fake, *questions_of([3, 7, 12, 5]), most=5)
    widths = [candidates.shape[1] for candidates in fake.requests]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) > 1


def test_many_prompts_are_asked_in_several_requests():
    histories, candidates = questions_of([5] * 600)
    labeller = Fake(lambda h, c: 1.0 / c)
    auditing.ask(labeller, histories, candidates, 25)
    assert [len(request) for request in labeller.requests] == [256, 256, 88]


def small() -> Config:
    config = smoke.get_config()
    config.data.demo.users, config.data.demo.items = 160, 80
    # The audit asks tuning users.
    config.data.online, config.data.tuning, config.data.evaluation = 0.02, 0.46, 0.02
    config.audit.users = 0
    config.audit.negatives = 40
    config.llm.embedded.steps = 2
    config.llm.threads = 1
    return config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audited") / "run"
    stages.run_stages(Run.open(folder, small(), overwrite=False), ["data"])
    return folder


@pytest.fixture
def folder(data, tmp_path):
    return shutil.copytree(data, tmp_path / "run")


def run_audit(folder, monkeypatch, score, change=lambda config: None):
    config = small()
    change(config)
    run = Run.open(folder, config, overwrite=True)
    if score is not None:
        monkeypatch.setattr(auditing, "LLMLabeller", Fake(score))
    stages.run_stages(run, ["audit"])
    table = pd.read_csv(folder / "audit" / "labels.csv")
    assert list(table.columns) == ["world", "source", "metric", "value", "ci_low", "ci_high"]
    return table.set_index(["source", "metric"])


def perfect_score(folder):
    """Returns a score function that knows the held-out item for each user's history."""
    config = small()
    length = config.simulator.history_length
    questions = draw(load_dataset(folder / "data"), config.audit, length, False, config.seed)
    held_out = {}
    for history, candidates, relevant in zip(
        questions.histories, questions.candidates, questions.relevant, strict=True
    ):
        held_out.setdefault(history.tobytes(), set()).update(candidates[relevant].tolist())

    def score(histories, candidates):
        items = [held_out.get(history.tobytes(), set()) for history in histories]
        return (
            np.array([[i in taken for i in row] for taken, row in zip(items, candidates, strict=True)]) * 9.0
        )

    return score


def test_metrics_of_a_perfect_a_random_and_a_popularity_labeller(folder, monkeypatch):
    generator = np.random.default_rng(1)
    rows = run_audit(folder, monkeypatch, perfect_score(folder))
    assert rows.loc[("llm", "auc"), "value"] > 0.97  # a few share their history
    assert (
        abs(rows.loc[("shuffled", "auc"), "value"] - 0.5) < 0.03
    )  # the held-out item of the other user is not a candidate
    assert rows.loc[("llm", "auc_minus_popularity"), "ci_low"] > 0.05
    assert rows.loc[("llm", "auc_minus_shuffled"), "ci_low"] > 0.2
    assert rows.loc[("truth", "auc"), "ci_low"] > 0.6
    guesses = run_audit(
        folder,
        monkeypatch,
        lambda h, c: generator.random(c.shape),
        lambda c: setattr(c.audit, "negatives", 39),
    )
    assert abs(guesses.loc[("llm", "auc"), "value"] - 0.5) < 0.12
    likes = load_dataset(folder / "data").popularity()
    popular = run_audit(folder, monkeypatch, lambda h, c: likes[c] * 2.0)
    difference = popular.loc[("llm", "auc_minus_popularity"), ["value", "ci_low", "ci_high"]]
    assert (difference == 0).all()


def test_a_finished_audit_is_kept_until_its_settings_change(folder, monkeypatch, capsys):
    def popular(histories, candidates):
        return 1.0 / candidates

    run_audit(folder, monkeypatch, popular)
    arrays, manifest = store.load(folder / "audit")
    assert set(arrays) >= {*Questions._fields, "llm/choice", "llm/scores", "shuffled/scores", "truth/scores"}
    assert manifest["model"] == "fake"
    assert arrays["candidates"].shape[1] == 41
    run_audit(folder, monkeypatch, None)
    assert "audit: done before, kept" in capsys.readouterr().out

    def fewer(config):
        config.audit.users = 10

    rows = run_audit(folder, monkeypatch, popular, fewer)
    assert rows.loc[("llm", "users"), "value"] == 10

    def lettered(config):
        config.llm.mode = "choice"

    assert ("llm", "letter_bias") not in rows.index  # likelihood has no letters
    order_bias = {"answers": 40, "shares": [0.75, 0.25], "bias": 0.25, "by_chance": 0.1}
    monkeypatch.setattr(Fake, "manifest", lambda self: {"model": "fake", "order_bias": order_bias})
    rows = run_audit(folder, monkeypatch, popular, lettered)
    assert rows.loc[("llm", "letter_bias"), "value"] == 0.25
    assert store.load(folder / "audit")[0]["candidates"].shape[1] == PROMPT_CANDIDATES
    before = store.read_manifest(folder / "audit")

    def off(config):
        config.audit.enabled = False

    run_audit(folder, monkeypatch, None, off)
    assert "audit: off" in capsys.readouterr().out
    assert store.read_manifest(folder / "audit") == before


def test_the_audit_needs_only_the_data_stage_and_trains_the_embedded_model(folder):
    pytest.importorskip("torch")
    run = Run.open(folder, small(), overwrite=True)
    run.config.audit.users = 8
    stages.run_stages(run, ["audit"])
    assert (folder / "labels" / "model" / "model.safetensors").is_file()
    assert not (folder / "labels" / "manifest.json").exists()
    arrays, manifest = store.load(folder / "audit")
    assert np.isfinite(arrays["llm/scores"][arrays["candidates"] > 0]).all()
    assert not np.array_equal(arrays["llm/scores"], arrays["shuffled/scores"])
    assert manifest["training"]["steps"] == 2


def test_the_audit_needs_data(tmp_path):
    with pytest.raises(InputError, match="run --stage=data first"):
        stages.run_stages(Run.open(tmp_path, small(), overwrite=False), ["audit"])


def write_audit(run, relevant=1):
    """Writes an audit for the artificial run of test_report. Its catalogue has hostile titles."""
    generator = np.random.default_rng(0)
    candidates = np.stack([generator.permutation(40)[:12] + 1 for _ in range(30)]).astype(np.int32)
    histories = generator.integers(1, 41, (30, 4)).astype(np.int32)
    questions = Questions(
        np.arange(30),
        np.arange(30),
        histories,
        histories[::-1],
        candidates,
        np.arange(12) < np.full((30, 1), relevant),
    )
    likes = np.arange(41)
    scores = generator.random((2, 30, 12))
    scores[0, :, 0] += 0.4
    sources = {n: auditing.Source.of(s, candidates) for n, s in zip(("llm", "shuffled"), scores, strict=True)}
    sources["popularity"] = auditing.auditor.popularity_source(likes, candidates)
    rows = auditing.auditor.compare(questions, sources, likes)
    auditing._save(Run(run, small()), "demo", questions, sources, rows, {"seconds": 7.0})
    return questions, sources


@pytest.mark.slow
def test_the_page_shows_the_audit_and_the_report_its_table(tmp_path):
    write_run(tmp_path)
    report.write_report(tmp_path)
    before = (tmp_path / "report" / "index.html").read_text()
    assert "has no audit" in before
    assert not (tmp_path / "report" / "labels.csv").exists()
    write_audit(tmp_path)
    report.write_report(tmp_path)
    page = (tmp_path / "report" / "index.html").read_text()
    table = (tmp_path / "report" / "labels.csv").read_text()
    assert table == (tmp_path / "audit" / "labels.csv").read_text()
    rows = pd.read_csv(tmp_path / "report" / "labels.csv").set_index(["source", "metric"])
    auc = rows.loc[("llm", "auc")]
    assert (
        f'<td data-label="LLM">{auc.value:.3f}<small>[{auc.ci_low:.3f}, {auc.ci_high:.3f}]</small></td>'
        in page
    )
    assert f"above {auc.value:.1%} of the other candidates" in page
    assert page.count("data:image/svg") == before.count("data:image/svg") + 2
    assert page.count("✓ ") >= 6
    assert "niche taste" in page
    assert "has no audit" not in page
    assert HOSTILE not in page
    assert "nan" not in page.split("Audit: do the labels prefer")[1].split("<h2>")[0].replace("finance", "")
    report.write_report(tmp_path, fits=("labels", "lora"))
    assert "has no audit" in (tmp_path / "report" / "index.html").read_text()
    assert not (tmp_path / "report" / "labels.csv").exists()


def test_a_sample_lists_the_best_candidates_and_the_taken_one_with_its_rank(tmp_path):
    from experiments.reporting import audit_page, run_results

    write_run(tmp_path)
    questions, sources = write_audit(tmp_path, relevant=2)
    results = run_results.read_run(tmp_path)
    samples = audit_page.section(results.audit, results.titles)["samples"]
    assert len(samples) == 6
    first, scores = samples[0], sources["llm"].scores[0]
    ranks = [row["rank"] for row in first["candidates"]]
    assert ranks[:5] == [1, 2, 3, 4, 5]
    assert [row["chosen"] for row in first["candidates"]][:2] == [True, False]
    taken = {row["rank"] for row in first["candidates"] if row["taken"]}
    assert taken == {int((scores > scores[k]).sum()) + 1 for k in (0, 1)}
    assert first["candidates"][0]["title"] == results.titles[questions.candidates[0, scores.argmax()]]
    assert "random items that the user rated" in audit_page.section(results.audit, results.titles)["task"]
