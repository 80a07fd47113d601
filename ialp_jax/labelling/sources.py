"""Who answers in place of the LLM: what its labels are worth is what they add to these.

Every source sees the prompts that the LLM would see: K candidates that the present actor proposed.

| source     | chooses                                   | says none                                |
|------------|-------------------------------------------|------------------------------------------|
| popularity | the candidate that offline users like     | where that one is least popular          |
|            | most                                      |                                          |
| random     | any candidate                             | by chance                                |
| logged     | the candidate that the user's log has     | where the log has none of the candidates |
|            | next                                      |                                          |
| truth      | the candidate the user likes best by the  | with the probability that the user does  |
|            | world's user model                        | not like that one                        |
| fold_in    | the candidate that users of such a        | where that one is scored lowest          |
|            | history like best by that model           |                                          |

``popularity``, ``random`` and ``fold_in`` know no threshold of their own: they say none in a given share of
the prompts of each request, so that they can be set to what the LLM said. ``truth`` knows the user, of whom
the actor sees the last likes alone: what it chooses by anything else is noise to the actor. ``fold_in``
stands for the ceiling of what a labeller can know that reads what the actor reads.
"""

from __future__ import annotations

import numpy as np

from ialp_jax import keys
from ialp_jax.data.splits import Windows
from ialp_jax.training.config import LabellingConfig
from ialp_jax.types import Dataset, Histories, Labels, UserModel
from ialp_jax.users.predict import like_probability


class LabelSource:
    """Labels prompts and counts its answers, as `ialp_jax.labelling.client.LabelWorker` does."""

    def __init__(self, name: str, seed: int) -> None:
        """Takes the name for the manifest and the seed of the run."""
        self._name, self._seed = name, seed
        self._choices: list[np.ndarray] = []

    def label(self, histories: np.ndarray, candidates: np.ndarray, rows: np.ndarray) -> Labels:
        """Labels P prompts.

        Args:
          histories: int32 [P, L].
          candidates: int32 [P, K], ids 1..N.
          rows: int [P], which of the start windows each session began with.
        """
        random = keys.generator(self._seed, f"label-{self._name}", len(self._choices))
        scores, none = self.judge(histories, candidates, rows, random)
        choice = np.where(none, 0, 1 + scores.argmax(1)).astype(np.int32)
        self._choices.append(choice)
        return Labels(histories, candidates, choice, scores.astype(np.float32))

    def judge(
        self, histories: np.ndarray, candidates: np.ndarray, rows: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores [P, K] of the candidates, and whether the answer is none, bool [P]."""
        raise NotImplementedError

    def manifest(self) -> dict[str, object]:
        """Who labelled, and how much of it."""
        choices = np.concatenate([np.zeros(0, np.int32), *self._choices])
        counts = {"prompts": len(choices), "valid": len(choices), "none": int(np.sum(choices == 0))}
        return {"model": f"{self._name} (no LLM)", "source": self._name, "counts": counts}


class Popularity(LabelSource):
    """See the module."""

    def __init__(self, seed: int, popularity: np.ndarray, none_share: float) -> None:
        """Takes likes per item by offline users, [N + 1], and the share of prompts answered none."""
        super().__init__("popularity", seed)
        self._popularity, self._none_share = popularity, none_share

    def judge(
        self, histories: np.ndarray, candidates: np.ndarray, rows: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The likes of each candidate; none where those of the best are among the fewest, ties by chance."""
        scores = self._popularity[candidates].astype(np.float64)
        return scores, least(scores.max(1), self._none_share, random)


class Random(LabelSource):
    """See the module."""

    def __init__(self, seed: int, none_share: float) -> None:
        """Takes the share of prompts answered none."""
        super().__init__("random", seed)
        self._none_share = none_share

    def judge(
        self, histories: np.ndarray, candidates: np.ndarray, rows: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Nothing but chance."""
        return random.random(candidates.shape), random.random(len(candidates)) < self._none_share


class Logged(LabelSource):
    """See the module."""

    def __init__(self, seed: int, logged: Windows, histories: Histories, ordered: bool) -> None:
        """Takes the start windows, all likes, and whether those have an order in time.

        Where they have none, any like of the user counts as next; what a session has shown is no candidate.
        """
        super().__init__("logged", seed)
        self._places = {
            user: {item: place for place, item in enumerate(histories.of(user).tolist())}
            for user in np.unique(logged.user).tolist()
        }
        self._logged, self._ordered = logged, ordered

    def judge(
        self, histories: np.ndarray, candidates: np.ndarray, rows: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """1 / (1 + likes between the start window and this one), 0 for what the log does not have next."""
        scores = np.zeros(candidates.shape)
        for p, row in enumerate(rows.tolist()):
            places = self._places[int(self._logged.user[row])]
            first = places[int(self._logged.target[row])] if self._ordered else 0
            for k, item in enumerate(candidates[p].tolist()):
                if places.get(item, -1) >= first:
                    scores[p, k] = 1 / (1 + places[item] - first)
        return scores, scores.max(1) == 0


class Truth(LabelSource):
    """See the module."""

    def __init__(self, seed: int, logged: Windows, model: UserModel) -> None:
        """Takes the start windows and the user model that the world is made of."""
        super().__init__("truth", seed)
        self._logged, self._model = logged, model

    def judge(
        self, histories: np.ndarray, candidates: np.ndarray, rows: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The like probabilities; none where the user, asked about the best, does not like it."""
        scores = np.asarray(like_probability(self._model, self._logged.user[rows][:, None], candidates))
        return scores, random.random(len(scores)) >= scores.max(1)


class FoldIn(LabelSource):
    """See the module.

    What a history tells of a user is learned from the windows: user vectors are regressed by least squares on
    mean and sum of the item vectors in sight, their number and a constant.
    """

    def __init__(self, seed: int, logged: Windows, model: UserModel, none_share: float) -> None:
        """Takes the start windows, from which it learns, the world's user model and the share of none."""
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

    def judge(
        self, histories: np.ndarray, candidates: np.ndarray, rows: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores for the user that the history suggests; none where the best one is among the lowest."""
        users = self._features(histories) @ self._map
        scores = np.einsum("pf,pkf->pk", users, self._items[candidates]) + self._bias[candidates]
        return scores, least(scores.max(1), self._none_share, random)


def least(values: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Which of the values [P] are the lowest such share of them, ties by chance: bool [P]."""
    order = np.lexsort((random.random(len(values)), values))
    found = np.zeros(len(values), bool)
    found[order[: round(share * len(values))]] = True
    return found


def label_source(
    config: LabellingConfig, dataset: Dataset, logged: Windows, model: UserModel, seed: int
) -> LabelSource | None:
    """What ``config.source`` names; None for the LLM.

    Args:
      config: the source and its share of none.
      dataset: popularity and logs of its offline users are read.
      logged: the windows that imagined sessions start from.
      model: of the world.
      seed: of the run.
    """
    ordered = dataset.interactions.ordered
    makers = {
        "llm": lambda: None,
        "popularity": lambda: Popularity(seed, dataset.popularity(), config.none_share),
        "random": lambda: Random(seed, config.none_share),
        "logged": lambda: Logged(seed, logged, dataset.histories, ordered),
        "truth": lambda: Truth(seed, logged, model),
        "fold_in": lambda: FoldIn(seed, logged, model, config.none_share),
    }
    return makers[config.source]()
