"""Shows a run's labels as text, and exports them as a table. numpy only."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ialp_jax import store
from ialp_jax.claim import check_replaceable
from ialp_jax.data.files import load_dataset
from ialp_jax.errors import InputError, one_line
from ialp_jax.labelling import label_files, quality
from ialp_jax.labelling.label_store import LabelStore
from ialp_jax.llm.modes.answers import CAUSES, Answers
from ialp_jax.llm.prompting import chat, letters, orders, templates
from ialp_jax.llm.prompting.templates import Template
from ialp_jax.types import Prompts

PLACE = ("round", "session")
START = ("window", "user")  # where the session started; labels of earlier versions do not say it
ANSWER = ("history", "answer", "cause", "replies", "label")
CANDIDATE = ("candidate", "item", "title", "score", "chosen")


class RunLabels(NamedTuple):
    """A run's labels, and the titles and template of their prompts.

    Attributes:
      folder: folder of the labels.
      arrays: arrays with P rows, as the label stage saves them.
      manifest: manifest of the folder.
      titles: N + 1 titles as the prompts show them.
      template: text around the titles.
    """

    folder: Path
    arrays: dict[str, np.ndarray]
    manifest: dict[str, Any]
    titles: list[str]
    template: Template

    def prompts(self, rows: np.ndarray) -> Prompts:
        """Returns the prompts in the given rows, int [n]."""
        return Prompts(self.arrays["histories"][rows], self.arrays["candidates"][rows])


def read_labels(folder: Path, data: Path) -> RunLabels:
    """Reads and verifies labels, and the titles of their catalogue.

    Raises:
      InputError: the labels are unfinished, altered or made for another catalogue, or the data set is
        missing.
    """
    if store.read_manifest(folder) is None:
        raise InputError(
            f"{folder}: these labels are not finished, they have no {store.MANIFEST}; "
            "run --stage=label, or inspect the label store that they use"
        )
    arrays, manifest = store.load(folder)
    try:
        template = Template(**manifest["template"])
        faults = [name for name, holds, _ in templates.rules(template) if not holds]
    except (KeyError, TypeError, AttributeError):
        faults = ["template"]
    if faults:
        raise InputError(f"{folder / store.MANIFEST}: names no template; the label stage did not write it")
    if fault := quality.broken(manifest):
        raise InputError(
            f"{folder / store.MANIFEST}: its {fault} is {one_line(repr(manifest[fault]))[:60]}; "
            "the label stage did not write it"
        )
    if store.read_manifest(data) is None:
        raise InputError(f"{data}: no data set there; give the data set of these labels by --data=FOLDER")
    label_files.check_labels(folder, arrays)
    dataset = load_dataset(data)
    label_files.check_catalogue(folder, arrays, manifest, data, dataset)
    shown = templates.shown(dataset, template).catalogue.titles
    titles = [templates.sanitise(title, template.max_title) for title in shown]
    return RunLabels(folder, arrays, manifest, titles, template)


def head(labels: RunLabels) -> Iterator[str]:
    """Yields lines of text: model, settings and counts of the labels."""
    facts = labels.manifest
    yield f"labels      {labels.folder}"
    for name in ("world", "items"):
        if name in facts.get("catalogue", {}):
            yield f"{name:<11} {_words(facts['catalogue'][name])}"
    yield f"template    {labels.template.name}, version {labels.template.version}"
    names = ("source", "calibration", "model", "revision", "adapter", "fingerprint", "mode", "normalise")
    costs = ("dtype", "device", "store", "context", "asked", "taken", "tokens", "seconds")
    for name in (*names, "none_rule", "threshold", *costs):
        if facts.get(name) not in (None, ""):
            yield f"{name:<11} {_words(facts[name])}"
    yield f"prompts     {_counts(labels)}"
    for name, value in (*quality.bias(facts), *quality.calibration(facts)):
        yield f"{name}: {value}"
    for caution in quality.cautions(facts):
        yield f"warning: {caution}"


def _counts(labels: RunLabels) -> str:
    choice, invalid = labels.arrays["choice"], labels.manifest.get("counts", {}).get("invalid", {})
    kinds = {"an item": choice > 0, "none": choice == 0, "invalid": choice < 0}
    shares = [f"{name} {rows.sum():,} ({rows.mean():.1%})" for name, rows in kinds.items() if len(choice)]
    causes = [f"{name} {count:,}" for name, count in invalid.items() if count]
    return f"{len(choice):,}; " + ", ".join(shares) + (" by cause: " + ", ".join(causes) if causes else "")


def _words(value: Any) -> str:
    return {float: "{:,.6g}", int: "{:,}"}.get(type(value), "{}").format(value)


def stored_answers(labels: RunLabels, rows: np.ndarray) -> list[tuple[Answers, int] | None]:
    """Returns the model's answers before the rule of "none", for prompts that the store still has."""
    folder = Path(labels.manifest.get("store") or labels.folder / label_files.SHARDS).expanduser()
    context = labels.manifest.get("context", "")
    answers = LabelStore(
        folder, labels.folder / label_files.PLANS, context, labels.titles, labels.template, shard_size=1
    )
    return answers.find(labels.prompts(rows))


def _choice_in_words(choice: int, titles: Sequence[str]) -> str:
    return {-1: "invalid", 0: "none"}.get(choice) or f"{choice}, {titles[choice - 1]}"


