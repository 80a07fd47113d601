"""The data and simulate stages: from raw files to simulated users."""

from __future__ import annotations

import dataclasses

import pandas as pd

from experiments.roster import (
    reference_agents,
)
from experiments.run import KEY, Run, settings
from experiments.stages.common import root_key, say
from ialp_jax import store
from ialp_jax.data import load
from ialp_jax.data.files import load_dataset, save_dataset
from ialp_jax.errors import InputError
from ialp_jax.evaluation.references import reference_returns
from ialp_jax.evaluation.sanity import world_checks
from ialp_jax.keys import stream
from ialp_jax.simulator.twice import fit_models, to_arrays
from ialp_jax.simulator.world import build
from ialp_jax.types import SPLITS, Dataset


def data(run: Run) -> None:
    """Raw files, or a generator, to ``data/``."""
    key = run.key(dataclasses.asdict(run.config.data))
    if run.is_done("data", key):
        return say("data: done before, kept")
    folder = run.begin("data")
    dataset = load(run.config.data)
    check_sizes(run, dataset)
    sizes = {name: int((dataset.split == number).sum()) for number, name in enumerate(SPLITS)}
    save_dataset(folder, dataset, {KEY: key, "dropped": dataset.dropped, "users": sizes})
    dropped = ", ".join(f"{count:,} {what}" for what, count in dataset.dropped.items() if count)
    notes = "".join(f"; {count:,} {what}" for what, count in dataset.notes.items())
    say(
        f"data: {dataset.name}, {dataset.num_users:,} users, {dataset.catalogue.num_items:,} items, "
        f"{len(dataset.histories.items):,} likes; dropped: {dropped or 'nothing'}{notes}"
    )


def check_sizes(run: Run, dataset: Dataset) -> None:
    """Raises InputError where the catalogue is too small for the settings."""
    num_items, config = dataset.catalogue.num_items, run.config
    if config.labelling.candidates > num_items:
        raise InputError(
            f"--config.labelling.candidates={config.labelling.candidates} exceeds the {num_items} items"
        )
    most = config.simulator.horizon + config.simulator.history_length
    if most + config.labelling.candidates > num_items:
        raise InputError(
            f"--config.simulator.horizon={config.simulator.horizon}: a session could show all "
            f"{num_items} items; horizon + history_length + labelling.candidates must not exceed them"
        )


def simulate(run: Run) -> None:
    """Fits and validates the user model, to ``simulator/``."""
    config = run.config
    key = run.key([settings(config)["simulator"], config.seed, config.evaluation.episodes], "data")
    if run.is_done("simulator", key):
        return say("simulate: done before, kept")
    home = run.begin("simulator")
    dataset = load_dataset(run.folder / "data")
    fitted, second = fit_models(dataset, config.simulator)
    metrics = dict(fitted.metrics)
    if second is not None:
        metrics |= {f"test_model_{name}": second.metrics[name] for name in ("auc", "ece")}
    world = build(dataset, fitted.model, config.simulator)
    references = reference_agents(world.params, dataset.popularity())
    returns = reference_returns(
        world, references, stream(root_key(run), "references"), config.evaluation.episodes
    )
    table = [(dataset.name, metric, value) for metric, value in {**metrics, **returns}.items()]
    text = pd.DataFrame(table, columns=["world", "metric", "value"]).to_csv(index=False)
    with store.replacing(home) as folder:
        store.write_arrays(folder / "arrays.npz", to_arrays(fitted.model, second and second.model))
        store.write_arrays(folder / "validation.npz", fitted.arrays)
        store.write_text(folder / "worlds.csv", text)
        store.seal(folder, {KEY: key})
    say(
        f"simulate: AUC {metrics['auc']:.3f} (popularity {metrics['popularity_auc']:.3f}); return of random "
        f"{returns['random_return']:.2f}, popular {returns['popular_return']:.2f}, "
        f"oracle {returns['oracle_return']:.2f}"
    )
    for check in world_checks(returns):
        if not check.holds:
            say(f"simulate: doubtful world, it fails that {check.demand} ({check.figures})")
