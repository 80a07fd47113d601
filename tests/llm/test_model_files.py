import json
import shutil

import pytest

from ialp_jax.errors import InputError
from ialp_jax.llm import model_files


@pytest.mark.parametrize("model", ["/no/such/folder", "./missing", "a/b/c"])
def test_a_missing_folder_is_named(model):
    with pytest.raises(InputError, match=f"^--config.llm.model={model}: no such folder$"):
        model_files.resolve(model, "")


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match="no such folder"):
        model_files.resolve(str(tmp_path / "model.safetensors"), "")


def test_an_unreachable_hub_gives_a_one_line_error(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"^--config\.llm\.model=some-one/some-model: .*out of reach[^\n]*$"):
        model_files.resolve("some-one/some-model", "")


def test_a_missing_network_gives_a_one_line_error(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    download = hub.snapshot_download
    closed = {"endpoint": "http://127.0.0.1:9", "cache_dir": str(tmp_path)}
    monkeypatch.setattr(hub, "snapshot_download", lambda *args, **rest: download(*args, **rest, **closed))
    with pytest.raises(InputError, match=r"^--config\.llm\.model=some-one/some-model: .*out of reach[^\n]*$"):
        model_files.resolve("some-one/some-model", "v1")


def test_an_impossible_hub_id_is_reported():
    pytest.importorskip("huggingface_hub")
    with pytest.raises(InputError, match="neither a folder nor a hub id"):
        model_files.resolve("a model with spaces", "")


def test_a_folder_has_no_revisions(tmp_path):
    with pytest.raises(InputError, match=r"--config\.llm\.revision=v2"):
        model_files.resolve(str(tmp_path), "v2")


def test_a_fingerprint_depends_on_contents_and_not_on_paths(model_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    original = model_files.fingerprint(model_folder)
    assert model_files.fingerprint(copy) == original
    (copy / "manifest.json").write_text("{}")
    (copy / "consolidated.safetensors").write_text("the same weights in another format")
    assert model_files.fingerprint(copy) == original
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        changed = tmp_path / name
        shutil.copytree(model_folder, changed)
        with (changed / name).open("a") as file:
            file.write(" ")
        assert model_files.fingerprint(changed) != original


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_an_incomplete_folder_is_named(model_folder, tmp_path, lost):
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    (copy / lost).unlink()
    (copy / "pytorch_model.bin").touch()
    with pytest.raises(InputError, match=f"^{copy}: .*{lost.split('.')[1]}"):
        model_files.fingerprint(copy)


ACTING = {
    "nothing": ({}, {}, "likelihood", []),
    "a window longer than any prompt": ({"sliding_window": 4096}, {}, "choice", []),
    "a window": ({"sliding_window": 512}, {}, "choice", ["sliding_window"]),
    "a window of a model that also sees": (
        {"text_config": {"sliding_window": 1024}},
        {},
        "likelihood",
        ["sliding_window"],
    ),
    "chunks and a cap": (
        {"attention_chunk_size": 64, "final_logit_softcapping": 30.0},
        {},
        "likelihood",
        ["attention_chunk_size", "final_logit_softcapping"],
    ),
    "scales that do nothing": ({"logit_scale": 1.0, "logits_scaling": None}, {}, "likelihood", []),
    "a scale": ({"logit_scale": 0.0625}, {}, "choice", ["logit_scale"]),
    "transformers' own masks and head": ({"sliding_window": 5, "logit_scale": 2}, {}, "generate", []),
    "a penalty": ({}, {"repetition_penalty": 1.05, "top_p": 0.8}, "generate", ["repetition_penalty"]),
    "a penalty on other answers": ({}, {"repetition_penalty": 1.05}, "choice", []),
}


@pytest.mark.parametrize("case", ACTING)
def test_labels_that_earlier_versions_got_wrong_have_a_new_address(tmp_path, case):
    config, generation, mode, names = ACTING[case]
    (tmp_path / "config.json").write_text(json.dumps(config))
    if generation:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert model_files.acting(tmp_path, mode) == names
