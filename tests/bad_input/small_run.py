"""Makes a finished run folder in a second. Only the data stage runs; files of other stages are made up."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from absl.testing import flagsaver

from experiments import flags
from experiments.make_agent import actor_critic
from experiments.reporting.run_results import VALIDATION
from experiments.run import Run
from experiments.stages import recipes
from experiments.stages.world_stage import data
from ialp_jax import store
from ialp_jax.claim import LABELS, RUN, claim
from ialp_jax.data.files import load_dataset
from ialp_jax.evaluation.metrics import CURVES
from ialp_jax.labelling.label_files import catalogue_facts
from ialp_jax.llm.prompting import templates
from ialp_jax.training.params import save_params
from ialp_jax.users.evaluation_model import to_arrays

SETTINGS = (
    "--config=experiments/configs/smoke.py",
    "--config.data.demo.users=80",
    "--config.data.demo.items=60",
    "--config.labelling.source=popularity",
    "--config.audit.enabled=false",
    "--config.adapt.agents=random,a2c,ialp",
    "--config.adapt.env_steps=1000",
    "--config.adapt.keep=none",  # no states are made up
    "--config.num_seeds=1",
    "--config.network.width=8",
)
# Duration that each stage after the data stage records. Together these stages took more than a minute, so a
# command needs --redo to replace them.
SECONDS = 20.0
ENDS = ("return", "return_ci_low", "return_ci_high", "length")
FACTS = ("users", "items", "interactions", "like_rate", "auc", "popularity_auc", "ece")


def make(folder: Path) -> Path:
    """Writes a finished run folder with `SETTINGS`."""
    with flagsaver.flagsaver(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["main", *SETTINGS])
        flags.parse(sys.argv)
        claim(folder, RUN)
        run = Run.open(folder, flags.CONFIG.value, overwrite=False)
    data(run)
    dataset, config, draw = load_dataset(folder / "data"), run.config, np.random.default_rng(0)
    store.write_arrays(folder / "simulator/arrays.npz", to_arrays(dataset.truth, None))
    store.write_arrays(folder / "simulator/validation.npz", {n: draw.random(10) for n in VALIDATION})
    names = [*FACTS, *(f"{a}_{b}" for a in ("random", "popular", "oracle") for b in ENDS)]
    table = pd.DataFrame([("demo", name, 1.0) for name in names], columns=["world", "metric", "value"])
    store.write_text(folder / "simulator/worlds.csv", table.to_csv(index=False))
    store.seal(folder / "simulator", stamp(run, "simulator"))
    _labels(run, dataset, draw)
    history = np.zeros((1, config.simulator.history_length), np.int32)
    network = actor_critic(config, dataset.catalogue.num_items)
    made = folder / "pretrain/ialp"
    save_params(made / "params", jax.vmap(network.init, (None, 0))(jax.random.key(0), history))
    store.write_arrays(made / "arrays.npz", {"updates": np.arange(3), "return": np.ones((1, 3))})
    store.seal(made, stamp(run, "pretrain/ialp"))
    for name in config.agent_ids():
        curves = {"env_steps": np.array([0, 1000]), **{curve: np.ones((1, 2)) for curve in CURVES}}
        manifest = {**stamp(run, f"adapt/{name}"), "agent": name, "world": "demo"}
        store.save(folder / "adapt" / name, curves, manifest)
    return folder


def stamp(run: Run, part: str) -> dict[str, object]:
    """Returns the manifest entries of a stage that took `SECONDS` seconds."""
    return {**recipes.stamp(run, part, time.perf_counter() - SECONDS), "seconds": SECONDS}


def _labels(run, dataset, draw) -> None:
    """Writes random labels and their manifest."""
    folder, count, items = run.folder / "labels", 120, dataset.catalogue.num_items
    arrays = {
        "histories": draw.integers(1, items, (count, 10), np.int32),
        "candidates": draw.integers(1, items, (count, 5), np.int32),
        "choice": draw.integers(0, 6, count).astype(np.int32),
        "scores": draw.random((count, 5), np.float32),
        "shown": np.zeros((count, 20), np.int32),
        "terminated": np.zeros(count, bool),
        "truncated": np.zeros(count, bool),
        "round": np.repeat(np.arange(2), count // 2),
    }
    template = templates.TEMPLATES["titles"]
    facts = {"catalogue": catalogue_facts(dataset), "template": vars(template)}
    claim(folder, LABELS)
    store.write_arrays(folder / "arrays.npz", arrays)
    store.seal(folder, facts | stamp(run, "labels"))
