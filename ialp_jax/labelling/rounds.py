"""The label loop: in each round, the actor proposes candidates, and the labeller labels the prompts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from scipy.special import expit

from ialp_jax.agents.base import Params
from ialp_jax.keys import stream
from ialp_jax.labelling.calibrated import Calibrated
from ialp_jax.labelling.config import LabellingConfig
from ialp_jax.labelling.imagine import (
    Sessions,
    answer,
    chosen_item,
    propose,
    remember,
    require_left,
    start_sessions,
)
from ialp_jax.labelling.labeller import Labeller
from ialp_jax.labelling.mix import Candidates, completed, of_actor
from ialp_jax.labelling.transitions import training_data
from ialp_jax.networks.heads import ActorCritic
from ialp_jax.simulator.environment import SessionEnvironment
from ialp_jax.simulator.types import SessionParams
from ialp_jax.training.encoded import Memory
from ialp_jax.training.pretrain import Pretrainer
from ialp_jax.types import Key, Observation, Prompts

Arrays = dict[str, np.ndarray]


class Setting(NamedTuple):
    """The inputs that stay the same in all rounds.

    Attributes:
      env, params: environment and parameters of the imagined world, see
        `ialp_jax.labelling.imagine.imagined_params`.
      network: network of the actor.
      config: rounds, sessions, steps, K, horizon, and who proposes candidates.
      alike: int32 [N + 1], items with the same number have the same words in a prompt; None: all differ.
      likes: int [N + 1], likes of each item by offline users; None: no item has likes.
    """

    env: SessionEnvironment
    params: SessionParams
    network: ActorCritic
    config: LabellingConfig
    alike: np.ndarray | None = None
    likes: np.ndarray | None = None

    @property
    def horizon(self) -> int:
        """Number of steps after which an imagined session is truncated."""
        return self.config.session_horizon(self.params.max_steps_in_episode)


def label_rounds(
    setting: Setting,
    labeller: Labeller,
    learner: Pretrainer,
    key: Key,
    on_step: Callable[[], object] = lambda: None,
    on_round: Callable[[Arrays], object] = lambda arrays: None,
) -> Arrays:
    """Runs all rounds. Between two rounds the actor learns from the labels of all rounds so far.

    Args:
      setting: settings of the rounds.
      labeller: answers the prompts; it must be open as a context manager.
      learner: trains the agent; its first seed is the actor. The parameters of the learner change.
      key: the random streams of sessions, proposals and responses are derived from this key.
      on_step: called after each step of the sessions.
      on_round: called after each round with the arrays of the round.

    Returns:
      Arrays with P = rounds * steps * sessions rows: the arrays of `label_round`, and ``round`` int32 [P].

    Raises:
      InputError: the labeller cannot work, all its answers are invalid, or a session has too few items left.
    """
    config = setting.config
    sessions = start_sessions(
        setting.env, setting.params, key, config.sessions, setting.horizon, config.staggered
    )
    rounds: list[Arrays] = []
    for number in range(config.rounds):
        actor = jax.tree.map(lambda leaf: leaf[0], learner.params)
        if isinstance(labeller, Calibrated):
            labeller.calibrate(partial(propose_to, setting, actor, stream(key, "calibrate", number)))
        round_key = stream(key, "round", number)
        sessions, arrays = label_round(setting, actor, sessions, labeller, round_key, on_step)
        rounds.append({**arrays, "round": np.full(len(arrays["choice"]), number, np.int32)})
        on_round(rounds[-1])
        labeller.require_valid()  # because the actor cannot learn if all labels are invalid
        if number + 1 < config.rounds:
            learner.advance(*training_data(_joined(rounds), config.num_prompts()))
    return _joined(rounds)


def label_round(
    setting: Setting,
    actor: Params,
    sessions: Sessions,
    labeller: Labeller,
    key: Key,
    on_step: Callable[[], object] = lambda: None,
) -> tuple[Sessions, Arrays]:
    """Runs one round: all imagined sessions take ``steps`` steps with the same actor.

    Args:
      setting: settings of the round.
      actor: parameters of the actor that proposes the candidates.
      sessions: sessions to continue.
      labeller: answers all prompts of a step in one call.
      key: consumed.
      on_step: called after each step.

    Returns:
      The sessions after the round, and arrays with P = steps * sessions rows, ordered by step:

      - the fields of `Labels`;
      - ``proposer`` int8 [P, K], index into `ialp_jax.labelling.mix.PROPOSERS`;
      - ``window`` int32 [P], the window in which the session started;
      - ``shown`` int32 [P, L + H], ``session`` int32 [P], ``terminated`` and ``truncated`` bool [P];
      - ``probability`` float32 [P, K], the probability that the user likes the candidate. It exists only if
        the labeller is calibrated.

    Raises:
      InputError: the labeller cannot work, or a session has too few items left.
    """
    steps: list[Arrays] = []
    memory = remember(setting.network, actor, sessions)
    for number in range(setting.config.steps):
        candidates, memory = _candidates(setting, actor, sessions.observation, key, number, memory)
        before = jax.tree.map(np.asarray, sessions.observation)
        window = np.asarray(sessions.state.user)
        labels = labeller.label(Prompts(before.history, candidates.items, window))
        item, liked = chosen_item(labels)
        valid, user_key = labels.choice >= 0, stream(key, "user", number)
        sessions, terminated, truncated = answer(
            setting.env, setting.params, sessions, item, liked, valid, user_key, setting.horizon
        )
        steps.append(
            {
                **labels._asdict(),
                "proposer": candidates.proposer,
                "window": window,
                "shown": before.shown,
                "terminated": np.asarray(terminated),
                "truncated": np.asarray(truncated),
                "session": np.arange(len(item), dtype=np.int32),
            }
        )
        if isinstance(labeller, Calibrated):
            steps[-1]["probability"] = expit(labels.scores)
        on_step()
    return sessions, _joined(steps)


def _candidates(
    setting: Setting, actor: Params, observation: Observation, key: Key, number: int, memory: Memory | None
) -> tuple[Candidates, Memory | None]:
    """The candidates of step ``number`` of a round with this key, and the memory after it, see `propose`."""
    network, alike, (own, popular, uniform) = setting.network, setting.alike, setting.config.proposed_by()
    shown = np.asarray(observation.shown)
    require_left(network.num_items, setting.config.candidates, shown, alike)
    items, memory = propose(network, own, actor, observation, stream(key, "propose", number), alike, memory)
    if not popular + uniform:
        return of_actor(items), memory
    likes = np.zeros(network.num_items + 1) if setting.likes is None else setting.likes
    mix_key = stream(key, "mix", number)
    return completed(network, items, popular, uniform, likes, shown, mix_key, alike), memory


def propose_to(setting: Setting, actor: Params, key: Key, histories: np.ndarray) -> np.ndarray:
    """Proposes candidates at the start of imagined sessions.

    Args:
      setting: settings of the rounds.
      actor: parameters of the actor that proposes.
      key: consumed.
      histories: int32 [Q, L], the histories with which the sessions start.

    Returns:
      int32 [Q, K].
    """
    started = Observation(histories, histories)  # a session has shown only its history when it starts
    return _candidates(setting, actor, started, key, 0, None)[0].items


def _joined(parts: list[Arrays]) -> Arrays:
    """Concatenates the arrays that have the same name."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
