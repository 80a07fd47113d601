"""Glossary, dimension letters, and the data types that several packages share.

Dimension letters are the same in every docstring:

| U | users of a world   | B | simulated users that run in parallel | P | prompts            |
| N | items (ids 1..N)   | T | time steps of a rollout              | K | candidates         |
| L | history length     | S | random seeds                         | D | model width        |
| M | interactions       | H | horizon of a session                 | F | user model factors |

Glossary. One word has one meaning, and one thing has one name:

| word                  | meaning                                                                       |
| --------------------- | ----------------------------------------------------------------------------- |
| item                  | id 1..N; 0 is padding, so arrays indexed by item have N + 1 rows              |
| action                | 0..N-1; action ``a`` recommends item ``a + 1``                                |
| candidates            | items (1..N) of one prompt; as actions they are ``candidate_actions``         |
| history               | liked items, oldest first, padded on the left with 0                          |
| window                | part of a logged history from which an imagined session starts                |
| catalogue             | all items: titles, categories, popularity                                     |
| world                 | a data set and the simulator fitted to it                                     |
| user model            | probability that a user likes an item                                         |
| session               | one visit of a user; it ends ``terminated`` (user left) or ``truncated``      |
| return, length        | sum of the rewards of a session; number of the steps of a session             |
| observation, state    | what the agent sees; data that the simulator or the agent keeps between steps |
| offline users         | their logs train models; online users: agents learn with them                 |
| tuning users          | settings are chosen on them (a *search tunes* settings; an LLM is never tuned)|
| evaluation users      | results are reported on them, in the evaluation world                         |
| prompt                | a history and K candidates, as a question to the label source                 |
| label                 | answer to a prompt: one candidate, "none", or invalid; and K scores           |
| label source          | the LLM, or a model or rule in its place                                      |
| calibration of likes  | turns the scores of label sources into probabilities of a like                |
| labeller              | object that turns prompts into labels                                         |
| mode                  | how the LLM is asked: ``likelihood``, ``choice`` or ``generate``              |
| LoRA                  | fine-tuning of the LLM; its result is an adapter                              |
| engine                | runs the LLM: ``transformers``, ``ray`` or ``vllm``                           |
| worker                | process that loads torch and holds an engine                                  |
| round                 | prompts labelled under one actor; the actor learns between rounds             |
| stage, part           | step of a run; one folder that a stage writes                                 |
| recipe                | settings and inputs that a part depends on                                    |
| fingerprint           | sha256 that identifies content or a recipe                                    |
| key                   | JAX random key, consumed once                                                 |

This module does not import JAX at run time, because the worker must not load JAX. Named tuples are JAX
pytrees.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import jax

    Array = jax.Array | np.ndarray
    Key = jax.Array
else:
    Array = Any
    Key = Any

OFFLINE, ONLINE, TUNING, EVALUATION = 0, 1, 2, 3
SPLITS = ("offline", "online", "tuning", "evaluation")


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The items of a data set.

    Attributes:
      titles: N + 1 different strings, ``titles[0] == ""``.
      category: int32 [N + 1], index into ``category_names``; 0 is "no category". If items have several:
        [N + 1, G], padded with 0 at the end.
      category_names: names, ``category_names[0] == ""``.
      text: N + 1 further descriptions (tags, genres, categories and brand), ``text[0] == ""``. None if the
        data set has no descriptions. These descriptions are never part of a title.
    """

    titles: tuple[str, ...]
    category: np.ndarray
    category_names: tuple[str, ...]
    text: tuple[str, ...] | None = None

    @property
    def categories(self) -> np.ndarray:
        """The set of categories of each item, int32 [N + 1, G], G = 1 if no item has several."""
        return np.asarray(self.category).reshape(len(self.titles), -1)

    @property
    def num_items(self) -> int:
        """N, without padding."""
        return len(self.titles) - 1


@dataclasses.dataclass(frozen=True)
class Interactions:
    """Interactions of all users, grouped by user, oldest first within a user.

    Attributes:
      user: int32 [M], 0..U-1, ascending.
      item: int32 [M], 1..N.
      like: bool [M]; implicit data has only likes.
      rating: float32 [M] for explicit data, else None.
      ordered: whether each user's interactions are sorted by time. If not, they are in the order of the file,
        and code that reads histories shuffles them.
      propensity: float32 [M], probability that this rating was observed. None if it is not published.
    """

    user: np.ndarray
    item: np.ndarray
    like: np.ndarray
    rating: np.ndarray | None = None
    ordered: bool = True
    propensity: np.ndarray | None = None


