"""Label source ``log_model``: the supervised SASRec, trained on the logs of offline users.

Its labels show how much a policy gains from learned scores without an LLM. The score of a candidate is its
log-probability as the next item, among all items of the catalogue.
"""

from __future__ import annotations

import dataclasses
import hashlib
from functools import partial
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors import numpy as tensors

from ialp_jax import store
from ialp_jax.agents.base import Params
from ialp_jax.data.splits import Windows
from ialp_jax.errors import InputError, one_line
from ialp_jax.keys import stream
from ialp_jax.labelling.sources import RuleLabeller, lowest_share
from ialp_jax.networks.heads import Recommender
from ialp_jax.training.config import PretrainConfig
from ialp_jax.training.offline import training_sequences
from ialp_jax.training.pretrain import Pretrainer, supervised_loss
from ialp_jax.types import Array, Key, Prompts

FILE = "model.safetensors"
_MOST_SCORES = 2**22  # largest number of scores (histories times items) in memory at once


class LogModel(RuleLabeller):
    """Chooses the candidate that is the most probable next item, see the module docstring.

    Without calibration, the prompts whose best candidate has the lowest scores get "none".
    """

    def __init__(
        self,
        seed: int,
        none_share: float,
        folder: Path,
        network: Recommender,
        logged: Windows,
        config: PretrainConfig,
        key: Key,
    ) -> None:
        """Stores the inputs. The model is trained or read when the context is entered.

        Args:
          seed: seed of the run, for ties between scores.
          none_share: share of "none" answers without calibration.
          folder: the trained model is stored here.
          network: the network of the supervised SASRec.
          logged: windows of the users on whose logs the model trains.
          config: ``learning_rate`` and ``sasrec_updates`` of the training, and further settings.
          key: the random streams of the training are derived from this key.
        """
        super().__init__("log_model", seed)
        self._none_share, self._folder, self._network = none_share, folder, network
        self._logged, self._config, self._key = logged, config, key
        self._params: Params = None
        self._training: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Reads the model, or trains and stores it. Training again gives the same bits."""
        sequences = training_sequences(self._logged)
        recipe = self._recipe(sequences)
        manifest = store.read_manifest(self._folder) or {}
        if manifest.get("recipe") != recipe:
            params, facts = self._train(sequences)
            with store.replacing(self._folder) as folder:
                flat = traverse_util.flatten_dict(params, sep="/")
                arrays = {name: np.array(leaf, order="C") for name, leaf in flat.items()}
                (folder / FILE).write_bytes(tensors.save(arrays))
                store.seal(folder, {"recipe": recipe, "training": facts})
        self._params, self._training = _read(self._folder)
        return self

    def _recipe(self, sequences: np.ndarray) -> str:
        """Fingerprint of everything that determines the model."""
        config = dataclasses.asdict(self._config)
        names = ("batch_size", "learning_rate", "max_gradient_norm", "sasrec_updates")
        used = [config[name] for name in names]
        network = [self._network.num_items, dataclasses.asdict(self._network.config)]
        key = np.asarray(jax.random.key_data(self._key)).tolist()
        data = hashlib.sha256(np.ascontiguousarray(sequences).tobytes()).hexdigest()
        return store.fingerprint([used, network, key, list(sequences.shape), data])

    def _train(self, sequences: np.ndarray) -> tuple[Params, dict[str, Any]]:
        """Trains on sequences int32 [W, L + 1]; returns the parameters and facts for the manifest."""
        network, updates = self._network, self._config.sasrec_updates
        key, length = stream(self._key, "log_model"), sequences.shape[1] - 1
        trainer = Pretrainer(
            supervised_loss(network), network, self._config, updates, key, 1, length, name="log model"
        )
        metrics = trainer.advance(sequences, len(sequences))
        users = len(np.unique(self._logged.user))
        facts = {"users": users, "windows": len(sequences), "updates": updates}
        params = jax.tree.map(lambda leaf: leaf[0], trainer.params)
        return params, facts | {name: float(value[0]) for name, value in metrics.items()}

    def score(self, prompts: Prompts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Scores candidates by their log-probabilities. The prompts whose best score is lowest get "none"."""
        scores = log_probabilities(self._network, self._params, prompts.histories, prompts.candidates)
        scores = np.asarray(scores, np.float64)
        return scores, lowest_share(scores.max(1), self._none_share, random)

    def manifest(self) -> dict[str, Any]:
        """Returns the entries of a rule, and facts about the training."""
        return super().manifest() | {"log_model": self._training}


def _read(folder: Path) -> tuple[Params, dict[str, Any]]:
    """Reads the parameters and the facts about their training. Raises InputError for a damaged file."""
    manifest = store.verify(folder)
    try:
        arrays = tensors.load((folder / FILE).read_bytes())
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / FILE}: not readable ({one_line(str(error))})") from None
    params = {name: jnp.asarray(array) for name, array in arrays.items()}
    return traverse_util.unflatten_dict(params, sep="/"), manifest["training"]


@partial(jax.jit, static_argnums=0)
def log_probabilities(network: Recommender, params: Params, histories: Array, candidates: Array) -> Array:
    """Log-probabilities of the candidates among all N items, as the next item.

    Args:
      network, params: the model.
      histories: int32 [P, L].
      candidates: int32 [P, K].

    Returns:
      float32 [P, K].
    """

    def one(prompt: tuple[Array, Array]) -> Array:
        history, offered = prompt
        return jax.nn.log_softmax(network.apply(params, history))[offered - 1]

    at_once = max(1, min(len(histories), _MOST_SCORES // network.num_items))
    return jax.lax.map(one, (histories, candidates), batch_size=at_once)
