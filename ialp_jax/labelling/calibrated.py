"""A labeller that turns the scores of label sources into probabilities of a like, see `labelling.likes`.

In each round, the labeller asks its sources questions about held-out offline users. The embedded model, LoRA
and the log model do not train on these users. A question is a window of a user's log with K candidates that
the present actor proposes. A candidate counts as liked if it is the user's next like or a later one. If the
data have no order in time, all likes outside the history count. In ordered data, candidates that the user
liked earlier are left out of the fit: the user likes them, but they do not come later.

The label of a prompt is the candidate with the highest probability. It is "none" with the probability that
the user does not like this candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import expit

from ialp_jax import keys
from ialp_jax.data.splits import Windows
from ialp_jax.errors import InputError
from ialp_jax.labelling import quality
from ialp_jax.labelling.config import LOGISTIC
from ialp_jax.labelling.labeller import LabelSource
from ialp_jax.labelling.likes import Evidence, LikeModel
from ialp_jax.types import Dataset, Histories, Labels, Prompts

Propose = Callable[[np.ndarray], np.ndarray]  # histories int32 [Q, L] -> candidates int32 [Q, K]
POPULARITY = "log_popularity"  # name of the feature
NEVER = -30.0  # log-odds of candidates without a valid answer
_OF_THRESHOLD = ("threshold", "none_rule", "own_kept", "random_kept")  # not used here


class HeldOut(NamedTuple):
    """The windows of held-out users and the likes of all users, from which the questions are made.

    Attributes:
      starts: all windows from which imagined sessions start, W rows.
      rows: int64 [V], the rows of ``starts`` that belong to held-out users; V is at least 1.
      likes: the likes of all users.
      ordered: whether likes have an order in time.
      alike: int32 [N + 1], items with the same number have the same words in a prompt; None: all differ.
    """

    starts: Windows
    rows: np.ndarray
    likes: Histories
    ordered: bool
    alike: np.ndarray | None = None

    @classmethod
    def of(cls, dataset: Dataset, starts: Windows, users: np.ndarray, alike: np.ndarray | None) -> HeldOut:
        """Collects the windows of the held-out ``users``, int [any]. Raises InputError if they have none."""
        rows = np.flatnonzero(np.isin(starts.user, users))
        if not len(rows):
            raise InputError(
                f"--config.labelling.calibration={LOGISTIC}: no held-out offline user has two likes; "
                "raise --config.llm.embedded.holdout"
            )
        return cls(starts, rows, dataset.histories, dataset.interactions.ordered, alike)

    def draw(self, count: int, seed: int, number: int) -> np.ndarray:
        """Draws the windows of round ``number``, int64 [count]; each comes once before one comes twice."""
        random = keys.generator(seed, "like-questions", number)
        times = -(-count // len(self.rows))
        return np.concatenate([random.permutation(self.rows) for _ in range(times)])[:count]

    def outcomes(self, windows: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Looks up candidates int32 [Q, K] in the logs.

        Returns:
          bool [Q, K], whether the user likes the candidate later, and bool [Q, K], whether the log can decide
          this: it cannot for candidates that the user liked earlier.
        """
        liked, known = np.zeros(candidates.shape, bool), np.ones(candidates.shape, bool)
        for q, window in enumerate(windows.tolist()):
            likes = self.likes.of(int(self.starts.user[window]))
            target = self.starts.target[window]
            first = int(np.flatnonzero(likes == target)[0]) if self.ordered else 0
            liked[q] = np.isin(candidates[q], likes[first:])
            known[q] = liked[q] | ~np.isin(candidates[q], likes[:first])
        return liked, known

    def with_next_items(self, windows: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Puts the user's next item among the candidates of every second question.

        The next item replaces the candidate with the same words, otherwise the last candidate. A question
        stays unchanged if its history has an item with these words.

        Returns:
          The candidates int32 [Q, K], and the changed questions, bool [Q].
        """
        words = np.arange(max(candidates.max(), self.starts.target.max(), self.starts.history.max()) + 1)
        words = words if self.alike is None else self.alike
        target, history = self.starts.target[windows], self.starts.history[windows]
        repeated = ((words[history] == words[target][:, None]) & (history > 0)).any(1)
        changed = (np.arange(len(windows)) % 2 == 1) & ~repeated
        same = words[candidates] == words[target][:, None]
        place = np.where(same.any(1), same.argmax(1), candidates.shape[1] - 1)
        candidates = candidates.copy()
        candidates[changed, place[changed]] = target[changed]
        return candidates, changed


class Calibrated:
    """Labels prompts with probabilities of a like, see `ialp_jax.labelling.labeller.Labeller`.

    `calibrate` must be called at the start of each round.
    """

    def __init__(
        self,
        sources: Mapping[str, LabelSource],
        held_out: HeldOut,
        popularity: np.ndarray,
        questions: int,
        seed: int,
        drop_invalid: bool = True,
    ) -> None:
        """Stores the inputs.

        Args:
          sources: the label sources by name; the manifest describes the first one.
          held_out: the held-out users, about whom the questions are.
          popularity: number of likes of each item, [N + 1], without the likes of the held-out users.
          questions: questions in each round, at least 1.
          seed: seed of the run.
          drop_invalid: whether a prompt without a valid answer gets no label. Else it gets "none".
        """
        self._sources, self._held_out = dict(sources), held_out
        self._log_popularity = np.log1p(popularity)
        self._questions, self._seed, self._drop = questions, seed, drop_invalid
        self._likes = LikeModel([*self._sources, POPULARITY], len(self._sources))
        self._choices: list[list[np.ndarray]] = []  # for each round, one array [P] per request
        self._requests = 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Opens all sources. Raises InputError if one of them cannot work."""
        with ExitStack() as opening:
            for source in self._sources.values():
                opening.enter_context(source)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes all sources."""
        self._open.__exit__(kind, error, trace)

    def calibrate(self, propose: Propose) -> None:
        """Fits the probabilities of the next round to questions about held-out users.

        Args:
          propose: maps histories int32 [Q, L] to the candidates int32 [Q, K] that the present actor proposes.
        """
        held_out, number = self._held_out, len(self._choices)
        windows = held_out.draw(self._questions, self._seed, number)
        histories = held_out.starts.history[windows]
        candidates, changed = np.asarray(propose(histories), np.int32), np.zeros(len(windows), bool)
        if number == 0:
            candidates, changed = held_out.with_next_items(windows, candidates)
        features = self._features(Prompts(histories, candidates, windows), counted=False)
        liked, known = held_out.outcomes(windows, candidates)
        usable = known & np.isfinite(features).all((1, 2))[:, None]
        user = np.searchsorted(np.unique(held_out.starts.user[held_out.rows]), held_out.starts.user[windows])
        self._likes.update(Evidence(features, liked, usable, user, changed))
        self._choices.append([])

    def label(self, prompts: Prompts) -> Labels:
        """Labels P prompts from imagined sessions. The scores are log-odds of a like."""
        features = self._features(prompts, counted=True)
        is_valid = np.isfinite(features).all((1, 2))
        odds = np.where(is_valid[:, None], self._likes.log_odds(np.nan_to_num(features)), NEVER)
        odds = odds.astype(np.float32)
        random = keys.generator(self._seed, "like-none", self._requests)
        none = random.random(len(odds)) >= expit(odds.max(1).astype(np.float64))
        choice = np.where(none | ~is_valid, 0, 1 + odds.argmax(1))
        choice = np.where(~is_valid & self._drop, -1, choice).astype(np.int32)
        self._requests += 1
        self._choices[-1].append(choice)
        return Labels(prompts.histories, prompts.candidates, choice, odds)

    def _features(self, prompts: Prompts, counted: bool) -> np.ndarray:
        """Asks all sources. Returns float64 [P, K, C]; NaN where a source has no valid answer."""
        scores = [source.evidence(prompts, counted) for source in self._sources.values()]
        return np.stack([*scores, self._log_popularity[prompts.candidates]], -1)

    def require_valid(self) -> None:
        """Raises InputError if a source gave answers, but all of them are invalid."""
        for source in self._sources.values():
            source.require_valid()

    def manifest(self) -> dict[str, Any]:
        """The manifest of the first source, with the counts of these labels and the fits of all rounds."""
        manifests = {name: source.manifest() for name, source in self._sources.items()}
        first = next(iter(manifests.values()))
        likes = self._likes.manifest()
        for record, share in zip(likes["rounds"], self._none_shares(), strict=True):
            record["none_share"] = share
        none = sum(int(np.sum(choice == 0)) for one_round in self._choices for choice in one_round)
        manifest = {
            **{name: value for name, value in first.items() if name not in _OF_THRESHOLD},
            "source": "+".join(self._sources),
            "calibration": LOGISTIC,
            quality.LIKES: likes,
            "counts": {**first["counts"], "none": none},
            "others": {name: facts for name, facts in manifests.items() if facts is not first},
        }
        return {**manifest, "cautions": quality.cautions(manifest)}

    def _none_shares(self) -> Iterator[float | None]:
        """The share of "none" among the valid labels of each round; None for a round without valid labels."""
        for one_round in self._choices:
            choice = np.concatenate([np.zeros(0, np.int32), *one_round])
            yield float(np.mean(choice[choice >= 0] == 0)) if (choice >= 0).any() else None
