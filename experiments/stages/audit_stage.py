"""The audit stage: asks the LLM and baselines about held-out interactions; writes ``audit/``."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from tqdm import tqdm

from experiments.reporting.run_results import AUDIT_TABLE
from experiments.run import Run
from experiments.stages import fits, recipes
from experiments.stages.common import label_seed, warn
from experiments.stages.label_stage import alike_items
from ialp_jax import store
from ialp_jax.data.files import load_dataset
from ialp_jax.labelling import audit as auditor
from ialp_jax.labelling import quality
from ialp_jax.labelling.audit import LLM, POPULARITY, SHUFFLED, TRUTH, Source
from ialp_jax.labelling.audit_questions import PROMPT_CANDIDATES, Questions, draw
from ialp_jax.labelling.labeller import Labeller
from ialp_jax.labelling.llm_labeller import LLMLabeller
from ialp_jax.llm.prompting.lengths import NUM_SAMPLED, Demand
from ialp_jax.types import Dataset, Prompts
from ialp_jax.users.predict import like_logit

AT_ONCE = 256  # Prompts per request. The progress bar moves after each request, and a kill loses one request.
LETTERLESS = ("likelihood",)  # Modes in which a candidate's score does not depend on other candidates.


def split_questions(candidates: np.ndarray, most: int) -> np.ndarray:
    """Splits Q questions into P prompts, each with at most ``most`` candidates of one question.

    Args:
      candidates: int32 [Q, K], 0 after the last candidate.
      most: largest number of candidates in a prompt.

    Returns:
      int64 [P, 3]: index of the question, index of the first candidate, index after the last candidate.
    """
    ends = [np.linspace(0, size, -(-size // most) + 1).astype(int) for size in (candidates > 0).sum(1)]
    return np.array([(q, *pair) for q, places in enumerate(ends) for pair in itertools.pairwise(places)])


def questions_of(run: Run, dataset: Dataset) -> Questions:
    """The questions of a run's audit. Raises InputError if fewer than two users can be asked."""
    config, same = run.config, alike_items(run.config.llm, dataset)
    lettered = config.llm.mode not in LETTERLESS
    return draw(dataset, config.audit, config.simulator.history_length, lettered, config.seed, same)


def widest_first(widths: np.ndarray) -> np.ndarray:
    """The distinct numbers of candidates, largest first, because the first prompts test the model."""
    return np.unique(widths)[::-1]


def demands(run: Run, dataset: Dataset) -> list[Demand]:
    """The prompts of a run's audit, as input for the cost estimate."""
    questions, prompts = questions_of(run, dataset), []
    table = split_questions(questions.candidates, PROMPT_CANDIDATES)
    widths = table[:, 2] - table[:, 1]
    for width in widest_first(widths):
        rows = table[widths == width]
        few = rows[np.linspace(0, len(rows) - 1, min(NUM_SAMPLED, len(rows))).astype(int)]
        columns = few[:, 1:2] + np.arange(width)
        candidates = questions.candidates[few[:, :1], columns]
        for histories in (questions.histories, questions.exchanged):
            prompts.append(Demand("audit", len(rows), Prompts(histories[few[:, 0]], candidates)))
    return prompts


def ask(
    labeller: Labeller,
    histories: np.ndarray,
    candidates: np.ndarray,
    most: int,
    advance: Callable[[int], object] = lambda questions: None,
) -> Source:
    """Asks Q questions, in prompts of at most ``most`` candidates, and returns one label per question.

    If a question takes several prompts, its label comes from the prompt with the highest score. If scores do
    not depend on the other candidates, this label equals the label from a single prompt. The label is invalid
    if any of these prompts has an invalid label.

    Args:
      labeller: labeller whose context is already entered.
      histories: int32 [Q, L].
      candidates: int32 [Q, K], 0 after the last candidate.
      most: largest number of candidates in a prompt.
      advance: called after every request; the argument is the number of answered questions, maybe a fraction.

    Returns:
      Labels and scores; the scores after the last candidate of a question are NaN.
    """
    prompts = split_questions(candidates, most)
    scores = np.full(candidates.shape, np.nan, np.float32)
    choice = np.zeros(len(candidates), np.int32)
    best = np.full(len(candidates), -np.inf)
    widths = prompts[:, 2] - prompts[:, 1]
    for width in widest_first(widths):
        rows = prompts[widths == width]
        for part in np.split(rows, range(AT_ONCE, len(rows), AT_ONCE)):
            columns = part[:, 1:2] + np.arange(width)
            labels = labeller.label(Prompts(histories[part[:, 0]], candidates[part[:, :1], columns]))
            scores[part[:, :1], columns] = labels.scores
            for (q, begin, _), taken, row in zip(part, labels.choice, labels.scores, strict=True):
                if taken < 0 or choice[q] < 0:
                    choice[q] = -1
                elif row.max() > best[q]:
                    best[q], choice[q] = row.max(), taken + begin if taken else 0
            advance(len(part) / len(prompts) * len(candidates))
    return Source(choice, scores)


