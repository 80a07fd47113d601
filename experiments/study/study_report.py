"""Writes the report of a study from its ``config.json`` and ``curves.csv``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.reporting.report import console_table
from experiments.study import study_figures, study_markdown
from experiments.study.study_results import read_results
from experiments.study.study_tables import RIVAL, across_table, normalised_scores, summary_table
from experiments.study.study_tuning import tuned_markdown
from experiments.study.verdicts import claims, verdicts_table
from ialp_jax import store
from ialp_jax.errors import InputError


def write_report(folder: Path, readmes: Sequence[Path] = ()) -> str:
    """Writes tables and figures into the folder of the results.

    The files are ``summary.csv``, ``across.csv``, ``verdicts.csv``, ``<world>.svg``, ``across.svg`` (only if
    random and oracle ran), ``table.md``, ``tuned.md`` and ``verdicts.md``.

    Args:
      folder: folder of the results.
      readmes: Markdown files, in which the report replaces the blocks between the markers
        ``study:headline``, ``study:overview``, ``study:table``, ``study:tuned`` and ``study:verdicts``.

    Returns:
      The tables for the console.

    Raises:
      InputError: there are no results, a file is broken, or a Markdown file has no markers.
    """
    results = read_results(folder)
    summary, across = summary_table(results.pairs), across_table(results.pairs)
    tested = {world: claims(world, agents) for world, agents in results.pairs.items()}
    for name, table in (("summary", summary), ("across", across), ("verdicts", verdicts_table(tested))):
        store.write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    for world, agents in results.pairs.items():
        figure = study_figures.world_figure(world, agents)
        store.write_text(folder / f"{world}.svg", study_figures.svg(figure))
    if scores := normalised_scores(results.pairs, "final_return"):
        figure = study_figures.across_figure(across, scores, RIVAL)
        store.write_text(folder / "across.svg", study_figures.svg(figure))
    verdicts = study_markdown.verdicts_markdown(tested)
    store.write_text(folder / "table.md", study_markdown.results_markdown(results, summary))
    tuned = tuned_markdown(results, folder)
    store.write_text(folder / "tuned.md", tuned)
    store.write_text(folder / "verdicts.md", verdicts)
    for readme in readmes:
        prefix = os.path.relpath(folder.resolve(), readme.resolve().parent).replace(os.sep, "/") + "/"
        blocks = {
            "headline": study_markdown.headline_markdown(results, summary),
            "overview": study_markdown.overview_markdown(results, summary),
            "table": study_markdown.results_markdown(results, summary, prefix),
            "tuned": tuned,
            "verdicts": verdicts,
        }
        _update_readme(readme, blocks)
    return f"{console_table(summary)}\n\n{verdicts}"


def _update_readme(readme: Path, blocks: Mapping[str, str]) -> None:
    """Replaces the blocks of a Markdown file; keeps line ends and file mode, and follows a symbolic link."""
    try:
        text, mode = readme.read_bytes().decode("utf-8"), readme.stat().st_mode
    except OSError as error:
        raise InputError(f"--config.readme={readme}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"--config.readme={readme}: not UTF-8 text; convert it") from None
    line_end = "\r\n" if "\r\n" in text else "\n"
    blocks = {name: block.replace("\n", line_end) for name, block in blocks.items()}
    text = study_markdown.replace_blocks(text, blocks, f"--config.readme={readme}")
    store.write_text(readme.resolve(), text)
    readme.chmod(mode)
