import json

import numpy as np
import pytest
from small_world import dataset, recipe, titles
from small_world import prompts as draw

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from ialp_jax.errors import InputError  # noqa: E402
from ialp_jax.llm import adapter_files  # noqa: E402
from ialp_jax.llm.config import LLMConfig, LoraConfig  # noqa: E402
from ialp_jax.llm.lora import fine_tuning  # noqa: E402
from ialp_jax.llm.lora.training_prompts import TrainingPrompts  # noqa: E402
from ialp_jax.llm.model import embedded  # noqa: E402
from ialp_jax.llm.model.scorer import Scorer  # noqa: E402
from ialp_jax.llm.prompting import templates  # noqa: E402
from ialp_jax.types import Prompts  # noqa: E402

pytestmark = pytest.mark.slow

TEMPLATE = templates.TEMPLATES["titles"]
SHAPE = {"history_length": 5, "num_candidates": 4, "fingerprint": "k", "seed": 0}
ALL = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"


def settings(folder, adapter="", use="merge", mode="likelihood", **lora):
    sizes = {"steps": 4, "batch_size": 4, "learning_rate": 0.01, "rank": 4, "save_every": 100}
    config = LoraConfig(**{**sizes, **lora})
    return LLMConfig(
        mode=mode, model=str(folder), template="titles", adapter=str(adapter), adapter_use=use, lora=config
    )


def load(folder, config):
    return Scorer(folder, titles(), TEMPLATE, config)


def save_model(folder, **sizes):
    torch.manual_seed(0)
    tokenizer = embedded.train_tokenizer(dataset().catalogue, TEMPLATE, 320)
    for part in (tokenizer, embedded.build_model(recipe(**sizes), tokenizer)):
        part.save_pretrained(folder)


def fine_tune(folder, model_folder, world=None, shape=None, **knobs):
    config = settings(model_folder, **knobs)
    return fine_tuning.fine_tune(folder, model_folder, world or dataset(), config, **SHAPE | (shape or {}))


@pytest.fixture(scope="module")
def adapted(model_folder, tmp_path_factory):
    """An adapter and its log; tests must not change them."""
    folder = tmp_path_factory.mktemp("lora")
    return folder, fine_tune(folder, model_folder)


def weights(folder):
    return (folder / adapter_files.WEIGHTS).read_bytes()


def test_it_learns_the_users_taste(tmp_path):
    """There are two tastes, and 40 % of the negatives fit the user's taste. A random choice has an accuracy
    of 0.25. A model that knows the taste has an accuracy of 0.54.
    """
    save_model(tmp_path / "model", layers=2)
    config = {"steps": 120, "batch_size": 16, "rank": 16, "dropout": 0.0, "targets": ALL}
    log = fine_tune(tmp_path / "lora", tmp_path / "model", dataset(num_users=240), **config)
    held_out = log["held_out"]
    assert held_out["chance"] == 0.25
    assert held_out["users"] == 16
    assert held_out["prompts"] >= 500
    assert held_out["accuracy_before"] < 0.4
    low, high = held_out["accuracy_after_interval"]
    assert 0.33 < low <= held_out["accuracy_after"] <= high
    assert held_out["gain_interval"][0] > 0.1
    assert held_out["gain"] == pytest.approx(held_out["accuracy_after"] - held_out["accuracy_before"])
    assert held_out["loss_after"] < held_out["loss_before"]
    assert [step for step, _ in log["loss"]][-1] == 120
    first, last = (np.mean([loss for _, loss in part]) for part in (log["loss"][:20], log["loss"][-20:]))
    assert last < first


def test_merged_and_attached_give_the_same_scores(adapted, model_folder):
    request, scores = draw(12), {}
    for use in ("merge", "attach"):
        scorer = load(model_folder, settings(model_folder, adapted[0], use))
        scores[use] = scorer.score(request)[0]
        updates = [name for name, _ in scorer.model.named_parameters() if "lora" in name]
        assert bool(updates) == (use == "attach")
        assert not any(module.training for module in scorer.model.modules())
    np.testing.assert_allclose(scores["merge"], scores["attach"], atol=2e-4)
    plain = load(model_folder, settings(model_folder)).score(request)[0]
    assert np.abs(scores["merge"] - plain).max() > 0.1, "or equality would prove nothing"


