"""The stages, each from the files of the ones before it to its own. A stage that is done is skipped."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from tqdm import tqdm

from experiments.auditing import audit, audit_key
from experiments.report import console_table, write_report
from experiments.roster import (
    PRETRAINED,
    REPLAYS_LABELS,
    actor_critic,
    make_agent,
    recommender,
    reference_agents,
)
from experiments.run import KEY, Run, llm_settings, settings
from ialp_jax import store
from ialp_jax.agents.base import Params, frozen_state
from ialp_jax.agents.ialp import ialp
from ialp_jax.agents.sasrec import sasrec
from ialp_jax.data import load
from ialp_jax.data.files import load_dataset, save_dataset
from ialp_jax.errors import InputError
from ialp_jax.evaluation.references import reference_returns
from ialp_jax.evaluation.sanity import world_checks
from ialp_jax.keys import stream
from ialp_jax.llm.labels.label_files import check_catalogue
from ialp_jax.llm.service import tuner
from ialp_jax.llm.service.client import LabelWorker
from ialp_jax.simulator.twice import fit_models, from_arrays, to_arrays
from ialp_jax.simulator.world import World, build
from ialp_jax.training import imagine
from ialp_jax.training.adapt import adapt, evaluator
from ialp_jax.training.checkpoint import load_params, save_params
from ialp_jax.training.config import AdaptConfig, PretrainConfig
from ialp_jax.training.groups import groups_of
from ialp_jax.training.label_sources import label_source
from ialp_jax.training.offline import logged_transitions, offline_windows, training_sequences
from ialp_jax.training.pretrain import Pretrainer, offline_loss, supervised_loss
from ialp_jax.training.seeds import over_seeds, seed_keys
from ialp_jax.types import ONLINE, SPLITS, TUNING, Dataset, Key, Transition

Stage = Callable[[Run], None]


def run_stages(run: Run, names: Sequence[str]) -> None:
    """Runs the named stages in order. Raises InputError for what the user can mend."""
    for name in names:
        STAGES[name](run)


def say(message: str) -> None:
    """One line on the console, above any progress bar."""
    tqdm.write(message)


def root_key(run: Run) -> Key:
    """The key from which everything random in JAX derives."""
    return jax.random.key(run.config.seed)


def read_worlds(run: Run) -> tuple[World, World]:
    """The world that the data and simulate stages wrote, and the one in which agents are judged.

    The two differ only where ``simulator.test_model`` asks for it.
    """
    run.key(None, "data", "simulator")
    dataset = load_dataset(run.folder / "data")
    model, test_model = from_arrays(store.load(run.folder / "simulator")[0])
    world = build(dataset, model, run.config.simulator)
    return world, world if test_model is None else build(dataset, test_model, run.config.simulator)


def data(run: Run) -> None:
    """Raw files, or a generator, to ``data/``."""
    key = run.key(dataclasses.asdict(run.config.data))
    if run.is_done("data", key):
        return say("data: done before, kept")
    dataset = load(run.config.data)
    check_sizes(run, dataset)
    sizes = {name: int((dataset.split == number).sum()) for number, name in enumerate(SPLITS)}
    save_dataset(run.folder / "data", dataset, {KEY: key, "dropped": dataset.dropped, "users": sizes})
    dropped = ", ".join(f"{count:,} {what}" for what, count in dataset.dropped.items() if count)
    say(
        f"data: {dataset.name}, {dataset.num_users:,} users, {dataset.catalogue.num_items:,} items, "
        f"{len(dataset.histories.items):,} likes; dropped: {dropped or 'nothing'}"
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
    folder = fresh(run, "simulator")
    store.write_arrays(folder / "arrays.npz", to_arrays(fitted.model, second and second.model))
    store.write_arrays(folder / "validation.npz", fitted.arrays)
    table = [(dataset.name, metric, value) for metric, value in {**metrics, **returns}.items()]
    text = pd.DataFrame(table, columns=["world", "metric", "value"]).to_csv(index=False)
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


def fresh(run: Run, name: str) -> Any:
    """An empty folder of the run."""
    folder = run.folder / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def labelling_settings(run: Run) -> list[Any]:
    """What the labels depend on."""
    tree = settings(run.config)
    learning = {n: v for n, v in tree["pretrain"].items() if n in LEARNING}
    names = ("seed", "simulator", "network", "labelling")
    return [[tree[name] for name in names], llm_settings(run.config), tree["agents"]["ialp"], learning]


LEARNING = ("batch_size", "learning_rate", "target_rate", "updates_per_round", "max_gradient_norm")


def ialp_trainer(run: Run, num_items: int, key: Key, num_seeds: int, final: bool = False) -> Pretrainer:
    """The trainer of iALP while labelling and, ``final``, in pre-training: alike unless settings differ."""
    config, network = run.config, actor_critic(run.config, num_items)
    updates = config.pretrain.updates_per_round
    return Pretrainer(
        offline_loss(config.agents.ialp, network),
        network,
        learning(run, config.pretrain.ialp_learning_rate if final else None),
        config.pretrain.ialp_updates or updates if final else updates,
        key,
        num_seeds,
        config.simulator.history_length,
        config.adapt.seeds_by,
        "ialp",
    )


def learning(run: Run, rate: float | None) -> PretrainConfig:
    """The settings of a pre-training, with a learning rate of its own where it has one."""
    settings = run.config.pretrain
    return settings if rate is None else dataclasses.replace(settings, learning_rate=rate)


def tune(run: Run) -> None:
    """Tunes the LLM by LoRA on the offline users, to ``tune/``."""
    config = run.config
    if not config.llm.tune.steps:
        return say("tune: off, --config.llm.tune.steps is 0")
    key = tune_key(run)
    if run.is_done("tune", key):
        return say("tune: done before, kept")
    folder = run.folder / "tune"
    (folder / store.MANIFEST).unlink(missing_ok=True)
    with tuner.Tuner(config.llm, run.folder / "data", run.folder / "labels", config.seed) as worker:
        manifest = worker.tune(folder, config.simulator.history_length, config.labelling.candidates)
    store.seal(folder, {**manifest, KEY: key})
    told = manifest["tuning"]["held_out"]
    say(
        f"tune: held-out accuracy {told['accuracy_before']:.1%} -> {told['accuracy_after']:.1%} "
        f"(chance {told['chance']:.1%})"
    )


def tune_key(run: Run) -> str:
    """Digest of what the adapter depends on."""
    config = run.config
    shape = [config.simulator.history_length, config.labelling.candidates]
    return run.key([config.seed, shape, tuner.settings(config.llm)], "data")


def label(run: Run) -> None:
    """Imagined sessions, labelled round by round by the LLM or what stands in for it, to ``labels/``."""
    config = run.config
    tuned = ("tune",) if config.llm.tune.steps else ()
    if tuned and not run.is_done("tune", tune_key(run)):
        folder = run.folder / "tune"
        raise InputError(f"{folder} is missing or was made with other settings; run --stage=tune first")
    key = run.key(labelling_settings(run), "data", "simulator", *tuned)
    if run.is_done("labels", key):
        return say("label: done before, kept")
    (world, _), stage_key = read_worlds(run), stream(root_key(run), "label")
    network = actor_critic(config, world.dataset.catalogue.num_items)
    starts = offline_windows(world.dataset, config.simulator.history_length, config.seed)
    params = imagine.imagined_params(world.params, starts.history)
    trainer = ialp_trainer(run, world.dataset.catalogue.num_items, stage_key, 1)
    users = imagine.start_sessions(world.env, params, stage_key, config.labelling)
    folder, rounds = run.folder / "labels", []
    (folder / store.MANIFEST).unlink(missing_ok=True)
    source = label_source(config.labelling, world.dataset, starts, world.params.user_model, config.seed)
    asked = source or LabelWorker(config.llm, run.folder / "data", folder, config.seed)
    with nullcontext(asked) if source else asked as worker:
        answer = worker.label if source else lambda h, c, rows: worker.label(h, c)
        total = config.labelling.rounds * config.labelling.steps * config.labelling.sessions
        with tqdm(total=total, desc="label", unit="prompt", unit_scale=True) as bar:
            for number in range(config.labelling.rounds):
                actor = jax.tree.map(lambda leaf: leaf[0], trainer.params)
                users, rows = imagine.label_round(
                    world.env,
                    params,
                    network,
                    actor,
                    users,
                    answer,
                    stream(stage_key, "round", number),
                    config.labelling,
                    on_step=lambda: bar.update(config.labelling.sessions),
                )
                rounds.append({**rows, "round": np.full(len(rows["choice"]), number, np.int32)})
                bar.set_postfix(none=f"{np.mean(rows['choice'] == 0):.0%}")
                if number + 1 < config.labelling.rounds:
                    arrays = {name: np.concatenate([r[name] for r in rounds]) for name in rounds[0]}
                    trainer.advance(*imagine.training_data(arrays, total))
        manifest = worker.manifest()
    arrays = {name: np.concatenate([r[name] for r in rounds]) for name in rounds[0]}
    store.write_arrays(folder / "arrays.npz", arrays)
    store.seal(folder, {**manifest, KEY: key})
    say(f"label: {total:,} prompts, none {np.mean(arrays['choice'] == 0):.0%}")


def pretrain(run: Run) -> None:
    """IALP from the labels, a2c_warm and the supervised SASRec from offline logs, to ``pretrain/``."""
    config = run.config
    parts = [labelling_settings(run), settings(config)["pretrain"], config.num_seeds, config.seed]
    key = run.key([parts, dataclasses.asdict(config.evaluation)], "data", "simulator", "labels")
    if run.is_done("pretrain", key):
        return say("pretrain: done before, kept")
    world, _ = read_worlds(run)
    labels, manifest = store.load(run.folder / "labels")
    check_catalogue(run.folder / "labels", labels, manifest, run.folder / "data", world.dataset)
    folder, began, curves = fresh(run, "pretrain"), time.perf_counter(), {}
    for name in PRETRAININGS:
        params, curves[name] = pretrained(run, world, name)
        save_params(folder / name, params)
    arrays = {"curve_updates": curves["ialp"][0], "curve_return": curves["ialp"][1]}
    for name, (updates, returns) in curves.items():
        arrays |= {f"{name}/updates": updates, f"{name}/return": returns}
    store.write_arrays(folder / "arrays.npz", arrays)
    store.seal(folder, {KEY: key, "seconds": time.perf_counter() - began})
    last = ", ".join(f"{name} {returns[:, -1].mean():.2f}" for name, (_, returns) in curves.items())
    say(f"pretrain: return on tuning users: {last}")


PRETRAININGS = ("ialp", "a2c_warm", "sasrec")


def pretrained(run: Run, world: World, name: str) -> tuple[Params, tuple[np.ndarray, np.ndarray]]:
    """One of `PRETRAININGS` from labels or logs: its parameters [S, ...] and its curve, see `train`."""
    config, key = run.config, stream(root_key(run), "pretrain")
    num_items = world.dataset.catalogue.num_items
    if name == "ialp":
        labels = store.load(run.folder / "labels")[0]
        trainer = ialp_trainer(run, num_items, key, config.num_seeds, final=True)
        sizes = [imagine.rounds_until(labels, number) for number in range(config.labelling.rounds)]
        data = imagine.training_data(labels, len(labels["choice"]))[0]
    else:
        logged = offline_windows(world.dataset, config.simulator.history_length, config.seed)
        horizon, supervised = config.simulator.horizon, name == "sasrec"
        updates = config.pretrain.sasrec_updates if supervised else config.pretrain.warm_updates
        trainer = control_trainer(run, num_items, name, updates, key)
        sizes = [len(logged.target)] * config.pretrain.evaluations
        data = training_sequences(logged) if supervised else logged_transitions(logged, horizon)
    curve = train(run, world, trainer, name, [(data, size) for size in sizes])
    return trainer.params, curve


def control_trainer(run: Run, num_items: int, name: str, updates: int, key: Key) -> Pretrainer:
    """The trainer of what learns from logs: ``a2c_warm`` or ``sasrec``."""
    config = run.config
    if name == "sasrec":
        network = recommender(config, num_items)
        loss, rate = supervised_loss(network), config.pretrain.sasrec_learning_rate
    else:
        network = actor_critic(config, num_items)
        loss, rate = offline_loss(config.agents.ialp, network), config.pretrain.warm_learning_rate
    return Pretrainer(
        loss,
        network,
        learning(run, rate),
        max(1, updates // config.pretrain.evaluations),
        key,
        config.num_seeds,
        config.simulator.history_length,
        config.adapt.seeds_by,
        name,
    )


def train(
    run: Run, world: World, trainer: Pretrainer, name: str, phases: list[tuple[Any, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Runs all phases; returns updates [E] and the return on tuning users before and after each [S, E]."""
    config, num_items = run.config, world.dataset.catalogue.num_items
    agent = (
        sasrec(recommender(config, num_items)) if name == "sasrec" else ialp(actor_critic(config, num_items))
    )
    key = stream(root_key(run), "pretrain_curve")
    measure = over_seeds(evaluator(world.env, agent, key, config.evaluation), config.adapt.seeds_by, shared=1)
    keys, tuning = seed_keys(key, config.num_seeds), world.of(TUNING)

    def measured() -> np.ndarray:
        return np.asarray(measure(tuning, jax.vmap(frozen_state)(trainer.params), keys)["return"])

    rows = [measured()]
    bar = tqdm(phases, desc=f"pretrain {name}", unit="phase")
    for data, size in bar:
        trainer.advance(data, size)
        rows.append(measured())
        bar.set_postfix({"return": f"{rows[-1].mean():.2f}"})
    return trainer.updates * np.arange(len(rows)), np.stack(rows, 1)


