import numpy as np
import pytest
from small_world import dataset, recipe

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from ialp_jax.errors import InputError  # noqa: E402
from ialp_jax.llm.config import LLMConfig  # noqa: E402
from ialp_jax.llm.model import corpus, embedded, torch_checkpoint  # noqa: E402
from ialp_jax.llm.model.scorer import Scorer  # noqa: E402
from ialp_jax.llm.modes.none_rule import draw_trial  # noqa: E402
from ialp_jax.llm.prompting import templates  # noqa: E402
from ialp_jax.types import EVALUATION  # noqa: E402

TEMPLATE = templates.TEMPLATES["titles"]


def test_tokenizer_spells_any_text_and_a_line_end_is_one_token():
    tokenizer = embedded.train_tokenizer(dataset().catalogue, TEMPLATE, 320)
    text = "Amber Waltz\nSigur Rós 漢字 ☃ żółć\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert len(tokenizer) == 320
    end = tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert len(end) == 1
    assert [token for token, i in tokenizer.get_vocab().items() if "Ċ" in token and i != end[0]] == []


def test_segments_of_a_row_do_not_see_each_other():
    torch.manual_seed(0)
    tokenizer = embedded.train_tokenizer(dataset().catalogue, TEMPLATE, 320)
    model = embedded.build_model(recipe(), tokenizer).eval()
    tokens = embedded.tokenise(tokenizer, dataset().catalogue.titles, TEMPLATE, 96)
    first_history, second_history = np.array([1, 2]), np.array([3, 4, 5])
    packed_apart = [corpus.pack(tokens, [h], 96, 0) for h in (first_history, second_history)]
    packed = corpus.pack(tokens, [first_history, second_history], 96, 0)
    assert len(packed.ids) == 1
    with torch.inference_mode():
        together = embedded.loss_of(model, packed, "sum").item()
        alone = sum(embedded.loss_of(model, rows, "sum").item() for rows in packed_apart)
    assert together == pytest.approx(alone, rel=1e-5)


def test_learning_rate_warms_up_and_ends_near_zero():
    config = recipe(steps=100, learning_rate=0.5)
    rates = [embedded.learning_rate(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[4] == 0.5
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.001


def test_every_parameter_has_one_optimiser():
    tokenizer = embedded.train_tokenizer(dataset().catalogue, TEMPLATE, 320)
    model = embedded.build_model(recipe(), tokenizer)
    groups = [g for o in embedded.build_optimisers(model) for g in o.param_groups]
    assert sorted(id(p) for g in groups for p in g["params"]) == sorted(id(p) for p in model.parameters())


def test_training_is_deterministic_and_depends_on_the_seed(tmp_path):
    weights = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        log = embedded.train(tmp_path / name, dataset(), TEMPLATE, recipe(), seed)
        weights[name] = (tmp_path / name / "model.safetensors").read_bytes()
    assert weights["a"] == weights["b"] != weights["c"]
    assert log["steps"] == 3
    assert log["users"] + log["held_out_users"] == 40


def test_batches_are_full_and_depend_on_the_seed():
    data = dataset()
    tokenizer = embedded.train_tokenizer(data.catalogue, TEMPLATE, 320)
    tokens = embedded.tokenise(tokenizer, data.catalogue.titles, TEMPLATE, 96)
    streams = [embedded.batches(tokens, data, np.arange(40), recipe(), 0, seed) for seed in (0, 0, 1)]
    drawn = [[next(stream).ids for _ in range(9)] for stream in streams]  # more than one epoch
    assert {ids.shape for ids in drawn[0]} == {(4, 96)}
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_it_learns_the_users_taste(tmp_path):
    """Each user likes only even or only odd items. For held-out users, the liked half gets higher scores."""
    data = dataset(num_users=240)
    steps = []
    log = embedded.train(
        tmp_path,
        data,
        TEMPLATE,
        recipe(steps=200, learning_rate=0.02, batch_size=8),
        0,
        lambda step, loss: steps.append((step, loss)),
    )
    assert [step for step, _ in steps] == list(range(1, 201))
    assert log["held_out_loss"] < 0.5 * steps[0][1]
    trial = draw_trial(data, data.users(EVALUATION), seed=0)
    trial = trial.rows(slice(150))
    other = (trial.candidates[:, 1] - trial.candidates[:, 0]) % 2 == 1
    scores = Scorer(tmp_path, data.catalogue.titles, TEMPLATE, LLMConfig()).score(trial)[0][other]
    assert (scores[:, 0] > scores[:, 1]).mean() > 0.85


def test_training_uses_only_offline_users(tmp_path):
    """The likes of other users do not change the model."""
    data = dataset()
    items = data.histories.items.copy()
    for user in data.users(EVALUATION):
        items[data.histories.offsets[user] : data.histories.offsets[user + 1]] = 7
    changed = type(data)(**{**vars(data), "histories": data.histories._replace(items=items)})
    for name, world in (("a", data), ("b", changed)):
        embedded.train(tmp_path / name, world, TEMPLATE, recipe(), 0)
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert a == b


def test_it_is_a_real_mistral(tmp_path):
    embedded.train(tmp_path, dataset(), TEMPLATE, recipe(), 0)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(model) is transformers.MistralForCausalLM
    assert model.config.num_key_value_heads == 1
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


class Killed(Exception):
    pass


@pytest.mark.parametrize("damage", [None, "altered"])
def test_a_killed_training_continues_to_the_same_bits(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(embedded, "SAVE_SECONDS", 0)
    config, steps = recipe(steps=5), []

    def until(last):
        def progress(step, loss):
            steps.append(step)
            if step == last:
                raise Killed

        return progress

    calm = embedded.train(tmp_path / "calm", dataset(), TEMPLATE, config, 0, fingerprint="k")
    with pytest.raises(Killed):
        embedded.train(tmp_path / "model", dataset(), TEMPLATE, config, 0, until(4), "k")
    newest = embedded.checkpoints_of(tmp_path / "model") / torch_checkpoint.NAME
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    if damage:
        newest.write_bytes(content)
        with pytest.warns(UserWarning, match=rf"{torch_checkpoint.NAME}: not a readable checkpoint"):
            log = embedded.train(tmp_path / "model", dataset(), TEMPLATE, config, 0, until(9), "k")
    else:
        log = embedded.train(tmp_path / "model", dataset(), TEMPLATE, config, 0, until(9), "k")
    assert steps == [1, 2, 3, 4, *((3, 4, 5) if damage else (4, 5))]
    first_history, other = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("calm", "model"))
    assert first_history == other
    assert {**log, "seconds": 0} == {**calm, "seconds": 0}


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    with pytest.raises(
        InputError, match=r"^--config\.llm\.embedded\.learning_rate=1e\+30: the loss is nan at step"
    ):
        embedded.train(tmp_path / "model", dataset(), TEMPLATE, recipe(steps=9, learning_rate=1e30), 0)
