import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diagnostic_worlds import ACTOR_CRITIC, ENV, ITEMS, LENGTH, SMALL, start_of, world
from function_labeller import FunctionLabeller
from test_checkpoint import Killed, checkpoints

from ialp_jax.agents.config import IALPConfig
from ialp_jax.errors import InputError
from ialp_jax.labelling.config import LabellingConfig
from ialp_jax.labelling.imagine import imagined_params, start_sessions
from ialp_jax.labelling.rounds import Setting, label_round
from ialp_jax.labelling.transitions import training_data
from ialp_jax.networks.heads import Recommender, mask_shown
from ialp_jax.training.config import CheckpointConfig, PretrainConfig
from ialp_jax.training.loop import Hooks
from ialp_jax.training.params import load_params, save_params
from ialp_jax.training.pretrain import Pretrainer, offline_loss, supervised_loss

ROUNDS, SESSIONS, STEPS = 3, 6, 5
LABELLING = LabellingConfig(rounds=ROUNDS, sessions=SESSIONS, steps=STEPS, candidates=4)
CONFIG = PretrainConfig(batch_size=16, learning_rate=1e-2)
PARAMS = imagined_params(world("patience"), np.array([[0, 0, 0, 1], [0, 0, 0, 2]], np.int32))
SETTING = Setting(ENV, PARAMS, ACTOR_CRITIC, LABELLING)
KEY = jax.random.key(0)


class Counted:
    """A loss that counts how often JAX traces it, and so how often JAX compiles it."""

    def __init__(self, loss):
        self.loss, self.traced = loss, 0

    def __call__(self, *args):
        self.traced += 1
        return self.loss(*args)


def trainer(loss, seeds=2):
    return Pretrainer(
        loss, ACTOR_CRITIC, CONFIG, 40, KEY, seeds, LENGTH, seeds_by="map", name="pretrain of ialp"
    )


def low_items(prompts):
    """Chooses the lowest id if it is below 10, else none. About one choice in seven is invalid."""
    proposed = prompts.candidates
    choice = np.where(proposed.min(1) < 10, proposed.argmin(1) + 1, 0)
    choice[(proposed.sum(1) % 7) == 0] = -1
    return choice


@pytest.fixture(scope="module")
def labelling_run():
    """Alternates labelling and learning: (trainer, number of traces, arrays of each round, metrics)."""
    loss = Counted(offline_loss(IALPConfig(), ACTOR_CRITIC))
    run = trainer(loss)
    users = start_sessions(ENV, PARAMS, KEY, SESSIONS)
    rounds, metrics = [], []
    for number in range(ROUNDS):
        actor = jax.tree.map(lambda leaf: leaf[0], run.params)
        key = jax.random.fold_in(KEY, number)
        users, arrays = label_round(SETTING, actor, users, FunctionLabeller(low_items), key)
        rounds.append(arrays)
        joined = {name: np.concatenate([rows[name] for rows in rounds]) for name in arrays}
        metrics.append(run.advance(*training_data(joined, ROUNDS * SESSIONS * STEPS)))
    return run, loss.traced, rounds, metrics


def test_pretraining_from_stored_labels_repeats_the_labelling_run(labelling_run):
    run, _, rounds, metrics = labelling_run
    again = trainer(offline_loss(IALPConfig(), ACTOR_CRITIC))
    for number in range(ROUNDS):
        joined = {name: np.concatenate([rows[name] for rows in rounds[: number + 1]]) for name in rounds[0]}
        result = again.advance(*training_data(joined, ROUNDS * SESSIONS * STEPS))
        for name, values in result.items():
            np.testing.assert_array_equal(values, metrics[number][name])
    for first, second in zip(jax.tree.leaves(run.learner), jax.tree.leaves(again.learner), strict=True):
        np.testing.assert_array_equal(first, second)


def test_more_rounds_need_no_new_compilation(labelling_run):
    _, traced, _, metrics = labelling_run
    once = Counted(offline_loss(IALPConfig(), ACTOR_CRITIC))
    jax.eval_shape(
        lambda p, d: jax.value_and_grad(lambda q: once(q, q, d, KEY), has_aux=True)(p),
        jax.tree.map(lambda leaf: leaf[0], labelling_run[0].params),
        training_data(labelling_run[2][0], SESSIONS * STEPS)[0],
    )
    assert len(metrics) == ROUNDS
    assert traced <= 2 * once.traced  # scan may trace its body twice, but not once per round


def test_seeds_differ_in_start_and_in_what_they_learn(labelling_run):
    run, *_ = labelling_run
    for leaf in jax.tree.leaves(run.params["params"]["encoder"]["items"]):
        assert (leaf[0] != leaf[1]).any()
    assert (labelling_run[3][0]["loss"][0] != labelling_run[3][0]["loss"][1]).all()