class Histories(NamedTuple):
    """Liked items of all users, ragged: user u has ``items[offsets[u]:offsets[u + 1]]``.

    Attributes:
      items: int32 [M].
      offsets: int64 [U + 1].
    """

    items: np.ndarray
    offsets: np.ndarray

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.offsets) - 1

    def of(self, user: int) -> np.ndarray:
        """The likes of one user, int32, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]


class UserModel(NamedTuple):
    """Probability that user u likes item i, as ``sigmoid(interp(score))``.

    ``score = user_factors[u] . item_factors[i] + item_bias[i]`` and the calibration is piecewise linear
    from score to logit, strictly increasing, constant beyond its ends.

    Attributes:
      user_factors: float32 [U, F].
      item_factors: float32 [N + 1, F]; row 0 is padding.
      item_bias: float32 [N + 1].
      knot_scores: float32 [C], ascending.
      knot_logits: float32 [C], ascending.
    """

    user_factors: Array
    item_factors: Array
    item_bias: Array
    knot_scores: Array
    knot_logits: Array


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set after cleaning: what every later stage reads.

    Attributes:
      name: world name.
      catalogue: N items.
      interactions: M rows of U users.
      histories: the likes among them.
      split: int8 [U], one of OFFLINE, ONLINE, TUNING, EVALUATION.
      dropped: number of rows, users or items that were left out, by reason.
      truth: the user model that generated the data. None for real data.
      random_test: ratings of items that were drawn uniformly at random, not chosen by the user. These ratings
        are not part of ``interactions``. They test a user model without selection bias. None if the data set
        has no such ratings.
      notes: counts of unusual things in the files that the user should know about, by kind.
    """

    name: str
    catalogue: Catalogue
    interactions: Interactions
    histories: Histories
    split: np.ndarray
    dropped: dict[str, int]
    truth: UserModel | None = None
    random_test: Interactions | None = None
    notes: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def num_users(self) -> int:
        """U."""
        return self.histories.num_users

    def users(self, split: int) -> np.ndarray:
        """Ids of the users of one split, int32, ascending."""
        return np.flatnonzero(self.split == split).astype(np.int32)

    def popularity(self) -> np.ndarray:
        """Number of likes of each item, int64 [N + 1]; only likes of offline users count."""
        owner = np.repeat(np.arange(self.num_users), np.diff(self.histories.offsets))
        seen = self.histories.items[self.split[owner] == OFFLINE]
        return np.bincount(seen, minlength=self.catalogue.num_items + 1)


class Observation(NamedTuple):
    """What an agent may see of a user.

    Attributes:
      history: int32 [L], liked items, oldest first, left-padded with 0.
      shown: int32 [L + H], items that must not be shown again: the starting history in the first L places,
        then the recommendations of this session. Unused places are 0.
    """

    history: Array
    shown: Array


class Transition(NamedTuple):
    """One step of experience. All arrays may have further leading axes, such as time and users.

    Attributes:
      observation: before the action.
      action: int32, 0..N-1.
      reward: float32.
      terminated: bool, the user left; nothing follows.
      truncated: bool, the session reached the horizon; learners still bootstrap from the value of
        ``next_observation``.
      next_observation: the true final observation if the session ended.
      extras: further results of the agent's ``act`` (log-probability, ...).
    """

    observation: Observation
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    next_observation: Observation
    extras: dict[str, Array]


class Prompts(NamedTuple):
    """P questions to a label source: which of these candidates does the user choose after this history?

    Attributes:
      histories: int32 [P, L], liked items, oldest first, left-padded with 0.
      candidates: int32 [P, K], ids 1..N.
      windows: int32 [P], number of the window from which each prompt's imagined session started; None if the
        prompts are not from imagined sessions. The LLM does not see this number.
    """

    histories: np.ndarray
    candidates: np.ndarray
    windows: np.ndarray | None = None

    @property
    def num_prompts(self) -> int:
        """P."""
        return len(self.histories)

    @property
    def shape(self) -> tuple[int, int]:
        """L and K."""
        return self.histories.shape[1], self.candidates.shape[1]

    def rows(self, index: Any) -> Prompts:
        """The prompts that ``index`` selects. ``index`` is a slice, int [n] or bool [P]."""
        return Prompts(*(array if array is None else array[index] for array in self))

    def arrays(self) -> dict[str, np.ndarray]:
        """``histories`` and ``candidates`` by name, for a message to the worker."""
        return {"histories": self.histories, "candidates": self.candidates}


class Labels(NamedTuple):
    """The answers of a label source to P prompts.

    Attributes:
      histories: int32 [P, L], as in `Prompts`.
      candidates: int32 [P, K], ids 1..N, as in `Prompts`.
      choice: int32 [P]; -1: invalid, 0: none, k: the k-th candidate (1..K).
      scores: float32 [P, K], the source's score of each candidate on a logarithmic scale: its softmax is the
        source's preference among the candidates (log-likelihood of a title, ...). -inf: never preferred. If
        the labels are calibrated, the log-odds of a like.
    """

    histories: np.ndarray
    candidates: np.ndarray
    choice: np.ndarray
    scores: np.ndarray
