"""The pretrain stage: ialp and ialp_soft learn from labels, a2c_warm and the supervised SASRec from logs.

After each pre-training, the stage chooses the temperature at which the policy acts: the policy plays with
tuning users at every temperature in ``pretrain.temperatures``. The stored parameters are those at temperature
1; whoever loads them for an agent tempers them (`ialp_jax.networks.heads.tempered`).
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.make_agent import actor_critic, recommender
from experiments.run import TEMPERATURE, Run
from experiments.stages import fits, recipes
from experiments.stages.common import Worlds, forget, hooked, read_worlds, root_key, say
from experiments.stages.label_stage import ialp_trainer, learning
from ialp_jax import store
from ialp_jax.agents.base import AgentState, Metrics, Params, frozen_state
from ialp_jax.agents.ialp import ialp
from ialp_jax.agents.registry import ON_LABELS
from ialp_jax.agents.sasrec import sasrec
from ialp_jax.keys import stream
from ialp_jax.labelling import transitions
from ialp_jax.labelling.label_files import check_catalogue, check_labels
from ialp_jax.networks.heads import ActorCritic, Recommender, tempered
from ialp_jax.simulator.types import SessionParams
from ialp_jax.simulator.world import World
from ialp_jax.training.adapt import evaluator
from ialp_jax.training.config import EvaluationConfig
from ialp_jax.training.loop import Hooks
from ialp_jax.training.offline import logged_transitions, offline_windows, training_sequences
from ialp_jax.training.params import save_params
from ialp_jax.training.pretrain import Pretrainer, listwise_loss, offline_loss, supervised_loss
from ialp_jax.training.processes import by_first, host
from ialp_jax.training.seeds import over_seeds, placed, seed_keys
from ialp_jax.types import TUNING, Key


def pretrain(run: Run) -> None:
    """Pre-trains the parameters from which agents start, and saves them in ``pretrain/<source>/``."""
    parts = recipes.parts(run.config, "pretrain")
    if not parts:
        return say("pretrain: no agent starts from it")
    worlds = functools.cache(lambda: read_worlds(run))
    for part in parts:
        _pretrain(run, part.removeprefix("pretrain/"), worlds)


def _pretrain(run: Run, name: str, read: Callable[[], Worlds]) -> None:
    """Runs the pre-training ``name``, unless its part is complete; ``read`` returns the worlds."""
    part = f"pretrain/{name}"
    by_first(lambda: fits.require(run, part))
    fingerprint = recipes.fingerprint(run, part)
    if by_first(lambda: run.is_done(part, fingerprint)):
        forget(run, part)
        return say(f"pretrain {name}: done before, kept")
    by_first(lambda: run.begin(part) and None)
    world, began = read().training, time.perf_counter()
    if name in ON_LABELS:
        labels, manifest = store.load(run.folder / "labels")
        check_labels(run.folder / "labels", labels, ("shown", "terminated", "truncated", "round"))
        check_catalogue(run.folder / "labels", labels, manifest, run.folder / "data", world.dataset)
    with hooked(run, part, checkpoint_fingerprint(run, fingerprint), every=1) as hooks:
        result = pretrained(run, world, name, hooks)
        seconds = time.perf_counter() - began

        def save() -> None:
            with store.replacing(run.folder / part) as folder:
                save_params(folder / "params", result.params)
                store.write_arrays(folder / "arrays.npz", result.arrays)
                manifest = {"seconds": seconds, "evaluation": dataclasses.asdict(run.config.evaluation)}
                manifest |= {TEMPERATURE: result.temperature}
                store.seal(folder, manifest | recipes.stamp(run, part, began))

        by_first(save)
        if hooks.checkpoints:
            hooks.checkpoints.remove()
    say(f"pretrain {name}: {result.words()} in {seconds:.0f} s")


def checkpoint_fingerprint(run: Run, fingerprint: str) -> str:
    """Fingerprint of a pre-training's checkpoints.

    It also covers the evaluation settings, because checkpoints contain the evaluation curve.
    """
    return store.fingerprint([fingerprint, dataclasses.asdict(run.config.evaluation)])


Play = Callable[[Params, str, EvaluationConfig], np.ndarray]  # see `player`


class Pretrained(NamedTuple):
    """A pre-trained policy of S seeds.

    Attributes:
      params: parameters [S, ...] at temperature 1.
      temperature: temperature at which the policy acts.
      arrays: the curve, ``updates`` [E] and ``return`` [S, E], see `train`; ``temperatures`` [G] and
        ``temperature_return`` [S, G], see `choose_temperature`.
    """

    params: Params
    temperature: float
    arrays: dict[str, np.ndarray]

    def words(self) -> str:
        """A line of text with the return at temperature 1, the chosen temperature, and the return with it."""
        tried, means = self.arrays["temperatures"].tolist(), self.arrays["temperature_return"].mean(0)
        before, chosen = self.arrays["return"][:, -1].mean(), f"acts at temperature {self.temperature:g}"
        if len(tried) > 1:
            if 1.0 in tried:  # the same sessions as at the chosen temperature
                before = means[tried.index(1.0)]
            chosen += f" with {means[tried.index(self.temperature)]:.2f}"
        return f"return on tuning users {before:.2f}, {chosen}"


def pretrained(run: Run, world: World, name: str, hooks: Hooks) -> Pretrained:
    """Pre-trains S seeds on labels or logs, and chooses the temperature of the policy."""
    config, key = run.config, stream(root_key(run), "pretrain")
    num_items = world.dataset.catalogue.num_items
    if name in ON_LABELS:
        labels = store.load(run.folder / "labels")[0]
        sizes = [transitions.rounds_until(labels, number) for number in range(config.labelling.rounds)]
        data = transitions.training_data(labels, len(labels["choice"]))[0]
    else:
        logged = offline_windows(world.dataset, config.simulator.history_length, config.seed)
        horizon, supervised = config.simulator.horizon, name == "sasrec"
        sizes = [len(logged.target)] * config.pretrain.evaluations
        data = training_sequences(logged) if supervised else logged_transitions(logged, horizon)
    if name == "ialp":
        trainer = ialp_trainer(run, num_items, key, config.num_seeds, final=True)
    else:
        trainer = trainer_of(run, num_items, name, key)
    play = player(run, world, trainer, name)
    updates, returns = train(run, trainer, play, (data, sizes), hooks)
    temperature, by_temperature = choose_temperature(run, trainer, play)
    arrays = {"updates": updates, "return": returns} | by_temperature
    params = trainer.params if jax.process_count() == 1 else host(trainer.params)
    return Pretrained(params, temperature, arrays)


def trainer_of(run: Run, num_items: int, name: str, key: Key) -> Pretrainer:
    """The trainer of a pre-training other than ``ialp``, see `ialp_trainer`."""
    config, settings = run.config, run.config.pretrain
    network: ActorCritic | Recommender = actor_critic(config, num_items)
    if name == "ialp_soft":
        loss, rate = listwise_loss(config.agents.ialp_soft, network), settings.soft_learning_rate
        updates = settings.soft_updates or settings.updates_per_round
    elif name == "a2c_warm":
        loss, rate = offline_loss(config.agents.ialp, network), settings.warm_learning_rate
        updates = settings.warm_updates // settings.evaluations
    else:
        network = recommender(config, num_items)
        loss, rate = supervised_loss(network), settings.sasrec_learning_rate
        updates = settings.sasrec_updates // settings.evaluations
    return Pretrainer(
        loss,
        network,
        learning(run, rate),
        max(1, updates),
        key,
        config.num_seeds,
        config.simulator.history_length,
        config.adapt.seeds_by,
        name,
        config.devices,
    )


def player(run: Run, world: World, trainer: Pretrainer, name: str) -> Play:
    """Returns a function that plays with tuning users.

    The function: (parameters [S, ...], name of the stream of keys, evaluation) -> mean return [S]. It
    compiles one program for each number of sessions, greedy or not.

    Args:
      run: the run whose settings are used.
      world: the training world.
      trainer: the trainer, for its devices.
      name: name of the pre-training.
    """
    config, num_items = run.config, world.dataset.catalogue.num_items
    agent = (
        sasrec(recommender(config, num_items)) if name == "sasrec" else ialp(actor_critic(config, num_items))
    )
    tuning = placed(world.of(TUNING), trainer.mesh)

    @functools.cache
    def measure_of(episodes: int, greedy: bool) -> Callable[..., Metrics]:
        evaluation = EvaluationConfig(episodes=episodes, greedy=greedy)

        def evaluate(key: Key, users: SessionParams, state: AgentState, seed_key: Key) -> Metrics:
            return evaluator(world.env, agent, key, evaluation)(users, state, seed_key)

        return over_seeds(evaluate, config.adapt.seeds_by, shared=2, mesh=trainer.mesh)

    def play(params: Params, purpose: str, evaluation: EvaluationConfig) -> np.ndarray:
        key, states = stream(root_key(run), purpose), jax.vmap(frozen_state)(params)
        measure = measure_of(evaluation.episodes, evaluation.greedy)
        return host(measure(key, tuning, states, seed_keys(key, config.num_seeds))["return"])

    return play


def train(
    run: Run, trainer: Pretrainer, play: Play, phases: tuple[Any, list[int]], hooks: Hooks
) -> tuple[np.ndarray, np.ndarray]:
    """Trains all phases.

    Args:
      run: the run whose settings are used.
      trainer: a trainer that has not run a phase yet.
      play: see `player`.
      phases: data, and for each phase the number of rows to train on.
      hooks: checkpoints, TensorBoard and progress bar.

    Returns:
      Gradient steps [E] and the return on tuning users [S, E], before the first phase and after each phase.
    """

    def evaluate(params: Params) -> dict[str, np.ndarray]:
        return {"return": play(params, "pretrain_curve", run.config.evaluation)}

    rows = trainer.run(*phases, evaluate, hooks)
    return trainer.updates * np.arange(len(rows)), np.stack([row["return"] for row in rows], 1)


def choose_temperature(run: Run, trainer: Pretrainer, play: Play) -> tuple[float, dict[str, np.ndarray]]:
    """Chooses the temperature with the highest mean return on tuning users over all seeds.

    ``play`` is a function of `player`. The policy samples, even if ``evaluation.greedy`` is set. All
    temperatures get the same users and random numbers. If several have the highest return, the highest of
    them is chosen.

    Returns:
      The temperature, and arrays: ``temperatures`` float64 [G], and ``temperature_return`` float32 [S, G],
      which is NaN if there is only one temperature, because the policy does not play then.
    """
    config = run.config
    tried = config.pretrain.temperature_values()
    if len(tried) == 1:
        returns = np.full((config.num_seeds, 1), np.nan, np.float32)
    else:
        evaluation = EvaluationConfig(episodes=config.pretrain.temperature_episodes)
        scaled = jax.jit(tempered)  # one program for all temperatures
        policies = (scaled(trainer.params, np.float32(temperature)) for temperature in tried)
        returns = np.stack([play(policy, "pretrain_temperature", evaluation) for policy in policies], 1)
    best = max(zip(returns.mean(0).tolist(), tried, strict=True))[1] if len(tried) > 1 else tried[0]
    return best, {"temperatures": np.array(tried), "temperature_return": returns}
