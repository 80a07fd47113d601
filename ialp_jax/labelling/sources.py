"""Baseline labellers: rules that label instead of the LLM. The LLM is useful if it beats them.

Every source labels the prompts that the LLM would label: K candidates that the current actor proposed.

| source     | chooses                                   | says none                                |
|------------|-------------------------------------------|------------------------------------------|
| popularity | the candidate with the most likes of      | if it is among the least liked ones      |
|            | offline users                             |                                          |
| random     | any candidate                             | by chance                                |
| logged     | the candidate that comes next in the      | if the log has none of the candidates    |
|            | user's log                                |                                          |
| truth      | the candidate that the user likes best by | with the probability that the user does  |
|            | the world's user model                    | not like that candidate                  |
| fold_in    | the candidate that users with the same    | if its score is among the lowest ones    |
|            | history like best by the same model       |                                          |

``popularity``, ``random`` and ``fold_in`` have no threshold. They answer "none" to a given share of the
prompts of each request. This share can be set to the share of the LLM. ``truth`` knows the user, but the
actor sees only the user's last likes. If a label depends on other facts about the user, it is noise for the
actor. ``fold_in`` is an upper bound for a labeller that sees only the actor's input.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np

from ialp_jax import keys
from ialp_jax.data.splits import Windows
from ialp_jax.labelling.config import LabellingConfig
from ialp_jax.types import Dataset, Histories, Labels, Prompts, UserModel
from ialp_jax.users.predict import like_probability


class RuleLabeller:
    """Labels by a rule and counts its answers, see `ialp_jax.labelling.labeller.Labeller`."""

    def __init__(self, name: str, seed: int) -> None:
        """Takes the name for the manifest and the seed of the run."""
        self._name, self._seed = name, seed
        self._choices: list[np.ndarray] = []

    def __enter__(self) -> Self:
        """A rule needs no preparation."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A rule has no resources to free."""

    def label(self, prompts: Prompts) -> Labels:
        """Labels P prompts from imagined sessions. The prompts must have ``windows``."""
        random = keys.generator(self._seed, f"label-{self._name}", len(self._choices))
        scores, none = self.score(prompts, random)
        choice = np.where(none, 0, 1 + scores.argmax(1)).astype(np.int32)
        self._choices.append(choice)
        return Labels(prompts.histories, prompts.candidates, choice, scores.astype(np.float32))

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Scores [P, K] of the candidates, and whether the answer is "none", bool [P]."""
        raise NotImplementedError

    def require_valid(self) -> None:
        """A rule's answers are always valid."""

    def manifest(self) -> dict[str, object]:
        """Name of the rule, and counts of prompts."""
        choices = np.concatenate([np.zeros(0, np.int32), *self._choices])
        counts = {"prompts": len(choices), "valid": len(choices), "none": int(np.sum(choices == 0))}
        return {"model": f"{self._name} (no LLM)", "source": self._name, "counts": counts}


class Popularity(RuleLabeller):
    """Chooses the most liked candidate, see the module docstring."""

    def __init__(self, seed: int, popularity: np.ndarray, none_share: float) -> None:
        """Takes likes per item by offline users, [N + 1], and the share of prompts answered "none"."""
        super().__init__("popularity", seed)
        self._popularity, self._none_share = popularity, none_share

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Scores candidates by their likes; "none" if the best one is among the least liked."""
        scores = self._popularity[prompts.candidates].astype(np.float64)
        return scores, lowest_share(scores.max(1), self._none_share, random)


class Random(RuleLabeller):
    """Chooses at random, see the module docstring."""

    def __init__(self, seed: int, none_share: float) -> None:
        """Takes the share of prompts answered "none"."""
        super().__init__("random", seed)
        self._none_share = none_share

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Only chance."""
        shape = prompts.candidates.shape
        return random.random(shape), np.asarray(random.random(shape[0]) < self._none_share)


class Logged(RuleLabeller):
    """Chooses the user's next logged item, see the module docstring."""

    def __init__(self, seed: int, logged: Windows, histories: Histories, ordered: bool) -> None:
        """Takes the start windows, all likes, and whether likes have an order in time.

        Without an order in time, any like of the user counts as next. Items that a session has already shown
        are never candidates.
        """
        super().__init__("logged", seed)
        self._places = {
            user: {item: place for place, item in enumerate(histories.of(user).tolist())}
            for user in np.unique(logged.user).tolist()
        }
        self._logged, self._ordered = logged, ordered

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """1 / (1 + likes between the start window and the item); 0 for items that do not come next."""
        candidates = prompts.candidates
        scores = np.zeros(candidates.shape)
        for p, row in enumerate(prompts.windows.tolist()):
            places = self._places[int(self._logged.user[row])]
            first = places[int(self._logged.target[row])] if self._ordered else 0
            for k, item in enumerate(candidates[p].tolist()):
                if places.get(item, -1) >= first:
                    scores[p, k] = 1 / (1 + places[item] - first)
        return scores, scores.max(1) == 0


class Truth(RuleLabeller):
    """Uses the world's user model, see the module docstring."""

    def __init__(self, seed: int, logged: Windows, model: UserModel) -> None:
        """Takes the start windows and the user model of the world."""
        super().__init__("truth", seed)
        self._logged, self._model = logged, model

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Like probabilities; "none" if a random draw decides that the user dislikes the best candidate."""
        users = self._logged.user[prompts.windows][:, None]
        scores = np.asarray(like_probability(self._model, users, prompts.candidates))
        return scores, random.random(len(scores)) >= scores.max(1)


class FoldIn(RuleLabeller):
    """Uses the world's user model for an estimated user, see the module docstring.

    It fits a least-squares regression to the windows. The regression predicts the user vector from the mean
    and sum of the history's item vectors, the number of items and a constant.
    """

    def __init__(self, seed: int, logged: Windows, model: UserModel, none_share: float) -> None:
        """Takes the start windows to learn from, the world's user model and the share of "none"."""
        super().__init__("fold_in", seed)
        self._none_share = none_share
        self._items, self._bias = np.array(model.item_factors), np.asarray(model.item_bias)
        self._items[0] = 0  # padding adds nothing to a sum
        users = np.asarray(model.user_factors)[logged.user]
        self._map = np.linalg.lstsq(self._features(logged.history), users, rcond=None)[0]

    def _features(self, histories: np.ndarray) -> np.ndarray:
        """Maps histories [P, L] to [P, 2 F + 2]."""
        likes = (histories > 0).sum(1, keepdims=True)
        total = sum(self._items[place] for place in histories.T)
        return np.hstack([total / np.maximum(likes, 1), total, likes, np.ones_like(likes)])

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Scores for the estimated user; "none" if the best candidate has one of the lowest scores."""
        candidates = prompts.candidates
        users = self._features(prompts.histories) @ self._map
        scores = np.einsum("pf,pkf->pk", users, self._items[candidates]) + self._bias[candidates]
        return scores, lowest_share(scores.max(1), self._none_share, random)


def lowest_share(values: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Selects the lowest ``share`` of the values [P], bool [P]; chance breaks ties."""
    order = np.lexsort((random.random(len(values)), values))
    is_low = np.zeros(len(values), bool)
    is_low[order[: round(share * len(values))]] = True
    return is_low


def rule_labeller(
    config: LabellingConfig, dataset: Dataset, logged: Windows, model: UserModel, seed: int
) -> RuleLabeller:
    """The rule that ``config.source`` names.

    Args:
      config: names the source, which must not be the LLM, and its share of "none".
      dataset: only popularity and logs of its offline users are read.
      logged: the windows that imagined sessions start from.
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
