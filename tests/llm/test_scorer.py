import json
import shutil

import pytest
from small_world import titles

torch = pytest.importorskip("torch")

from ialp_jax.errors import InputError  # noqa: E402
from ialp_jax.llm.config import LLMConfig  # noqa: E402
from ialp_jax.llm.model.scorer import Scorer  # noqa: E402
from ialp_jax.llm.prompting import templates  # noqa: E402


@pytest.fixture
def copy(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "copy")


def load(folder, **settings):
    return Scorer(folder, titles(), templates.TEMPLATES["titles"], LLMConfig(**settings))


def without_pad(folder):
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["pad_token"]
    path.write_text(json.dumps(settings))


def one_line(error):
    return "\n" not in str(error.value)


def test_a_tokenizer_without_pad_token_gives_an_error_that_names_the_setting(copy):
    without_pad(copy)
    with pytest.raises(InputError, match=r"has no pad token; set --config\.llm\.pad_token=</s>") as error:
        load(copy)
    assert one_line(error)
    assert load(copy, pad_token="</s>").padding == 2


def test_an_unknown_pad_token_is_named(copy):
    with pytest.raises(InputError, match=r"^--config\.llm\.pad_token=\[PAD\]: not in the vocabulary"):
        load(copy, pad_token="[PAD]")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("how", ["truncated", "garbage"])
def test_a_broken_file_gives_a_one_line_error(copy, name, how):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2] if how == "truncated" else b"\x80garbage")
    with pytest.raises(InputError, match=f"^{copy}: ") as error:
        load(copy)
    assert one_line(error)


def test_missing_weights_are_not_replaced_by_random_ones(copy):
    safetensors = pytest.importorskip("safetensors.torch")
    weights = safetensors.load_file(copy / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    safetensors.save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"weights are missing, model\.layers\.1\.mlp\.up_proj\.weight"):
        load(copy)


def test_code_in_a_model_folder_is_not_run(copy, tmp_path):
    settings = json.loads((copy / "config.json").read_text())
    settings |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}}
    (copy / "config.json").write_text(json.dumps(settings))
    (copy / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError):
        load(copy)
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_not_read(copy):
    torch.save({}, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match="not a readable causal language model"):
        load(copy)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_reported(copy):
    with pytest.raises(InputError, match=r"--config\.llm\.device=cuda: torch sees no GPU"):
        load(copy, device="cuda")


def test_the_dtype_setting_is_used(copy):
    assert load(copy, dtype="bfloat16").model.dtype == torch.bfloat16
    assert load(copy, device="cpu").model.dtype == torch.float32