def adaptation(run: Run) -> None:
    """Every agent online, each to its own ``adapt/<agent>/``."""
    worlds = functools.cache(lambda: read_worlds(run))
    for name in run.config.agent_ids():
        adapt_agent(run, name, worlds)


def adapt_agent(run: Run, name: str, worlds: Callable[[], tuple[World, World]]) -> None:
    """One agent online, to ``adapt/<name>/``, unless it is there; ``worlds`` is called where it is not."""
    key = adapt_key(run, name)
    if run.is_done(f"adapt/{name}", key):
        return say(f"adapt {name}: done before, kept")
    world, judge = worlds()
    began = time.perf_counter()
    curves = adapted(run, name, world, judge, run.config.adapt, pretrained_params(run, world, name))
    seeds = run.config.num_seeds
    manifest = {KEY: key, "agent": name, "world": world.dataset.name, "num_seeds": seeds}
    seconds = time.perf_counter() - began
    store.save(run.folder / "adapt" / name, curves, {**manifest, "seconds": seconds})
    returns = curves["return"].mean(0)
    say(f"adapt {name}: return {returns[0]:.2f} -> {returns[-1]:.2f} in {seconds:.0f} s")


def adapted(
    run: Run, name: str, world: World, judge: World, how: AdaptConfig, start: Params | None
) -> dict[str, np.ndarray]:
    """The curves of one agent.

    Args:
      run: its settings; a schedule that spans the whole adaptation is as long as that of the run.
      name: of the agent.
      world: in which it learns, from online users.
      judge: in which it is judged, by the users of ``evaluation.users``.
      how: how many env steps it has in fact.
      start: parameters [S, ...] it starts from, if any.
    """
    config = run.config
    return adapt(
        world.env,
        world.of(ONLINE),
        judge.of(SPLITS.index(config.evaluation.users)),
        make_agent(name, config, judge.params, world.dataset.popularity(), labelled(run, name)),
        stream(root_key(run), "adapt"),
        config.num_seeds,
        how,
        config.evaluation,
        start,
        name,
        groups_of(world.dataset),
    )


