"""Baseline labellers: rules that label prompts instead of the LLM. The LLM is useful if it beats these rules.

The rules label the same kind of prompts as the LLM: K candidates that the current actor proposed.

- ``popularity`` chooses the candidate with the most likes by offline users. It answers "none" to the prompts
  whose best candidate has the fewest likes.
- ``random`` chooses a random candidate, and answers "none" at random.
- ``logged`` chooses the candidate that comes next in the user's log, or "none" if the log has no candidate.
- ``truth`` chooses the candidate that the user likes best, according to the world's user model. It answers
  "none" with the probability that the user does not like this candidate.
- ``fold_in`` applies the same model to user factors that it estimates from the history. It answers "none" to
  the prompts whose best candidate has the lowest scores.

The source ``log_model`` is in `ialp_jax.labelling.log_model`.

``popularity``, ``random`` and ``fold_in`` have no threshold for "none". They give this answer to a fixed
share of the prompts in each request. The share can be set to the LLM's share of "none". Scores are on a
logarithmic scale, because `ialp_soft` learns the softmax of the scores. ``truth`` knows
everything about the user, but the actor sees only the user's last likes. Labels that depend on anything else
are noise for the actor. ``fold_in`` is an upper bound for a labeller that sees only the actor's input.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import jax
import numpy as np

from ialp_jax import keys
from ialp_jax.data.splits import Windows
from ialp_jax.labelling.config import LabellingConfig
from ialp_jax.types import Dataset, Histories, Labels, Prompts, UserModel
from ialp_jax.users.predict import calibrated, like_logit

LEAST = -30.0  # replaces lower scores in a calibration, such as -inf


class RuleLabeller:
    """A labeller that uses a rule and counts its answers, see `ialp_jax.labelling.labeller.Labeller`."""

    def __init__(self, name: str, seed: int) -> None:
        """Stores the name of the rule, for the manifest, and the seed of the run."""
        self._name, self._seed = name, seed
        self._choices: list[np.ndarray] = []
        self._requests = 0

    def __enter__(self) -> Self:
        """Does nothing, because a rule needs no preparation."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Does nothing, because a rule has no resources to free."""

    def label(self, prompts: Prompts) -> Labels:
        """Labels P prompts from imagined sessions. The prompts must have ``windows``."""
        scores, choice = self._answer(prompts)
        self._choices.append(choice)
        return Labels(prompts.histories, prompts.candidates, choice, scores.astype(np.float32))

    def evidence(self, prompts: Prompts, counted: bool) -> np.ndarray:
        """Returns scores for a calibration, see `ialp_jax.labelling.labeller.LabelSource`."""
        scores, choice = self._answer(prompts)
        if counted:
            self._choices.append(choice)
        return np.maximum(scores.astype(np.float64), LEAST)

    def _answer(self, prompts: Prompts) -> tuple[np.ndarray, np.ndarray]:
        """Returns the scores [P, K] and the choices int32 [P] of one request."""
        random = keys.generator(self._seed, f"label-{self._name}", self._requests)
        self._requests += 1
        scores, none = self.score(prompts, random)
        return scores, np.where(none, 0, 1 + scores.argmax(1)).astype(np.int32)

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns the scores [P, K] of the candidates, and whether the answer is "none", bool [P]."""
        raise NotImplementedError

    def require_valid(self) -> None:
        """Does nothing, because the answers of a rule are always valid."""

    def manifest(self) -> dict[str, object]:
        """Returns the name of the rule, and the number of prompts by kind of label."""
        choices = np.concatenate([np.zeros(0, np.int32), *self._choices])
        counts = {"prompts": len(choices), "valid": len(choices), "none": int(np.sum(choices == 0))}
        return {"model": f"{self._name} (no LLM)", "source": self._name, "counts": counts}


class Popularity(RuleLabeller):
    """Chooses the most liked candidate, see the module docstring."""

    def __init__(self, seed: int, popularity: np.ndarray, none_share: float) -> None:
        """Stores the likes of each item by offline users, [N + 1], and the share of "none" answers."""
        super().__init__("popularity", seed)
        self._popularity, self._none_share = popularity, none_share

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The score is log(1 + likes). Prompts whose best candidate has the fewest likes get "none".

        So the softmax is the share of each candidate in the likes of all candidates, plus one like for each.
        """
        scores = np.log1p(self._popularity[prompts.candidates])
        return scores, lowest_share(scores.max(1), self._none_share, random)