def baselines(dataset: Dataset, questions: Questions) -> dict[str, Source]:
    """The sources that need no LLM: popularity and, if it is known, the true user model."""
    sources = {POPULARITY: auditor.popularity_source(dataset.popularity(), questions.candidates)}
    if dataset.truth is not None:
        logits = like_logit(dataset.truth, questions.user[:, None], questions.candidates)
        sources[TRUTH] = Source.of(np.asarray(logits), questions.candidates)
    return sources


def audit(run: Run) -> None:
    """Tests whether labels prefer the item that the user really took; writes ``audit/``."""
    config = run.config
    if not config.audit.enabled:
        return tqdm.write("audit: off (--config.audit.enabled)")
    fits.require(run, "audit")
    began = time.perf_counter()
    if run.is_done("audit", recipes.fingerprint(run, "audit")):
        return tqdm.write("audit: done before, kept")
    run.begin("audit")
    dataset = load_dataset(run.folder / "data")
    questions, lettered = questions_of(run, dataset), config.llm.mode not in LETTERLESS
    sources, histories = {}, {LLM: questions.histories, SHUFFLED: questions.exchanged}
    data, labels = run.folder / "data", run.folder / "labels"
    with LLMLabeller(config.llm, data, labels, label_seed(config), on_caution=warn) as labeller:
        form = "{l_bar}{bar}| {n:.0f}/{total} [{elapsed}<{remaining}]"
        with tqdm(total=2 * len(questions.user), desc="audit", bar_format=form) as bar:
            for name, shown in histories.items():
                sources[name] = ask(labeller, shown, questions.candidates, PROMPT_CANDIDATES, bar.update)
        labeller.require_valid()
        manifest = labeller.manifest()
    sources |= baselines(dataset, questions)
    rows = auditor.compare(questions, sources, dataset.popularity())
    letters = manifest.get("order_bias") or {}
    if lettered and letters.get("answers"):
        rows.append(auditor.letter_bias(letters["shares"], letters["answers"]))
    _save(run, dataset.name, questions, sources, rows, manifest | recipes.stamp(run, "audit", began))
    table = {(row.source, row.metric): row for row in rows}
    gain = table[LLM, "auc_minus_popularity"]
    tqdm.write(
        f"audit: AUC over {len(questions.user):,} users {table[LLM, 'auc'].value:.3f}, after another user's "
        f"history {table[SHUFFLED, 'auc'].value:.3f}, popularity {table[POPULARITY, 'auc'].value:.3f}; "
        f"llm - popularity {gain.value:+.3f} [{gain.ci_low:+.3f}, {gain.ci_high:+.3f}]"
    )
    tqdm.write(f"audit: labels {quality.line(manifest)}")
    for caution in quality.cautions(manifest):
        warn(caution)


def _save(
    run: Run,
    world: str,
    questions: Questions,
    sources: dict[str, Source],
    rows: list[auditor.Row],
    manifest: dict[str, object],
) -> None:
    """Writes questions, sources, calibration curves and the table."""
    arrays = dict(questions._asdict())
    for name, source in sources.items():
        curve = auditor.calibration(questions, source).curve()
        arrays |= {f"{name}/{part}": array for part, array in {**source._asdict(), **curve}.items()}
    table = pd.DataFrame(rows, columns=auditor.Row._fields)
    table.insert(0, "world", world)
    with store.replacing(run.folder / "audit") as folder:
        store.write_arrays(folder / "arrays.npz", arrays)
        store.write_text(folder / AUDIT_TABLE, table.to_csv(index=False, float_format="%.6g"))
        store.seal(folder, manifest)
