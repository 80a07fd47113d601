"""Commands whose settings differ from those of the run folder.

Each part of the `finished` run took 20 s. A command may replace one part without a flag. To replace four
parts, which took over a minute, it needs --redo.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import call
from small_run import SETTINGS

from ialp_jax import store

Change = Callable[[Path], object]
WOULD = "HERE/run: these settings would replace finished work: "
ASK = "; give another --workdir, or --redo to replace it"
OTHER = "was made with other settings"


def untouched(run: Path) -> None:
    """Damages nothing."""


def manifest(part: str, **changes: object) -> Change:
    """Changes entries in the manifest of a part. The value None removes an entry."""

    def change(run: Path) -> None:
        entries = store.read_manifest(run / part) | changes
        store.write_json(run / part / store.MANIFEST, {n: v for n, v in entries.items() if v is not None})

    return change


def took(part: str, seconds: float) -> Change:
    return manifest(part, seconds=seconds)


def other_choice(run: Path) -> None:
    """Replaces the labels by different ones with the same settings, as if the label stage had run again."""
    entries, arrays = store.read_manifest(run / "labels"), store.read_arrays(run / "labels/arrays.npz")
    store.write_arrays(run / "labels/arrays.npz", arrays | {"choice": np.zeros_like(arrays["choice"])})
    store.seal(run / "labels", entries)


# case -> (change of the run folder, arguments, expected message).
CASES: dict[str, tuple[Change, tuple[str, ...], str]] = {
    "seed": (
        untouched,
        ("--config.seed=1",),
        f"{WOULD}labels (seed: 0 -> 1; 20 s), pretrain/ialp (seed: 0 -> 1; 20 s), "
        "adapt/random (seed: 0 -> 1; 20 s), adapt/a2c (seed: 0 -> 1; 20 s), "
        f"adapt/ialp (seed: 0 -> 1; 20 s){ASK}",
    ),
    "other data, and so all that was made from them": (
        untouched,
        ("--config.data.demo.users=90",),
        f"{WOULD}data (data.demo.users: 80 -> 90; ...), simulator (made from data; 20 s), labels (made from "
        f"data, simulator; 20 s), pretrain/ialp (made from data, simulator, labels; 20 s), ...{ASK}",
    ),
    "one agent that took long": (
        took("adapt/a2c", 61.4),
        ("--config.agents.a2c.learning_rate=0.5",),
        f"{WOULD}adapt/a2c (agents.a2c.learning_rate: ... -> 0.5; 61 s){ASK}",
    ),
    "one agent that took long, stage by stage": (
        took("adapt/a2c", 4000),
        ("--config.agents.a2c.learning_rate=0.5", "--stage=adapt"),
        f"{WOULD}adapt/a2c (agents.a2c.learning_rate: ... -> 0.5; 4,000 s){ASK}",
    ),
    "other measurements beside another setting": (
        took("adapt/a2c", 61),
        ("--config.agents.a2c.learning_rate=0.5", "--config.evaluation.episodes=5"),
        f"{WOULD}adapt/a2c (agents.a2c.learning_rate: ... -> 0.5, evaluation.episodes: ... -> 5; 61 s){ASK}",
    ),
    "labels that cost much in an earlier process": (
        took("labels", 7200),
        ("--config.labelling.rounds=3", "--stage=label"),
        f"{WOULD}labels (labelling.rounds: 2 -> 3; 7,200 s){ASK}",
    ),
    "a policy made from labels that changed": (
        lambda run: (other_choice(run), took("pretrain/ialp", 90)(run)),
        ("--stage=pretrain",),
        f"{WOULD}pretrain/ialp (made from other files of labels; 90 s){ASK}",
    ),
    "a folder of an earlier version": (
        manifest("labels", made_from=None, seconds=None, provenance=None),
        ("--stage=label",),
        f"{WOULD}labels (made by an earlier version; its time is not known){ASK}",
    ),
    "records that are none": (
        manifest("labels", made_from={"settings": 5}, seconds="long", provenance=[1]),
        ("--stage=label",),
        f"{WOULD}labels (made by an earlier version; its time is not known){ASK}",
    ),
    "a long story": (
        untouched,
        (f"--config.data.root={'x' * 5000}", "--config.data.demo.users=90"),
        f"{WOULD}data (data.demo.users: 80 -> 90, data.root: '' -> '{'x' * 155} ...; ...), ...{ASK}",
    ),
    # stages whose inputs are stale
    "pretrain from other labels": (
        untouched,
        ("--config.labelling.rounds=3", "--stage=pretrain"),
        f"HERE/run/labels {OTHER} (labelling.rounds: 2 -> 3); run --stage=label first",
    ),
    "adapt from other labels": (
        untouched,
        ("--config.labelling.rounds=3", "--stage=adapt"),
        f"HERE/run/labels {OTHER} (labelling.rounds: 2 -> 3); run --stage=label first",
    ),
    "adapt from another pre-training": (
        untouched,
        ("--config.pretrain.ialp_updates=7", "--stage=adapt"),
        f"HERE/run/pretrain/ialp {OTHER} (pretrain.ialp_updates: 0 -> 7); run --stage=pretrain first",
    ),
    "label users of another fit": (
        untouched,
        ("--config.simulator.user_model.seed=4", "--config.labelling.rounds=3", "--stage=label"),
        f"HERE/run/simulator {OTHER} (simulator.user_model.seed: 0 -> 4); run --stage=simulate first",
    ),
    "simulate from other data": (
        untouched,
        ("--config.data.demo.items=70", "--stage=simulate"),
        f"HERE/run/data {OTHER} (data.demo.items: 60 -> 70); run --stage=data first",
    ),
    "report of another pre-training": (
        untouched,
        ("--config.pretrain.ialp_updates=7", "--stage=report"),
        f"HERE/run/pretrain/ialp {OTHER} (pretrain.ialp_updates: 0 -> 7); run --stage=pretrain first",
    ),
    "report of other labels": (
        other_choice,
        ("--stage=report",),
        "HERE/run/pretrain/ialp was made from other files of labels; run --stage=pretrain first",
    ),
    "report of another measurement": (
        untouched,
        ("--config.evaluation.episodes=5", "--stage=report"),
        f"HERE/run/simulator {OTHER} (evaluation.episodes: 32 -> 5); run --stage=simulate first",
    ),
    "report of references in other sessions": (
        manifest("simulator", references={"evaluation.ends": 64, "evaluation.episodes": 3}),
        ("--stage=report",),
        f"HERE/run/simulator {OTHER} (evaluation.episodes: 3 -> ...); run --stage=simulate first",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_stale_parts_are_named_and_not_deleted(refused, run, case):
    change, arguments, message = CASES[case]
    change(run)
    refused(message, "main", *SETTINGS, "--workdir=HERE/run", *arguments)
    assert not (run / "report").exists()


def test_the_flag_of_earlier_versions_still_works(run, capfd):
    took("adapt/a2c", 90)(run)
    results = []
    for flag in ("--overwrite", "--redo"):
        ended = call(
            capfd,
            "main",
            *SETTINGS,
            f"--workdir={run}",
            "--config.agents.a2c.learning_rate=0.5",
            "--config.adapt.agents=random",  # does not run a2c
            "--stage=adapt",
            flag,
        )
        results.append((ended.code, ended.out.splitlines()[1]))
    assert results == [(0, "adapt random: done before, kept")] * 2