def adapt_key(run: Run, name: str) -> str:
    """Digest of what one agent's adaptation depends on."""
    tree = settings(run.config)
    upstream = ["data", "simulator", *(["pretrain"] if name in PRETRAINED else [])]
    upstream += ["labels"] if name in REPLAYS_LABELS else []
    own = tree["agents"].get(AGENT_SETTINGS.get(name, ""), {})
    common = [tree[part] for part in ("seed", "num_seeds", "simulator", "network", "evaluation")]
    return run.key([name, own, common, run.config.adapt.env_steps], *upstream)


AGENT_SETTINGS = {
    "dqn": "dqn",
    "pg": "pg",
    "a2c": "a2c",
    "a2c_warm": "a2c_warm",
    "a_ialp_ft": "ft",
    "a_ialp_ap": "mixture",
    "a_ialp_gate": "gate",
    "a2c_kl": "a2c_kl",
    "jsrl": "jsrl",
    "pex": "pex",
    "rlpd": "rlpd",
    "wsrl": "wsrl",
}


def labelled(run: Run, name: str) -> Transition | None:
    """The labelled transitions, for the agents that replay them."""
    if name not in REPLAYS_LABELS:
        return None
    return imagine.labelled_transitions(store.load(run.folder / "labels")[0])[0]