def test_the_loss_is_the_cross_entropy_of_the_scores_of_the_label_stage(model_folder):
    prompts = draw(6)
    answer = np.array([1, 2, 3, 4, 1, 2], np.int32)
    for normalise in ("sum", "mean"):
        config = settings(model_folder)
        config.normalise = normalise
        scorer = load(model_folder, config)
        scores = scorer.score(prompts)[0].astype(np.float64)
        p = np.exp(scores - scores.max(1, keepdims=True))
        expected = -np.log((p / p.sum(1, keepdims=True))[np.arange(6), answer - 1]).mean()
        loss = fine_tuning.loss_of(scorer, TrainingPrompts(prompts, answer, answer))
        assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_none_is_the_last_column():
    scores = torch.tensor([[1.0, 2.0, 5.0], [4.0, 0.0, 1.0]])

    class Lettered:
        def alternatives(self, prompts):
            return scores

    empty = np.zeros((2, 2), np.int32)
    loss = fine_tuning.loss_of(Lettered(), TrainingPrompts(Prompts(empty, empty), np.array([0, 1]), empty[0]))
    log_p = torch.log_softmax(scores, 1)
    assert loss.item() == pytest.approx(-(log_p[0, 2] + log_p[1, 0]).item() / 2)


def test_the_adapter_is_in_pefts_own_format(adapted, model_folder):
    folder = adapted[0]
    assert sorted(path.name for path in folder.iterdir()) == [adapter_files.CONFIG, adapter_files.WEIGHTS]
    config = json.loads((folder / adapter_files.CONFIG).read_text())
    assert config["base_model_name_or_path"] == str(model_folder)
    assert config["inference_mode"] is True
    import transformers

    base = transformers.AutoModelForCausalLM.from_pretrained(model_folder)
    theirs = peft.PeftModel.from_pretrained(base, folder).merge_and_unload()
    ours = load(model_folder, settings(model_folder, folder)).model
    for one, other in zip(theirs.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("sizes", [{"hidden": 64}, {"layers": 1}, {"layers": 3}], ids=str)
def test_an_adapter_of_another_model_is_noticed_by_its_shapes(adapted, tmp_path, sizes):
    save_model(tmp_path, layers=sizes.pop("layers", 2), **sizes)
    message = r"^--config\.llm\.adapter=.*: an adapter of another base model \(.*\), or broken: [^\n]+$"
    with pytest.raises(InputError, match=message):
        load(tmp_path, settings(tmp_path, adapted[0]))


def test_training_uses_only_offline_users_that_are_not_held_out(model_folder, tmp_path):
    world = dataset()
    users, _ = fine_tuning.split_offline(world, 0.1, 0)
    items = world.histories.items.copy()
    for user in set(range(60)) - set(users.tolist()):
        own = slice(world.histories.offsets[user], world.histories.offsets[user + 1])
        items[own] = (items[own] + 1) % 48 + 1
    changed = type(world)(**{**vars(world), "histories": world.histories._replace(items=items)})
    fine_tune(tmp_path / "a", model_folder, world)
    fine_tune(tmp_path / "b", model_folder, changed)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 5},
        {"batch_size": 5},
        {"learning_rate": 0.02},
        {"rank": 5},
        {"alpha": 8.0},
        {"dropout": 0.3},
        {"targets": "q_proj"},
        {"negatives": 2},
        {"negative_sampling": "popularity"},
        {"mode": "choice"},
        {"holdout": 0.5},
        {"dtype": "bfloat16"},
        {"shape": {"seed": 1}},
        {"shape": {"history_length": 2}},
        {"shape": {"num_candidates": 3}},
    ],
    ids=str,
)
def test_every_setting_changes_the_result(adapted, model_folder, tmp_path, change):
    log = fine_tune(tmp_path, model_folder, **change)
    assert weights(tmp_path) != weights(adapted[0])
    if "negatives" in change:
        assert log["num_candidates"] == 3


def test_the_same_settings_give_the_same_bits(adapted, model_folder, tmp_path):
    log = fine_tune(tmp_path, model_folder)
    assert weights(tmp_path) == weights(adapted[0])
    assert {**log, "seconds": 0} == {**adapted[1], "seconds": 0}


