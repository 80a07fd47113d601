"""The Ray engine gives the bits of the transformers engine, with any number of workers."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from listening import reachable, sockets
from small_world import prompts as draw
from small_world import recipe, save, titles

pytest.importorskip("torch")
ray = pytest.importorskip("ray")

from ialp_jax.errors import InputError  # noqa: E402
from ialp_jax.labelling.llm_labeller import LLMLabeller  # noqa: E402
from ialp_jax.llm import engines  # noqa: E402
from ialp_jax.llm.config import LLMConfig  # noqa: E402
from ialp_jax.llm.engines import ray_connection, ray_engine  # noqa: E402
from ialp_jax.llm.prompting import templates  # noqa: E402

pytestmark = pytest.mark.slow


def build(folder, **settings):
    config = LLMConfig(model=str(folder), threads=1, device="cpu", batch_size=4, **settings)
    config.check()
    return engines.build(folder, titles(), templates.TEMPLATES["titles"], config, (5, 4))


def assert_same(answers, expected):
    for a, b in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


@pytest.fixture(scope="module", autouse=True)
def shut_ray_down():
    yield
    ray_connection.shut_down()
    assert not ray.is_initialized()


def test_one_or_two_workers_give_the_bits_of_the_transformers_engine(model_folder):
    prompts = draw(30)
    plain = build(model_folder)
    expected, tokens = plain.answer(prompts)
    for workers in (2, 1):
        engine = build(model_folder, engine="ray", workers=workers)
        answers, spent = engine.answer(prompts)
        assert_same(answers, expected)
        assert spent == tokens
        num_batches = ray.get([replica.num_batches.remote() for replica in engine._replicas])
        assert num_batches == [8 // workers] * workers  # the workers take the 8 batches in turn
        if workers == 2:
            engine.close()
    np.testing.assert_array_equal(engine.unconditional(), plain.unconditional())
    assert engine.facts() == plain.facts() == {"device": "cpu", "dtype": "float32"}
    engine.check(prompts.shape)
    assert not engine.plain
    engine.plain = plain.plain = True
    assert_same(engine.answer(prompts.rows(slice(5)))[0], plain.answer(prompts.rows(slice(5)))[0])
    answers, spent = engine.answer(prompts.rows(slice(0)))
    assert (answers.scores.shape, spent) == ((0, 4), 0)
    engine.close()


def test_an_error_while_a_worker_loads_has_one_line():
    with pytest.raises(InputError, match=r"^/no/such/model: [^\n]*$"):
        build("/no/such/model", engine="ray", workers=1)


def test_an_error_while_a_worker_answers_has_one_line(wide_folder):
    """With letters, 26 candidates are too many."""
    engine = build(wide_folder, engine="ray", workers=1, mode="choice")
    prompts = draw(2)
    with pytest.raises(InputError, match=r"^[^\n]*25[^\n]*$"):
        engine.answer(prompts._replace(candidates=np.resize(np.arange(1, 27, dtype=np.int32), (2, 26))))
    assert engine.answer(prompts)[0].choice.shape == (2,)
    engine.close()


def test_a_killed_worker_is_restarted_and_gives_the_same_bits(model_folder):
    prompts = draw(10)
    engine = build(model_folder, engine="ray", workers=1)
    expected = engine.answer(prompts)[0]
    os.kill(ray.get(engine._replicas[0].__ray_call__.remote(lambda replica: os.getpid())), signal.SIGKILL)
    assert_same(engine.answer(prompts)[0], expected)
    engine.close()
    with pytest.raises(InputError, match=r"^a Ray worker failed \([^\n]*\); its log is in [^\n]*$"):
        engine.answer(prompts)


def test_replies_in_free_text_are_those_of_the_transformers_engine(wide_folder):
    prompts = draw(6)
    settings = {"mode": "generate", "max_new_tokens": 4, "retries": 1}
    expected, tokens = build(wide_folder, **settings).answer(prompts)
    answers, spent = build(wide_folder, engine="ray", workers=1, **settings).answer(prompts)
    assert answers.replies.shape == expected.replies.shape == (6, 2)
    assert any(expected.replies.ravel().tolist())
    for name in ("choice", "cause", "places", "replies"):
        np.testing.assert_array_equal(getattr(answers, name), getattr(expected, name))
    assert spent == tokens


@pytest.mark.parametrize(
    ("resources", "settings", "message"),
    [
        ({"CPU": 4}, {"workers": 5}, "--config.llm.workers=5: Ray sees 4 CPU cores; use at most that many"),
        ({"CPU": 64, "GPU": 2}, {"workers": 3}, "--config.llm.workers=3: Ray sees 2 GPUs"),
        ({"CPU": 4}, {"device": "cuda"}, "--config.llm.device=cuda: Ray sees no GPU"),
    ],
)
def test_more_workers_than_devices_are_refused(resources, settings, message):
    config = LLMConfig(engine="ray", **settings)
    with pytest.raises(InputError) as error:
        ray_engine.count_workers(SimpleNamespace(cluster_resources=lambda: resources), config)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("resources", "settings", "count"),
    [
        ({"CPU": 4}, {}, (1, 0)),
        ({"CPU": 64, "GPU": 4}, {}, (4, 1)),
        ({"CPU": 64, "GPU": 4}, {"workers": 2}, (2, 1)),
        ({"CPU": 64, "GPU": 4}, {"device": "cpu", "workers": 6}, (6, 0)),
    ],
)
def test_there_is_one_worker_per_gpu_unless_configured(resources, settings, count):
    config = LLMConfig(engine="ray", **settings)
    assert ray_engine.count_workers(SimpleNamespace(cluster_resources=lambda: resources), config) == count


def test_a_ray_that_does_not_start_gives_a_one_line_error(model_folder, monkeypatch):
    def fail(**options):
        raise Exception("The current node timed out\nduring startup")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    cases = (("", "Ray does not start"), ("10.0.0.1:6379", "no Ray cluster at 10.0.0.1:6379"))
    for address, problem in cases:
        with pytest.raises(InputError, match=rf"^--config\.llm\.ray_address: {problem} \(during startup\)$"):
            build(model_folder, engine="ray", ray_address=address)


def test_a_ray_that_other_machines_can_reach_is_ended(model_folder, monkeypatch):
    """Ray becomes reachable if a program imports ray before the project sets its environment variable."""
    shutdowns = []
    # The other tests share a running Ray, which this test must not use.
    monkeypatch.setattr(ray_connection, "_connected", threading.Event())
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: None)
    monkeypatch.setattr(ray, "shutdown", lambda: shutdowns.append(True))
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.1.2.3")
    with pytest.raises(InputError, match=r"^--config\.llm\.ray_address: Ray would listen on 10\.1\.2\.3, "):
        build(model_folder, engine="ray")
    assert shutdowns == [True]


@pytest.mark.parametrize("address", ["", "local"])
def test_without_an_address_ray_is_started_here(monkeypatch, address):
    options = {}
    monkeypatch.setattr(ray_connection, "_connected", threading.Event())
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", options.update)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    ray_connection.connect(address, 3, "--flag")
    ray_connection.shut_down()
    assert (options["address"], options["include_dashboard"], options["num_cpus"]) == ("local", False, 3)


def test_missing_ray_gives_a_one_line_error(model_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    line = r"^--config\.llm\.engine=ray needs ray, [^\n]*pip install 'ialp_jax\[ray\]'"
    with pytest.raises(InputError, match=line):
        build(model_folder, engine="ray")


@pytest.mark.parametrize(
    ("setting", "others"),
    [
        ({"workers": 2}, {"engine": "vllm"}),
        ({"workers": 2}, {"device": "cuda"}),
        ({"ray_address": "auto"}, {}),
    ],
)
def test_settings_of_ray_need_the_ray_engine(setting, others):
    LLMConfig(engine="ray", **setting).check()
    (name,) = setting
    with pytest.raises(
        InputError, match=rf"^--config\.llm\.{name} must be [^\n]+ unless --config\.llm\.engine"
    ):
        LLMConfig(**setting, **others).check()


def test_a_label_worker_ends_its_ray_and_gives_the_same_labels(model_folder, tmp_path, capfd, monkeypatch):
    """Other machines cannot reach the Ray instance that the label worker starts."""
    monkeypatch.delenv(ray_connection.CLUSTER_SWITCH, raising=False)  # the worker sets it itself
    data, request = save(tmp_path), draw(20)
    labels = {}
    for engine in ("transformers", "ray"):
        config = LLMConfig(
            model=str(model_folder),
            threads=1,
            batch_size=4,
            engine=engine,
            workers=2 if engine == "ray" else 0,
            device="cpu",
            embedded=recipe(),
        )
        with LLMLabeller(config, data, tmp_path / engine, seed=0) as worker:
            labels[engine] = worker.label(request)
            children = psutil.Process(worker._process.pid).children(recursive=True)
            assert not reachable(children)
            assert len(sockets(children)) >= 5 or engine != "ray"
            assert any("raylet" in process.name() for process in children) == (engine == "ray")
    assert_same(labels["ray"], labels["transformers"])
    assert len(children) > 2
    assert not psutil.wait_procs(children, timeout=60)[1]
    output = capfd.readouterr()
    assert output.out + output.err == ""
