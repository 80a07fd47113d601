"""The data stage reads raw files; the simulate stage fits the simulated users."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from experiments.make_agent import reference_agents
from experiments.run import Run
from experiments.stages import fits, recipes
from experiments.stages.common import root_key, say
from ialp_jax import store
from ialp_jax.agents.registry import REFERENCES
from ialp_jax.data import load
from ialp_jax.data.files import load_dataset, save_dataset
from ialp_jax.errors import InputError
from ialp_jax.evaluation.references import reference_returns
from ialp_jax.evaluation.sanity import world_checks
from ialp_jax.keys import stream
from ialp_jax.simulator.world import build
from ialp_jax.types import SPLITS, Dataset
from ialp_jax.users.evaluation_model import fit_models, from_arrays, to_arrays


def data(run: Run) -> None:
    """Reads raw files, or generates a world; writes ``data/``."""
    if run.is_done("data", recipes.fingerprint(run, "data")):
        return say("data: done before, kept")
    began, folder = time.perf_counter(), run.begin("data")
    dataset = load(run.config.data)
    check_sizes(run, dataset)
    sizes = {name: int((dataset.split == number).sum()) for number, name in enumerate(SPLITS)}
    stamp = recipes.stamp(run, "data", began)
    save_dataset(folder, dataset, {**stamp, "dropped": dataset.dropped, "users": sizes})
    dropped = ", ".join(f"{count:,} {what}" for what, count in dataset.dropped.items() if count)
    notes = "".join(f"; {count:,} {what}" for what, count in dataset.notes.items())
    say(
        f"data: {dataset.name}, {dataset.num_users:,} users, {dataset.catalogue.num_items:,} items, "
        f"{len(dataset.histories.items):,} likes; dropped: {dropped or 'nothing'}{notes}"
    )


def check_sizes(run: Run, dataset: Dataset) -> None:
    """Raises InputError if the catalogue is too small for the settings."""
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
    """Fits and validates the user model, and runs the reference policies; writes ``simulator/``.

    If only settings of the simulated sessions have changed, the stage keeps the fitted user model.
    """
    fits.require(run, "simulator")
    fitted = run.is_done("simulator", recipes.fingerprint(run, "simulator"))
    if fitted and fits.references_fit(run):
        return say("simulate: done before, kept")
    began, home = time.perf_counter(), run.begin("simulator")
    dataset = load_dataset(run.folder / "data")
    if fitted:
        arrays, validation, facts = _read_fit(run)
        say("simulate: the user model is kept, the reference policies play again")
    else:
        arrays, validation, facts = _fit(run, dataset)
    world = build(dataset, from_arrays(arrays)[0], run.config.simulator)
    references = reference_agents(world.params, dataset.popularity())
    returns = reference_returns(
        world, references, stream(root_key(run), "references"), run.config.evaluation.at_ends
    )
    table = [(dataset.name, metric, value) for metric, value in {**facts, **returns}.items()]
    text = pd.DataFrame(table, columns=["world", "metric", "value"]).to_csv(index=False)
    with store.replacing(home) as folder:
        store.write_arrays(folder / "arrays.npz", arrays)
        store.write_arrays(folder / "validation.npz", validation)
        store.write_text(folder / "worlds.csv", text)
        store.seal(folder, recipes.stamp(run, "simulator", began))
    _tell(facts, returns)


Fit = tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, float]]  # models, validation, facts


def _fit(run: Run, dataset: Dataset) -> Fit:
    """Fits the user models."""
    fitted, second = fit_models(dataset, run.config.simulator.user_model, run.config.simulator.test_model)
    facts = dict(fitted.metrics)
    if second is not None:
        facts |= {f"test_model_{name}": second.metrics[name] for name in ("auc", "ece")}
    return to_arrays(fitted.model, second and second.model), fitted.arrays, facts


def _read_fit(run: Run) -> Fit:
    """Reads the user models that an earlier command fitted, without the returns of reference policies."""
    folder = run.folder / "simulator"
    table = pd.read_csv(folder / "worlds.csv", float_precision="round_trip")
    facts = dict(zip(table["metric"], table["value"], strict=True))
    played = tuple(f"{name}_{what}" for name in REFERENCES for what in ("return", "length", "above"))
    facts = {name: value for name, value in facts.items() if not name.startswith(played)}
    return store.load(folder)[0], store.read_arrays(folder / "validation.npz"), facts


def _tell(facts: dict[str, float], returns: dict[str, float]) -> None:
    """Prints the quality of the user model, the returns of the reference policies, and the failed checks."""
    ratio = facts.get("density_ratio")  # ratings have no density of likes
    level = f"; simulated likes are {ratio:.3g} times as dense as the logged likes" if ratio else ""
    say(
        f"simulate: AUC {facts['auc']:.3f} (popularity {facts['popularity_auc']:.3f}); return of random "
        f"{returns['random_return']:.2f}, popular {returns['popular_return']:.2f}, "
        f"oracle {returns['oracle_return']:.2f}{level}"
    )
    for check in world_checks(returns):
        if not check.holds:
            say(f"simulate: doubtful world, it fails that {check.demand} ({check.figures})")
