"""Models, adapters, templates and labels that cannot be used."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy
import tokenizers
from commands import call
from small_run import SETTINGS

from ialp_jax import store
from ialp_jax.llm.model_files import INDEX

AUDIT = (*SETTINGS, "--config.audit.enabled=true", "--redo", "--workdir=HERE/run", "--stage=audit")
MODEL, ADAPTER = "--config.llm.model=HERE/model", "--config.llm.adapter=HERE/adapter"
TEMPLATE = "--config.llm.template=HERE/t.json"
CONFIG = {
    "model_type": "mistral",
    "architectures": ["MistralForCausalLM"],
    "hidden_size": 8,
    "vocab_size": 300,
}
CONFIG |= {"num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1, "intermediate_size": 8}
LORA = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "base_model_name_or_path": "some/where"}
WEIGHTS = safetensors.numpy.save({"lora_A.weight": np.ones((4, 8), np.float32)})
EVIL = "import pathlib\npathlib.Path(__file__).with_name('executed').touch()\n"


def words() -> str:
    """Returns the content of the file of a tiny word tokenizer."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<pad>": 0, "a": 1}, unk_token="<pad>"))
    return tokenizer.to_str()


READABLE = {"model/tokenizer.json": words(), "model/tokenizer_config.json": '{"pad_token": "<pad>"}'}
WHOLE = {"model/config.json": json.dumps(CONFIG), "model/model.safetensors": WEIGHTS, **READABLE}
FILES = {  # case -> (files of the model, flags, expected message)
    "no folder": ({}, (MODEL,), "--config.llm.model=HERE/model: no such folder"),
    "a file": ({"model": "x"}, (MODEL,), "--config.llm.model=HERE/model: no such folder"),
    "no config.json": ({"model/x": ""}, (MODEL,), "HERE/model: not a model folder, it has no config.json"),
    "weights as pickle": (
        {"model/config.json": "{}", "model/pytorch_model.bin": b"\x80\x04."},
        (MODEL,),
        "HERE/model: no weights in safetensors, the only format that is read",
    ),
    "index cut": (
        {"model/config.json": "{}", "model/a.safetensors": "", f"model/{INDEX}": "{"},
        (MODEL,),
        f"HERE/model/{INDEX}: not readable JSON (...)",
    ),
    "index elsewhere": (
        {
            "model/config.json": "{}",
            "model/a.safetensors": "",
            f"model/{INDEX}": '{"weight_map": {"w": "../up"}}',
        },
        (MODEL,),
        f"HERE/model/{INDEX}: not an index of weights beside it; download the model again",
    ),
    "part missing": (
        {
            "model/config.json": "{}",
            "model/a.safetensors": "",
            f"model/{INDEX}": '{"weight_map": {"w": "b.safetensors"}}',
        },
        (MODEL,),
        f"HERE/model/b.safetensors: missing, though {INDEX} names it; download it again",
    ),
    "revision of a folder": (
        WHOLE,
        (MODEL, "--config.llm.revision=v2"),
        "--config.llm.revision=v2: HERE/model is a folder and has no revisions",
    ),
    "no adapter": (WHOLE, (MODEL, ADAPTER), "--config.llm.adapter=HERE/adapter: no such folder"),
    "adapter without settings": (
        WHOLE | {"adapter/adapter_model.safetensors": WEIGHTS},
        (MODEL, ADAPTER),
        "HERE/adapter: not an adapter folder, it has no adapter_config.json",
    ),
    "adapter a list": (
        WHOLE | {"adapter/adapter_config.json": "[]"},
        (MODEL, ADAPTER),
        "HERE/adapter/adapter_config.json: not a JSON object, but []",
    ),
    "adapter as pickle": (
        WHOLE | {"adapter/adapter_config.json": json.dumps(LORA), "adapter/adapter_model.bin": b"\x80\x04."},
        (MODEL, ADAPTER),
        "HERE/adapter: no adapter weights, it has no adapter_model.safetensors; adapter_model.bin is a "
        "pickle and is not read, save it again in safetensors",
    ),
    "adapter cut": (
        WHOLE
        | {
            "adapter/adapter_config.json": json.dumps(LORA),
            "adapter/adapter_model.safetensors": WEIGHTS[:-3],
        },
        (MODEL, ADAPTER),
        "HERE/adapter/adapter_model.safetensors: not readable safetensors (...)",
    ),
    "no template": ({}, (TEMPLATE,), "--config.llm.template=HERE/t.json: no such file"),
    "template cut": (
        {"t.json": '{"name":'},
        (TEMPLATE,),
        "--config.llm.template=HERE/t.json: not readable JSON (...)",
    ),
    "template a list": (
        {"t.json": "[1]"},
        (TEMPLATE,),
        "--config.llm.template=HERE/t.json: not a JSON object, but [1]",
    ),
    "unknown field": (
        {"t.json": '{"name": "x", "version": 1, "colour": "red"}'},
        (TEMPLATE,),
        "--config.llm.template=HERE/t.json: unknown field 'colour'; known: name, version, ...",
    ),
    "field of another type": (
        {"t.json": '{"name": "x", "version": 1, "bullet": 5}'},
        (TEMPLATE,),
        "--config.llm.template=HERE/t.json: 'bullet' must be a text",
    ),
    "store a file": (
        WHOLE | {"store": "x"},
        (MODEL, "--config.llm.store=HERE/store"),
        "HERE/store: cannot be written (File exists)",
    ),
    # only the worker detects these
    "no tokenizer": (
        WHOLE | {"model/tokenizer.json": None, "model/tokenizer_config.json": None},
        (MODEL,),
        "HERE/model: its tokenizer cannot be read (...)",
    ),
    "weights cut": (
        WHOLE | {"model/model.safetensors": WEIGHTS[:-3]},
        (MODEL,),
        "HERE/model: not a readable causal language model (...)",
    ),
    "sizes that cannot be": (
        WHOLE | {"model/config.json": json.dumps(CONFIG | {"num_attention_heads": 32, "head_dim": 0})},
        (MODEL,),
        "HERE/model: not a readable causal language model (...)",
    ),
    "code of its own": (
        WHOLE
        | {
            "model/config.json": json.dumps(
                {"model_type": "mine", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
            ),
            "model/evil.py": EVIL,
        },
        (MODEL,),
        "HERE/model: ...",
    ),
}


@pytest.fixture(scope="module")
def data_only(finished, tmp_path_factory):
    """A run whose data stage is done."""
    folder = tmp_path_factory.mktemp("data_only") / "run"
    shutil.copytree(finished / "data", folder / "data")
    for name in ("config.json", store.MARKER):
        shutil.copy(finished / name, folder)
    return folder


@pytest.mark.parametrize("case", FILES)
def test_models(refused, data_only, tmp_path, case):
    files, flags, message = FILES[case]
    shutil.copytree(data_only, tmp_path / "run")
    (tmp_path / "run/config.json").unlink()
    for name, content in files.items():
        if content is not None:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(message, "main", *AUDIT, *flags)
    assert not list(tmp_path.rglob("executed"))
    assert not (tmp_path / "run/audit").exists()


def reseal(run, **changes):
    manifest = store.read_manifest(run / "labels")
    store.seal(run / "labels", manifest | changes)


def alter(run):
    path = run / "labels/arrays.npz"
    path.write_bytes(path.read_bytes()[:-1])


LABELS = {
    "nothing there": (lambda run: None, ("HERE/none",), "HERE/none: no such folder"),
    "neither": (
        lambda run: (run / "empty").mkdir(),
        ("HERE/run/empty",),
        "HERE/run/empty: neither a run's labels nor a label store",
    ),
    "no such round": (
        lambda run: None,
        ("HERE/run", "--round=first"),
        "argument --round: invalid int value: 'first'; see --help",
    ),
    "no argument": (lambda run: None, (), "the following arguments are required: LABELS; see --help"),
    "altered": (
        alter,
        ("HERE/run",),
        "HERE/run/labels/arrays.npz: altered or truncated (sha256 differs); delete ...",
    ),
    "unfinished": (
        lambda run: (run / "labels/manifest.json").rename(run / "labels/plans"),
        ("HERE/run",),
        "HERE/run/labels: these labels are not finished, they have no manifest.json; run ...",
    ),
    "template of another kind": (
        lambda run: reseal(run, template={"name": "x", "size": 5}),
        ("HERE/run",),
        "HERE/run/labels/manifest.json: names no template; the label stage did not write it",
    ),
    "template of wrong types": (
        lambda run: reseal(
            run, template={"name": 5, "version": "x", "introduction": 1, "bullet": 2, "max_title": ""}
        ),
        ("HERE/run",),
        "HERE/run/labels/manifest.json: names no template; the label stage did not write it",
    ),
    "catalogue of another kind": (
        lambda run: reseal(run, catalogue="lfm"),
        ("HERE/run",),
        "HERE/run/labels/manifest.json: its catalogue is 'lfm'; the label stage did not write it",
    ),
    "another catalogue": (
        lambda run: reseal(run, catalogue={"world": "lfm", "items": 3, "sha256": "abc"}),
        ("HERE/run",),
        "HERE/run/labels: labels made for another catalogue, lfm with 3 items (sha256 abc), but the ...",
    ),
    "no data": (
        lambda run: shutil.rmtree(run / "data"),
        ("HERE/run",),
        "HERE/run/data: no data set there; give the data set of these labels by --data=FOLDER",
    ),
    "a table that cannot be": (
        lambda run: None,
        ("HERE/run", "--number=0", "--export=HERE/run"),
        "--export=HERE/run: cannot be written (Is a directory)",
    ),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels(refused, run, case):
    damage, args, message = LABELS[case]
    damage(run)
    refused(message, "inspect", *args)


def test_damaged_shard_of_a_store_is_reported(refused, tmp_path, capfd):
    folder = tmp_path / "store" / "context"
    store.write_json(folder / "context.json", {"facts": {}})
    np.savez(folder / "a.npz", addresses=np.array([{}], object))
    assert "1 damaged" in call(capfd, "inspect", tmp_path / "store").out
    refused(
        "HERE/store: 1 damaged shards, listed above; you may delete them", "inspect", "HERE/store", "--verify"
    )