def test_gradient_checkpointing_does_not_change_the_result(model_folder, tmp_path, monkeypatch):
    part = pytest.importorskip("transformers.models.mistral.modeling_mistral").MistralMLP
    calls, forward = [], part.forward
    monkeypatch.setattr(
        part, "forward", lambda self, *a, **k: calls.append(self.training) or forward(self, *a, **k)
    )
    fine_tune(tmp_path / "once", model_folder)
    once = sum(calls)
    fine_tune(tmp_path / "twice", model_folder, gradient_checkpointing=True)
    assert sum(calls) - once == 2 * once
    one, other = (
        pytest.importorskip("safetensors.torch").load_file(tmp_path / n / adapter_files.WEIGHTS)
        for n in ("once", "twice")
    )
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-4, rtol=1e-3)


class Killed(Exception):
    pass


def stop_at(last):
    def progress(step, loss):
        if step == last:
            raise Killed

    return progress


@pytest.mark.parametrize("broken", [False, True])
def test_a_stopped_fine_tuning_continues_to_the_same_bits(adapted, model_folder, tmp_path, broken):
    with pytest.raises(Killed):
        fine_tune(tmp_path, model_folder, save_every=2, shape={"progress": stop_at(3)})
    path = tmp_path / "checkpoint.safetensors"
    assert path.exists()
    steps = []
    watch = {"progress": lambda step, loss: steps.append(step)}
    if broken:
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.warns(UserWarning, match=r"not a readable checkpoint .*; the previous one"):
            log = fine_tune(tmp_path, model_folder, save_every=2, shape=watch)
    else:
        log = fine_tune(tmp_path, model_folder, save_every=2, shape=watch)
    assert steps == ([1, 2, 3, 4] if broken else [3, 4])
    assert weights(tmp_path) == weights(adapted[0])
    assert log["loss"] == adapted[1]["loss"]
    assert not path.exists()


def test_a_checkpoint_of_another_fine_tuning_is_not_used(model_folder, tmp_path):
    with pytest.raises(Killed):
        fine_tune(tmp_path, model_folder, save_every=2, shape={"progress": stop_at(3)})
    steps = []
    other = {"fingerprint": "other", "progress": lambda step, loss: steps.append(step)}
    fine_tune(tmp_path, model_folder, shape=other)
    assert steps == [1, 2, 3, 4]


def test_errors_name_their_setting(model_folder, tmp_path):
    with pytest.raises(
        InputError, match=r"^--config\.llm\.lora\.targets: Mistral\w+ has no module 'c_attn'; it has .*q_proj"
    ):
        fine_tune(tmp_path, model_folder, targets="q_proj,c_attn")
    with pytest.raises(InputError, match=r"^--config\.llm\.lora\.targets: [^\n]+$"):
        fine_tune(tmp_path, model_folder, targets="norm")
    with pytest.raises(
        InputError, match=r"^--config\.llm\.lora\.learning_rate=1e\+20: the loss is \w+ at step"
    ):
        fine_tune(tmp_path, model_folder, learning_rate=1e20)


def test_a_model_that_ignores_masks_is_refused(model_folder, tmp_path, monkeypatch):
    from ialp_jax.llm.modes import masks

    monkeypatch.setattr(
        masks,
        "of_layers",
        lambda model, position, segment, past: torch.zeros(1, 1, position.shape[1] - past, 1),
    )
    with (
        pytest.warns(UserWarning, match="takes no mask"),
        pytest.raises(InputError, match="LoRA cannot train it for likelihood"),
    ):
        fine_tune(tmp_path, model_folder)
    assert not list(tmp_path.iterdir())


def test_the_curve_averages_all_losses():
    assert fine_tuning.curve([4.0, 2.0]) == [[1, 4.0], [2, 2.0]]
    long = fine_tuning.curve(list(np.arange(1000.0)))
    assert len(long) == fine_tuning.LOG_POINTS
    assert long[-1] == [1000, 994.5]


@pytest.mark.parametrize("mode", ["choice", "generate"])
def test_lettered_modes_learn_none_too(model_folder, tmp_path, mode):
    logs = {
        share: fine_tune(tmp_path / str(share), model_folder, mode=mode, none_share=share, steps=12)
        for share in (0.0, 0.9)
    }
    config = settings(model_folder, mode=mode)
    none = {}
    for share, log in logs.items():
        assert 0 <= log["held_out"]["accuracy_after"] <= 1
        config.adapter = str(tmp_path / str(share))
        with torch.inference_mode():
            scores = load(model_folder, config).alternatives(draw(20))
        assert scores.shape == (20, 5)
        none[share] = scores[:, -1].exp().mean().item()
    assert none[0.9] > none[0.0] + 0.1, "more training prompts with none give more answers none"