def test_it_learns_the_labels(labelling_run):
    run, _, _, metrics = labelling_run
    apply = jax.jit(ACTOR_CRITIC.apply)
    for seed in range(2):
        params = jax.tree.map(lambda leaf, seed=seed: leaf[seed], run.params)
        logits = mask_shown(apply(params, start_of(0).history).logits, start_of(0).shown)
        assert float(jax.nn.softmax(logits)[:9].sum()) > 0.75  # 8 / 15 before
    assert {"loss", "actor_loss", "critic_loss", "entropy", "q", "gradient_norm"} <= set(metrics[0])
    drift = zip(jax.tree.leaves(run.learner.params), jax.tree.leaves(run.learner.target), strict=True)
    assert any((a != b).any() for a, b in drift)


def test_only_filled_rows_are_learned_from():
    """Rows after ``size`` are NaN. It is an error if no row is filled, or if a metric is not finite."""

    def loss(params, target, batch, key):
        value = jnp.mean(params["params"]["critic"]["Dense_0"]["bias"] ** 2) + batch.mean()
        return value, {"filled": batch.mean()}

    run = Pretrainer(loss, ACTOR_CRITIC, CONFIG, 3, KEY, 2, LENGTH, name="toy")
    data = np.array([1.0, 1.0, np.nan, np.nan], np.float32)
    np.testing.assert_array_equal(run.advance(data, 2)["filled"], [1.0, 1.0])
    with pytest.raises(InputError, match="toy: there is nothing to learn from"):
        run.advance(data, 0)
    with pytest.raises(
        InputError,
        match=r"toy: \w+ is nan in gradient steps 4 to 6 \(phase 2\), seed 0; .*--config\.pretrain",
    ):
        run.advance(data, 4)


@pytest.mark.parametrize("stop", [20, 40], ids=["within a phase", "after a phase"])
def test_an_interrupted_pretraining_ends_with_the_same_bits(tmp_path, stop):
    network = Recommender(ITEMS, LENGTH, SMALL)
    sequences = np.random.default_rng(0).integers(1, ITEMS + 1, (64, LENGTH + 1)).astype(np.int32)
    loss = supervised_loss(network)
    again = Pretrainer(loss, network, CONFIG, 40, KEY, 2, LENGTH, seeds_by="map")
    start = again.learner

    def train(saving=None):
        again.learner = start
        rows = again.run(sequences, [32, 64], first_bias, Hooks(saving))
        return rows, again.learner

    rows, learner = train()
    with (
        pytest.raises(Killed),
        checkpoints(tmp_path, at=stop, config=CheckpointConfig(every=1, seconds=0)) as saving,
    ):
        train(saving)
    with checkpoints(tmp_path) as saving:
        same_rows, same_learner = train(saving)
        assert saving.offered == list(range(stop + 10, 81, 10))
    assert [row["bias"].tolist() for row in same_rows] == [row["bias"].tolist() for row in rows]
    assert len(rows) == 3
    for one, other in zip(jax.tree.leaves(learner), jax.tree.leaves(same_learner), strict=True):
        np.testing.assert_array_equal(one, other)


def first_bias(params):
    """A fake evaluation that returns one parameter of each seed."""
    return {"bias": np.asarray(jax.tree.leaves(params)[0]).reshape(2, -1)[:, 0]}


def test_supervised_training_learns_what_follows():
    network = Recommender(ITEMS, LENGTH, SMALL)
    first = np.random.default_rng(0).integers(1, 7, (200, 1))
    sequences = ((first + np.arange(LENGTH + 1)) % ITEMS + 1).astype(np.int32)  # the next id follows
    run = Pretrainer(supervised_loss(network), network, CONFIG, 150, KEY, 1, LENGTH, seeds_by="map")
    run.advance(sequences, 200)
    assert float(run.advance(sequences, 200)["hit_rate"][0]) > 0.95


def test_checkpoints_keep_every_bit_and_refuse_another_network(tmp_path, labelling_run):
    params = labelling_run[0].params
    save_params(tmp_path / "ialp", params)
    result = load_params(tmp_path / "ialp", params)
    for old, new in zip(jax.tree.leaves(params), jax.tree.leaves(result), strict=True):
        np.testing.assert_array_equal(old, new)
    other = jax.jit(Recommender(ITEMS, LENGTH, SMALL).init)(KEY, start_of(0).history)
    wider = jax.tree.map(lambda leaf: np.zeros((3, *leaf.shape[1:]), leaf.dtype), params)
    for wrong in (other, wider):
        with pytest.raises(InputError, match="not a checkpoint of this network"):
            load_params(tmp_path / "ialp", wrong)
    with pytest.raises(InputError, match="--stage=pretrain"):
        load_params(tmp_path / "missing", params)


def test_impossible_settings_are_refused():
    PretrainConfig().check()
    for name in ("batch_size", "learning_rate", "updates_per_round"):
        with pytest.raises(InputError, match=rf"--config\.pretrain\.{name}"):
            PretrainConfig(**{name: 0}).check()
