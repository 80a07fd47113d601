"""Shows labels as text: ``python -m ialp_jax.labelling.inspect LABELS``. Needs neither torch nor JAX."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ialp_jax import console, store
from ialp_jax.errors import InputError, expanded, one_line
from ialp_jax.labelling import label_files, label_text, shards

SAMPLES = 5  # number of replies that are shown for each context of a store


def select(labels: label_text.RunLabels, args: argparse.Namespace) -> np.ndarray:
    """Selects the rows that match all filters of the command line, int64, in ascending order."""
    arrays = labels.arrays
    keep = np.ones(len(arrays["choice"]), bool)
    if args.round is not None:
        keep &= arrays.get("round", np.zeros(len(keep), int)) == args.round
    if args.invalid or args.none:
        keep &= ((arrays["choice"] < 0) & args.invalid) | ((arrays["choice"] == 0) & args.none)
    if args.item:
        part = args.item.casefold()
        items = [item for item, title in enumerate(labels.titles) if item and part in title.casefold()]
        keep &= np.isin(arrays["histories"], items).any(1) | np.isin(arrays["candidates"], items).any(1)
    return np.flatnonzero(keep)


def list_store(folder: Path, verify: bool) -> Iterator[str]:
    """Lists the contexts of a label store, line by line.

    Raises:
      InputError: ``verify`` is set and shards are damaged. The function first yields all lines.
    """
    damaged: list[str] = []
    for context in sorted(path.parent for path in folder.glob(f"*/{shards.CONTEXT}")):
        addresses: set[bytes] = set()
        replies: list[str] = []
        count, before = 0, len(damaged)
        for path in sorted(context.glob("*.npz")):
            try:
                shard = shards.read(path, context.name)
                addresses.update(shard.addresses)
                count += 1
                replies += label_text.written(shard.batch.answers) if len(replies) < SAMPLES else []
            except InputError as error:
                damaged.append(str(error))
        yield f"context {context.name}"
        yield f"  {count:,} shards with {len(addresses):,} different prompts; {len(damaged) - before} damaged"
        yield from (f"  {name}: {value}" for name, value in _context_facts(context))
        yield from (f"  reply: {reply}" for reply in replies[:SAMPLES])
    if verify:
        yield from damaged
        if damaged:
            raise InputError(f"{folder}: {len(damaged)} damaged shards, listed above; you may delete them")
        yield "all shards are intact"


def _context_facts(context: Path) -> list[tuple[str, Any]]:
    """Reads the facts of a context. If its file cannot be used, the only entry is the reason."""
    try:
        content = json.loads((context / shards.CONTEXT).read_text(encoding="utf-8"))
        facts = dict(content.pop("facts"))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return [(shards.CONTEXT, "not readable")]
    if store.fingerprint(facts) != context.name:
        return [(shards.CONTEXT, "altered")]
    facts["template"] = facts.get("template", {}).get("name")
    return [*content.items(), *facts.items()]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {one_line(message)}; see --help\n")


def parser() -> argparse.ArgumentParser:
    """Makes the parser of the command-line arguments."""
    options = _Parser(
        prog="python -m ialp_jax.labelling.inspect",
        description="Shows a run's labels, or the content of a label store.",
        allow_abbrev=False,
    )
    options.add_argument(
        "path", type=Path, metavar="LABELS", help="a run, the labels of a run, or a label store"
    )
    options.add_argument("--round", type=int, metavar="R", help="only prompts of this round, from 0")
    options.add_argument("--number", type=int, default=10, help="how many prompts are shown (default: 10)")
    options.add_argument("--invalid", action="store_true", help="only prompts whose label is invalid")
    options.add_argument(
        "--none", action="store_true", help="only prompts whose label is none (both flags: either)"
    )
    options.add_argument(
        "--item", metavar="TITLE-PART", help="only prompts with a title that contains this text"
    )
    options.add_argument("--export", type=Path, metavar="FILE.csv", help="write all these prompts to a table")
    options.add_argument(
        "--data", type=Path, metavar="FOLDER", help="the run's data, if it is not beside the labels"
    )
    options.add_argument(
        "--verify", action="store_true", help="list damaged shards of a store, and fail if any"
    )
    return options


def report(args: argparse.Namespace) -> Iterator[str]:
    """Yields the lines of the output. Raises InputError if the arguments or files are invalid."""
    path = Path(expanded(str(args.path), "LABELS"))
    for name in ("export", "data"):
        if getattr(args, name):
            setattr(args, name, Path(expanded(str(getattr(args, name)), f"--{name}")))
    if not path.is_dir():
        raise InputError(f"{path}: no such folder")
    if (path / "labels").is_dir():
        path = path / "labels"
    if any(path.glob(f"*/{shards.CONTEXT}")):
        yield from list_store(path, args.verify)
        return
    if not any((path / name).exists() for name in (store.MANIFEST, label_files.PLANS)):
        raise InputError(f"{path}: neither a run's labels nor a label store")
    labels = label_text.read_labels(path, args.data or path.parent / "data")
    yield from label_text.head(labels)
    rows = select(labels, args)
    shown = rows[: max(args.number, 0)]
    for row, stored in zip(shown, label_text.stored_answers(labels, shown), strict=True):
        yield ""
        yield from label_text.show(labels, row, stored)
    yield f"\n{len(shown):,} of {len(rows):,} matching prompts shown"
    if args.export:
        label_text.export(labels, rows, args.export)
        yield f"{len(rows):,} prompts written to {args.export}"


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the report. If an error occurs, prints one line and exits with code 2."""
    args = parser().parse_args(argv)
    try:
        console.show_lines(report(args))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    with console.command():
        main()
