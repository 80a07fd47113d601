import json
import shutil

import numpy as np
import pytest

from ialp_jax import store
from ialp_jax.errors import InputError
from ialp_jax.llm import adapter_files
from ialp_jax.llm.adapter_files import CONFIG, PICKLE, WEIGHTS

SETTINGS = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj", "k_proj"]}


@pytest.fixture
def folder(tmp_path):
    """Writes an adapter folder in the format of peft."""
    numpy_files = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "adapter"
    path.mkdir()
    numpy_files.save_file({"lora_A.weight": np.ones((4, 8), np.float32)}, path / WEIGHTS)
    configure(path)
    return path


def configure(folder, **changes):
    (folder / CONFIG).write_text(json.dumps(SETTINGS | changes))


def only_pickle(folder):
    (folder / WEIGHTS).rename(folder / PICKLE)


def truncated(folder):
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1])


def altered(folder):
    store.seal(folder, {})
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


BROKEN = {
    "no such folder": (shutil.rmtree, r"^--config\.llm\.adapter=.*: no such folder"),
    "no settings": (lambda f: (f / CONFIG).unlink(), f"not an adapter folder, it has no {CONFIG}"),
    "settings cut": (lambda f: (f / CONFIG).write_text('{"r":'), f"{CONFIG}: not readable JSON"),
    "settings a list": (lambda f: (f / CONFIG).write_text("[]"), f"{CONFIG}: not a JSON object"),
    "no LoRA": (lambda f: configure(f, peft_type="PREFIX_TUNING"), "type PREFIX_TUNING; only LoRA is read"),
    "code": (lambda f: configure(f, megatron_config={}, megatron_core="mine"), None),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), f"no adapter weights, it has no {WEIGHTS}$"),
    "pickle": (only_pickle, f"{PICKLE} is a pickle and is not read"),
    "weights cut": (truncated, f"{WEIGHTS}: not readable safetensors"),
    "garbage": (lambda f: (f / WEIGHTS).write_bytes(b"\x80garbage"), f"{WEIGHTS}: not readable safetensors"),
    "altered": (altered, f"{WEIGHTS}: altered or truncated"),
}


def test_a_sound_adapter_passes(folder):
    adapter_files.check(folder)
    store.seal(folder, {"base_fingerprint": "f"})
    adapter_files.check(folder)


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_adapter_gives_a_one_line_error(folder, how):
    spoil, message = BROKEN[how]
    if how == "code":
        configure(folder, megatron_config={"x": 1}, megatron_core="mine")
        message = "only LoRA is read"
    else:
        spoil(folder)
    with pytest.raises(InputError, match=message) as error:
        adapter_files.check(folder)
    assert "\n" not in str(error.value)


def test_a_recorded_fingerprint_decides(folder):
    configure(folder, base_model_name_or_path="some/where")
    store.seal(folder, {"base_fingerprint": "right"})
    adapter_files.check_base(folder, "else/where", "right")
    with pytest.raises(
        InputError, match=r"an adapter of another base model \(some/where\) than the embedded"
    ):
        adapter_files.check_base(folder, "", "wrong")


@pytest.mark.parametrize(
    ("named", "model", "fits"),
    [
        ("some/where", "some/where", True),
        ("some/where", "else/where", False),
        ("/folder/of/theirs", "else/where", True),  # a folder name proves nothing
        ("some/where", "/folder/of/mine", True),
        (None, "else/where", True),
    ],
)
def test_without_a_fingerprint_the_hub_id_decides(folder, named, model, fits):
    configure(folder, base_model_name_or_path=named)
    if fits:
        return adapter_files.check_base(folder, model, "any")
    with pytest.raises(InputError, match=rf"\({named}\) than {model}; give its own model"):
        adapter_files.check_base(folder, model, "any")


def test_the_fingerprint_covers_weights_and_settings(folder):
    before = adapter_files.fingerprint(folder)
    configure(folder, base_model_name_or_path="/moved", target_modules=["k_proj", "q_proj"])
    assert adapter_files.fingerprint(folder) == before
    configure(folder, r=8)
    assert adapter_files.fingerprint(folder) != before
    configure(folder)
    truncated(folder)
    assert adapter_files.fingerprint(folder) != before