def pretrained_params(run: Run, world: World, name: str, folder: Path | None = None) -> Params | None:
    """The parameters [S, ...] an agent starts from, of the pretrain stage or in ``folder``; or None."""
    if name not in PRETRAINED:
        return None
    source, num_items = PRETRAINED[name], world.dataset.catalogue.num_items
    make = recommender if source == "sasrec" else actor_critic
    history = np.zeros(run.config.simulator.history_length, np.int32)
    one = jax.eval_shape(make(run.config, num_items).init, jax.random.key(0), history)
    stacked = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((run.config.num_seeds, *leaf.shape), leaf.dtype), one
    )
    return load_params(folder or run.folder / "pretrain" / source, stacked)


def report(run: Run) -> None:
    """Tables and the page, to ``report/``."""
    names = run.config.agent_ids()
    for name in names:
        if not run.is_done(f"adapt/{name}", adapt_key(run, name)):
            raise InputError(
                f"{run.folder / 'adapt' / name} is missing or was made with other settings; "
                "run --stage=adapt first"
            )
    store.verify(run.folder / "simulator")
    audited = run.config.audit.enabled and run.is_done("audit", audit_key(run))
    summary = write_report(run.folder, names, audited)
    say("\n" + console_table(summary))
    say(f"\nreport: {run.folder / 'report' / 'index.html'}")


STAGES: dict[str, Stage] = {
    "data": data,
    "simulate": simulate,
    "tune": tune,
    "label": label,
    "audit": audit,
    "pretrain": pretrain,
    "adapt": adaptation,
    "report": report,
}
