import importlib.util
import io
import os
import queue
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from small_world import prompts as draw
from small_world import save

from ialp_jax.errors import InputError
from ialp_jax.labelling.worker_process import WorkerProcess
from ialp_jax.llm.worker import protocol

IMPORTS = """
import sys
import warnings
import ialp_jax.{module}
print(*sorted({{"jax", "torch", "transformers"}} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "module",
    [
        "labelling.label_store",
        "labelling.llm_labeller",
        "labelling.lora_client",
        "labelling.inspect",
        "llm.config",
        "llm.model_files",
        "llm.prompting.templates",
        "llm.worker.worker",
    ],
)
def test_light_modules_load_neither_jax_nor_torch(module):
    run = subprocess.run(
        [sys.executable, "-c", IMPORTS.format(module=module)], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_jax_cannot_enter_a_working_worker(model_folder, tmp_path):
    """A new process does everything that the worker does, and then lists its loaded modules."""
    pytest.importorskip("torch")
    source = """
import io, queue, sys, threading, types
from ialp_jax.llm.worker import worker

class Serve(Exception): ...

def serve(orders, reply, log):
    w = worker.Worker()
    order, arrays = orders.get()
    w.answer(order, arrays)
    _, results = w.answer({"do": "score"}, arrays)
    assert results["scores"].shape == (6, 4)
    loaded = sorted(name for name, module in sys.modules.items() if name.startswith("jax") and module)
    print("torch" in sys.modules, loaded, file=sys.stderr)
    try:
        import jax
    except ImportError:
        print("no jax", file=sys.stderr)

worker.serve = serve
sys.argv = ["worker", "log"]
worker.main()
"""
    from dataclasses import asdict

    from ialp_jax.llm.config import LLMConfig

    order = {
        "do": "load",
        "config": asdict(LLMConfig(model=str(model_folder), threads=1)),
        "seed": 0,
        "data_folder": str(save(tmp_path)),
        "model_folder": str(model_folder),
        protocol.CALIBRATION: "fingerprint",
        "calibration_folder": str(tmp_path / "calibration"),
        "shape": (5, 4),
    }
    stream = io.BytesIO()
    protocol.send(stream, order, **draw(6).arrays())
    process = subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdin.write(stream.getvalue())
    process.stdin.flush()
    process.wait(120)
    stderr = process.stderr.read().decode()
    assert "True []" in stderr, stderr
    assert "no jax" in stderr, stderr
    assert process.stdout.read() == b"", "only frames may be written there"


def test_unexpected_failures_give_one_line_and_a_traceback(tmp_path):
    from ialp_jax.llm.worker import worker

    class Stop(Exception):
        pass

    class Orders(queue.Queue):
        def get(self):
            if self.empty():
                raise Stop
            return super().get()

    orders, reply, log = Orders(), io.BytesIO(), tmp_path / "labels" / "worker.log"
    orders.put(({"do": "score"}, {"histories": np.zeros((1, 1)), "candidates": np.ones((1, 1))}))
    with pytest.raises(Stop):
        worker.serve(orders, reply, log)
    reply.seek(0)
    error = protocol.receive(reply)[0]["error"]
    assert error.startswith("the LLM worker failed: AttributeError: ")
    assert error.endswith(f"see {log}")
    assert "\n" not in error
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize("mode", ["likelihood", "choice", "generate"])
@pytest.mark.parametrize("exact", [True, False])
def test_every_mode_is_checked_on_the_longest_coming_prompts(wide_folder, tmp_path, monkeypatch, mode, exact):
    from dataclasses import asdict

    from ialp_jax import store
    from ialp_jax.llm.config import LLMConfig
    from ialp_jax.llm.model import self_check
    from ialp_jax.llm.worker import worker

    tried = []
    monkeypatch.setattr(self_check, "is_exact", lambda scorer, shape: tried.append(shape) or exact)
    order = {
        "do": "load",
        "config": asdict(LLMConfig(model=str(wide_folder), mode=mode, threads=1)),
        "seed": 0,
        "data_folder": str(save(tmp_path)),
        "model_folder": str(wide_folder),
        protocol.CALIBRATION: "fingerprint",
        "calibration_folder": str(tmp_path / "calibration"),
        "shape": (7, 5),
    }
    subject = worker.Worker()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subject.answer(order, {})
    assert tried == [(7, 5)]
    assert store.read_manifest(tmp_path / "calibration")["plain"] is not exact
    assert any("scored one by one" in str(warning.message) for warning in caught) is not exact
    loaded = order | {protocol.CALIBRATION: None, "plain": not exact, "wrapper": None}
    subject.answer(loaded, {})  # as a later process would
    assert subject._engine.plain is not exact
    if mode != "likelihood":
        assert subject._engine.asker.plain is not exact


def test_the_client_handles_ctrl_c_while_the_worker_starts(tmp_path, capfd):
    """A terminal sends the signal to the whole group, even while the worker is still importing."""
    process = WorkerProcess(tmp_path / "log")
    for _ in range(10):
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
    with pytest.raises(InputError, match="the LLM worker failed"):
        process.ask({"do": "nothing"})
    process.close()
    assert "KeyboardInterrupt" not in capfd.readouterr().err
