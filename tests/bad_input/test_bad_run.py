"""Run folders that were changed, mixed up or partly deleted, and folders that are not runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import call
from small_run import SETTINGS

from ialp_jax import store
from ialp_jax.evaluation import statistics

Damage = Callable[[Path], object]
AGAIN = "delete this file and run its stage again"
NO_JSON = "not readable JSON (...)"
CHANGED = "altered or truncated (sha256 differs); "


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 20)


def put(name: str, content: str | bytes) -> Damage:
    return lambda run: (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def lose(*names: str) -> Damage:
    return lambda run: [
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink() for name in names
    ]


def cut(name: str, *also_lose: str) -> Damage:
    return lambda run: (
        (run / name).write_bytes((run / name).read_bytes()[:-5]),
        lose(*also_lose)(run),
    )


def a_folder(name: str) -> Damage:
    return lambda run: ((run / name).unlink(), (run / name).mkdir())


def sealed(stage: str, change: Damage, *also_lose: str) -> Damage:
    """Changes files of a stage and updates its manifest."""

    def damage(run: Path) -> None:
        manifest = store.read_manifest(run / stage)
        change(run / stage)
        store.seal(run / stage, manifest)
        lose(*also_lose)(run)

    return damage


def arrays(stage: str, *also_lose: str, **changes: Callable[[np.ndarray], np.ndarray] | None) -> Damage:
    """Changes arrays of a stage and updates its manifest."""

    def change(folder: Path) -> None:
        held = store.read_arrays(folder / "arrays.npz")
        held |= {name: new(held[name]) for name, new in changes.items() if new}
        np.savez(folder / "arrays.npz", **{n: a for n, a in held.items() if changes.get(n, 0) is not None})

    return sealed(stage, change, *also_lose)


DATA, LABELS, A2C = "HERE/run/data", "HERE/run/labels", "HERE/run/adapt/a2c"
NO_DATA = f"{DATA}: not a data set (it lacks {{0}}); run the data stage again"
NO_LABELS = f"{LABELS}: not labels: {{0}} is missing or has a wrong form; run --stage=label again"
NO_CURVES = f"{A2C}: not the curves of an agent ({{0}}); run --stage=adapt again"
CASES: dict[str, tuple[Damage, str, str]] = {  # case -> (damage, stage, message)
    # the whole folder
    "settings a list": (put("config.json", "[]"), "all", "HERE/run/config.json: not a JSON object, but []"),
    "settings cut": (cut("config.json"), "all", f"HERE/run/config.json: {NO_JSON}"),
    "settings in UTF-16": (
        put("config.json", "{}".encode("utf-16")),
        "all",
        f"HERE/run/config.json: {NO_JSON}",
    ),
    "settings endless": (put("config.json", "[" * 99_999), "all", f"HERE/run/config.json: {NO_JSON}"),
    "settings a folder": (
        a_folder("config.json"),
        "all",
        "HERE/run/config.json: cannot be read (Is a directory)",
    ),
    # missing stages
    "no data": (lose("data"), "simulate", f"{DATA} is missing; run --stage=data first"),
    "no world": (lose("simulator"), "label", "HERE/run/simulator is missing; run --stage=simulate first"),
    "no labels": (lose("labels"), "pretrain", f"{LABELS} is missing; run --stage=label first"),
    "no policy": (
        lose("pretrain", "adapt/ialp"),
        "adapt",
        "HERE/run/pretrain/ialp is missing; run --stage=pretrain first",
    ),
    "no agent": (
        lose("adapt/a2c"),
        "report",
        f"{A2C} is missing; run --stage=adapt first",
    ),
    "data a file": (
        lambda run: (lose("data")(run), put("data", "x")(run)),
        "all",
        f"{DATA}/manifest.json: cannot be read (Not a directory)",
    ),
    # manifests
    "manifest empty": (put("data/manifest.json", ""), "report", f"{DATA}/manifest.json: {NO_JSON}"),
    "manifest a number": (
        put("data/manifest.json", "5"),
        "all",
        f"{DATA}/manifest.json: not a JSON object, but 5",
    ),
    "manifest without files": (
        put("data/manifest.json", '{"files": []}'),
        "all",
        f"{DATA}/manifest.json: not a manifest (no list of files)",
    ),
    "manifest of nothing": (
        lambda run: (put("data/manifest.json", '{"files": {}}')(run), lose("simulator")(run)),
        "simulate",
        f"{DATA}/manifest.json: does not list arrays.npz; delete {DATA} and run its stage again",
    ),
    "manifest a folder": (
        a_folder("data/manifest.json"),
        "all",
        f"{DATA}/manifest.json: cannot be read (Is a directory)",
    ),
    # changed files
    "data cut": (
        cut("data/arrays.npz"),
        "all",
        f"{DATA}/arrays.npz: altered or truncated (sha256 differs); {AGAIN}",
    ),
    "titles altered": (
        cut("data/catalogue.json"),
        "report",
        f"{DATA}/catalogue.json: altered or truncated (sha256 differs); {AGAIN}",
    ),
    "labels gone": (
        lose("labels/arrays.npz", "pretrain"),
        "pretrain",
        f"{LABELS}/arrays.npz: missing, though manifest.json lists it; run its stage again",
    ),
    "policy altered": (
        cut("pretrain/ialp/params/_METADATA", "adapt/ialp"),
        "adapt",
        "HERE/run/pretrain/ialp/params/_METADATA: " + CHANGED + AGAIN,
    ),
    "curves cut": (
        cut("adapt/a2c/arrays.npz"),
        "report",
        f"{A2C}/arrays.npz: altered or truncated (sha256 differs); {AGAIN}",
    ),
    "validation altered": (
        cut("simulator/validation.npz"),
        "report",
        "HERE/run/simulator/validation.npz: " + CHANGED + AGAIN,
    ),
    # wrong files that match their manifest
    "pickles": (
        arrays("data", "simulator", item=lambda a: np.array([print], object)),
        "simulate",
        f"{DATA}/arrays.npz: not a readable array file (Object arrays cannot be loaded when allow_...)",
    ),
    "no archive": (
        sealed("data", put("arrays.npz", b"PK\x03\x04 no more"), "simulator"),
        "simulate",
        f"{DATA}/arrays.npz: not a readable array file (File is not a zip file)",
    ),
    "items out of range": (
        arrays("data", "simulator", item=lambda a: a + 100),
        "simulate",
        NO_DATA.format("items by number"),
    ),
    "items cut": (
        arrays("data", "simulator", item=lambda a: a[:-1]),
        "simulate",
        NO_DATA.format("items by number"),
    ),
    "users in no order": (
        arrays("data", "simulator", user=lambda a: a[::-1]),
        "simulate",
        NO_DATA.format("users by number, in order"),
    ),
    "histories of others": (
        arrays("data", "simulator", history_items=lambda a: a % 7 + 1),
        "simulate",
        NO_DATA.format("the likes as histories"),
    ),
    "an empty split": (
        arrays("data", "simulator", split=lambda a: a // 4),
        "simulate",
        "demo: no evaluation users; run the data stage again",
    ),
    "no split": (
        arrays("data", "simulator", split=None),
        "simulate",
        f"{DATA}: not a data set ('split'); ...",
    ),
    "titles a number": (
        sealed("data", put("catalogue.json", '{"name": 5, "titles": 5}'), "simulator"),
        "simulate",
        f"{DATA}: not a data set (...); run the data stage again",
    ),
    "a smaller user model": (
        arrays("simulator", "labels", item_bias=lambda a: a[:-1]),
        "label",
        "HERE/run/simulator: its user model is not of HERE/run/data; run --stage=simulate again",
    ),
    "NaN in the user model": (
        arrays("simulator", "labels", user_factors=lambda a: a * np.nan),
        "label",
        "HERE/run/simulator: its user model is not of HERE/run/data; run --stage=simulate again",
    ),
    "no user model": (
        arrays("simulator", "labels", knot_logits=None),
        "label",
        "HERE/run/simulator: lacks 'knot_logits'; run --stage=simulate again",
    ),
    "no choice": (arrays("labels", "pretrain", choice=None), "pretrain", NO_LABELS.format("choice")),
    "choice beyond K": (
        arrays("labels", "pretrain", choice=lambda a: a + 9),
        "pretrain",
        NO_LABELS.format("choice"),
    ),
    "nothing shown": (arrays("labels", "pretrain", shown=None), "pretrain", NO_LABELS.format("shown")),
    "labels of other items": (
        arrays("labels", "pretrain", candidates=lambda a: a + 500),
        "pretrain",
        f"{LABELS}: labels about an item ..., but the catalogue of {DATA} is demo with 53 items ...",
    ),
    "labels of another catalogue": (
        lambda run: (
            store.seal(run / "labels", {"catalogue": {"world": "lfm", "items": 7, "sha256": "0"}}),
            lose("pretrain")(run),
        ),
        "pretrain",
        f"{LABELS}: labels made for another catalogue, lfm with 7 items (sha256 0), ...",
    ),
    "no return": (arrays("adapt/a2c", **{"return": None}), "report", NO_CURVES.format("'return'")),
    "steps of words": (
        arrays("adapt/a2c", env_steps=lambda a: a.astype(str)),
        "report",
        NO_CURVES.format("..."),
    ),
    "steps backwards": (
        arrays("adapt/a2c", env_steps=lambda a: a[::-1]),
        "report",
        NO_CURVES.format("env_steps must be an ascending list of at least one evaluation point"),
    ),
    "one point": (
        arrays("adapt/a2c", length=lambda a: a[:, :1]),
        "report",
        NO_CURVES.format("curves of shapes [(1, 1), (1, 2)] do not fit 2 evaluation points"),
    ),
}


def test_run_used_by_these_tests_is_finished(run, capfd):
    ended = call(capfd, "main", *SETTINGS, f"--workdir={run}")
    assert ended.code == 0
    skipped = [line for line in ended.out.splitlines() if line.endswith("done before, kept")]
    assert len(skipped) == 7
    assert (run / "report" / "index.html").is_file()


@pytest.mark.parametrize("case", CASES)
def test_run_folders(refused, run, case):
    damage, stage, message = CASES[case]
    damage(run)
    refused(message, "main", *SETTINGS, "--workdir=HERE/run", f"--stage={stage}")
    assert not list((run / "report").glob("[!.]*"))