def _answer(stored: tuple[Answers, int] | None, titles: Sequence[str]) -> tuple[str, str, str]:
    """Returns three texts: the model's answer, its validity (an entry of ``CAUSES``) and the model's replies.

    All are empty if the answer is not stored.
    """
    if stored is None:
        return "", "", ""
    block, row = stored
    replies = " | ".join(one_line(reply) for reply in block.replies[row].tolist() if reply)
    return _choice_in_words(int(block.choice[row]), titles), CAUSES[int(block.cause[row])], replies


def first_order(labels: RunLabels, row: int) -> np.ndarray:
    """Returns the candidates (0..K-1) in the first order in which the model saw them, int64 [K]."""
    prompts = labels.prompts(np.array([row]))
    digests = orders.title_digests([labels.template.quoted(title) for title in labels.titles])
    seeds = orders.seeds(digests, prompts)
    return orders.draw(seeds, prompts.candidates.shape[1], labels.manifest.get("permutations", 1))[0, 0]


def written(answers: Answers) -> list[str]:
    """Returns a line for each reply to n prompts: its text and its letter. Empty for ``likelihood``."""
    lines = []
    for line, reply in zip(answers.places.ravel().tolist(), answers.replies.ravel().tolist(), strict=True):
        if line < 0 or reply:
            text = repr(one_line(reply)) if reply else "'' (empty, or not stored by an older version)"
            lines.append(f"{text} -> {letters.LETTERS[line - 1] if line > 0 else CAUSES[-line]}")
        elif line > 0:
            lines.append(f"'' (not stored by an older version) -> {letters.LETTERS[line - 1]}")
    return lines


def _replies(labels: RunLabels, row: int, stored: tuple[Answers, int]) -> Iterator[str]:
    """Yields the probabilities of the letters (``choice``), or each reply of the model (``generate``)."""
    block, place = stored
    if labels.manifest.get("mode") == "choice":
        scores = [*block.scores[place][first_order(labels, row)], block.none[place]]
        shares = ", ".join(f"{letters.LETTERS[k]} {np.exp(score):.3f}" for k, score in enumerate(scores))
        several = labels.manifest.get("permutations", 1) > 1
        yield f"  letters: {shares}{' (means over all orders)' if several else ''}"
        named = "".join(
            letters.LETTERS[line - 1] if line > 0 else "-" for line in block.places[place].tolist()
        )
        if several:
            yield f"  best letters, order by order: {named}"
    if labels.manifest.get("mode") == "generate":
        yield from (
            f"  reply:   {reply}" for reply in written(Answers(*(part[place, None] for part in block)))
        )


def prompt_text(labels: RunLabels, row: int) -> str:
    """Returns the text of a prompt.

    Candidates with letters are in the order of the first prompt that the model saw.
    """
    history, candidates = labels.arrays["histories"][row], labels.arrays["candidates"][row]
    if labels.manifest.get("mode", "likelihood") == "likelihood":
        return templates.render(labels.template, labels.titles, history)
    order = first_order(labels, row)
    parts = labels.manifest.get("wrapper")
    wrapper = chat.Wrapper(*parts) if parts else None
    return letters.render(labels.template, labels.titles, history, candidates[order], wrapper)


def show(labels: RunLabels, row: int, stored: tuple[Answers, int] | None) -> Iterator[str]:
    """Yields lines of text: a prompt, its candidates with scores, the answer and the label."""
    arrays = labels.arrays
    place = ", ".join(f"{name} {arrays[name][row]}" for name in (*PLACE, *START) if name in arrays)
    yield f"prompt {row}{f' ({place})' if place else ''}"
    yield from (f"  | {line}" for line in prompt_text(labels, row).splitlines() or ["(no history)"])
    titles = [labels.titles[item] for item in arrays["candidates"][row]]
    choice = int(arrays["choice"][row])
    for k, (title, score) in enumerate(zip(titles, arrays["scores"][row], strict=True), start=1):
        yield f"  {'*' if k == choice else ' '} {k:>3} {score:>10.4g}  {title}"
    answer, cause, _ = _answer(stored, titles)
    if answer:
        yield from _replies(labels, row, stored)
        yield f"  answer: {answer}{'' if cause == CAUSES[0] else f' ({cause})'}"
    yield f"  label:  {_choice_in_words(choice, titles)}"


def export(labels: RunLabels, rows: np.ndarray, path: Path) -> None:
    """Writes a CSV file with a row for each candidate of each prompt. Raises InputError if that fails."""
    arrays, columns = labels.arrays, ["prompt", *PLACE, *ANSWER, *CANDIDATE]
    check_replaceable(path, ",".join(columns) + "\r\n", "--export")
    file = io.StringIO(newline="")
    table = csv.writer(file)
    table.writerow(columns)
    for row, stored in zip(rows, stored_answers(labels, rows), strict=True):
        titles = [labels.titles[item] for item in arrays["candidates"][row]]
        history = " | ".join(labels.titles[item] for item in arrays["histories"][row] if item)
        choice = int(arrays["choice"][row])
        place = [arrays[name][row] if name in arrays else "" for name in PLACE]
        common = [row, *place, history, *_answer(stored, titles), _choice_in_words(choice, titles)]
        candidates = zip(arrays["candidates"][row], titles, arrays["scores"][row], strict=True)
        for k, (item, title, score) in enumerate(candidates, start=1):
            table.writerow([*common, k, item, title, score, int(k == choice)])
    try:
        path.parent.stat()  # fails if the folder is missing, because its name is probably mistyped.
        store.write_text(path.resolve(), file.getvalue())  # writes to the target of a symbolic link
    except OSError as error:
        raise InputError(f"--export={path}: cannot be written ({error.strerror})") from None