class Random(RuleLabeller):
    """Chooses at random, see the module docstring."""

    def __init__(self, seed: int, none_share: float) -> None:
        """Stores the share of "none" answers."""
        super().__init__("random", seed)
        self._none_share = none_share

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws random scores and random "none" answers.

        Scores are Gumbel noise, so that the best candidate is one drawn from equal probabilities.
        """
        shape = prompts.candidates.shape
        uniform = np.maximum(random.random(shape), np.finfo(np.float64).tiny)
        return -np.log(-np.log(uniform)), np.asarray(random.random(shape[0]) < self._none_share)


class Logged(RuleLabeller):
    """Chooses the user's next logged item, see the module docstring."""

    def __init__(self, seed: int, logged: Windows, histories: Histories, ordered: bool) -> None:
        """Stores the start windows, all likes, and whether likes have an order in time.

        Without an order in time, any like of the user counts as a next item. Prompts never contain items that
        the session has already shown.
        """
        super().__init__("logged", seed)
        self._places = {
            user: {item: place for place, item in enumerate(histories.of(user).tolist())}
            for user in np.unique(logged.user).tolist()
        }
        self._logged, self._ordered = logged, ordered

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The score is -log(1 + likes between window and item), or -inf if the item is not a later like."""
        candidates = prompts.candidates
        scores = np.full(candidates.shape, -np.inf)
        for p, row in enumerate(prompts.windows.tolist()):
            places = self._places[int(self._logged.user[row])]
            first = places[int(self._logged.target[row])] if self._ordered else 0
            for k, item in enumerate(candidates[p].tolist()):
                if places.get(item, -1) >= first:
                    scores[p, k] = -np.log1p(places[item] - first)
        return scores, np.isneginf(scores.max(1))


class Truth(RuleLabeller):
    """Uses the world's user model, see the module docstring."""

    def __init__(self, seed: int, logged: Windows, model: UserModel) -> None:
        """Stores the start windows and the user model of the world."""
        super().__init__("truth", seed)
        self._logged, self._model = logged, model

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Scores are log-odds of a like. "none" is as probable as a dislike of the best candidate."""
        users = self._logged.user[prompts.windows][:, None]
        scores = np.asarray(like_logit(self._model, users, prompts.candidates))
        return scores, random.random(len(scores)) >= np.asarray(jax.nn.sigmoid(scores)).max(1)


class FoldIn(RuleLabeller):
    """Uses the world's user model with estimated user factors, see the module docstring.

    A least-squares regression on the start windows estimates the user factors. Its inputs are the mean and
    the sum of the item factors in the history, the number of items and a constant.
    """

    def __init__(self, seed: int, logged: Windows, model: UserModel, none_share: float) -> None:
        """Fits the regression to the start windows, with the factors of the world's user model."""
        super().__init__("fold_in", seed)
        self._none_share, self._model = none_share, model
        self._items, self._bias = np.array(model.item_factors), np.asarray(model.item_bias)
        self._items[0] = 0  # so that padding adds nothing to a sum
        users = np.asarray(model.user_factors)[logged.user]
        self._map = np.linalg.lstsq(self._features(logged.history), users, rcond=None)[0]

    def _features(self, histories: np.ndarray) -> np.ndarray:
        """Returns the inputs of the regression, [P, 2 F + 2], for histories [P, L]."""
        likes = (histories > 0).sum(1, keepdims=True)
        total = sum(self._items[place] for place in histories.T)
        return np.hstack([total / np.maximum(likes, 1), total, likes, np.ones_like(likes)])

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Scores are estimated log-odds of a like. Prompts with the lowest best scores get "none"."""
        candidates = prompts.candidates
        users = self._features(prompts.histories) @ self._map
        scores = np.einsum("pf,pkf->pk", users, self._items[candidates]) + self._bias[candidates]
        scores = np.asarray(calibrated(self._model, scores))
        return scores, lowest_share(scores.max(1), self._none_share, random)


def lowest_share(values: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Marks the lowest ``share`` of P values, bool [P]. Ties are broken at random."""
    order = np.lexsort((random.random(len(values)), values))
    is_low = np.zeros(len(values), bool)
    is_low[order[: round(share * len(values))]] = True
    return is_low


def rule_labeller(
    config: LabellingConfig, dataset: Dataset, logged: Windows, model: UserModel, seed: int
) -> RuleLabeller:
    """Makes the rule that ``config.source`` names.

    Args:
      config: ``source``, which must name a rule of this module, and ``none_share``.
      dataset: the data set; the rules read only the likes of its offline users.
      logged: the windows from which imagined sessions start.
      model: user model of the world.
      seed: seed of the run.
    """
    ordered = dataset.interactions.ordered
    makers = {
        "popularity": lambda: Popularity(seed, dataset.popularity(), config.none_share),
        "random": lambda: Random(seed, config.none_share),
        "logged": lambda: Logged(seed, logged, dataset.histories, ordered),
        "truth": lambda: Truth(seed, logged, model),
        "fold_in": lambda: FoldIn(seed, logged, model, config.none_share),
    }
    return makers[config.source]()
