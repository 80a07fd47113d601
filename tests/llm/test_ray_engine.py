"""Two Ray workers give the bits of one, which are those of the plain engine."""

from __future__ import annotations

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
from ialp_jax.llm.engines import ray_data  # noqa: E402
from ialp_jax.llm.prompting import templates  # noqa: E402


def build(folder, **settings):
    config = LLMConfig(model=str(folder), threads=1, device="cpu", batch_size=4, **settings)
    config.check()
    return engines.build(folder, titles(), templates.TEMPLATES["titles"], config, (5, 4))


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


@pytest.fixture(scope="module", autouse=True)
def no_ray_is_left():
    yield
    ray_data.shut_down()
    assert not ray.is_initialized()


def test_two_workers_give_the_bits_of_one_and_of_the_plain_engine(model_folder):
    prompts = draw(30)
    plain = build(model_folder)
    expected, tokens = plain.answer(prompts)
    for workers in (2, 1):
        engine = build(model_folder, engine="ray", workers=workers)
        answers, spent = engine.answer(prompts)
        assert_same(answers, expected)
        assert spent == tokens
        asked = ray.get([replica.asked.remote() for replica in engine._replicas])
        assert asked == [8 // workers] * workers  # 30 prompts in batches of 4, by turns
        if workers == 2:
            engine.close()
    np.testing.assert_array_equal(engine.unconditional(), plain.unconditional())
    assert engine.facts() == plain.facts() == {"device": "cpu", "dtype": "float32"}
    engine.check(prompts.shape)
    assert not engine.plain
    engine.plain = plain.plain = True
    assert_same(engine.answer(prompts.rows(slice(5)))[0], plain.answer(prompts.rows(slice(5)))[0])
    none = engine.answer(prompts.rows(slice(0)))
    assert (none[0].scores.shape, none[1]) == ((0, 4), 0)
    engine.close()


def test_what_a_worker_says_is_one_line(model_folder, tmp_path):
    with pytest.raises(InputError, match=r"^/no/such/model: [^\n]*$"):
        build("/no/such/model", engine="ray", workers=1)


def test_replies_in_free_text_come_back_whole(wide_folder):
    """Ray's tables know no arrays of texts."""
    prompts = draw(6)
    asked = {"mode": "generate", "max_new_tokens": 4, "retries": 1}
    expected, tokens = build(wide_folder, **asked).answer(prompts)
    answers, spent = build(wide_folder, engine="ray", workers=1, **asked).answer(prompts)
    assert answers.replies.shape == expected.replies.shape == (6, 2)
    assert any(expected.replies.ravel().tolist())
    for name in ("choice", "cause", "places", "replies"):
        np.testing.assert_array_equal(getattr(answers, name), getattr(expected, name))
    assert spent == tokens


@pytest.mark.parametrize(
    ("resources", "settings", "says"),
    [
        ({"CPU": 4}, {"workers": 4}, "--config.llm.workers=4: Ray sees 3 CPU cores to spare"),
        ({"CPU": 64, "GPU": 2}, {"workers": 3}, "--config.llm.workers=3: Ray sees 2 GPUs"),
        ({"CPU": 4}, {"device": "cuda"}, "--config.llm.device=cuda: Ray sees no GPU"),
    ],
)
def test_more_than_there_is_is_refused_not_waited_for(resources, settings, says):
    config = LLMConfig(engine="ray", **settings)
    with pytest.raises(InputError) as error:
        ray_data.count_workers(SimpleNamespace(cluster_resources=lambda: resources), config)
    assert str(error.value).startswith(says)


@pytest.mark.parametrize(
    ("resources", "settings", "count"),
    [
        ({"CPU": 4}, {}, (1, 0)),
        ({"CPU": 64, "GPU": 4}, {}, (4, 1)),
        ({"CPU": 64, "GPU": 4}, {"workers": 2}, (2, 1)),
        ({"CPU": 64, "GPU": 4}, {"device": "cpu", "workers": 6}, (6, 0)),
    ],
)
def test_one_worker_per_gpu_unless_told_otherwise(resources, settings, count):
    config = LLMConfig(engine="ray", **settings)
    assert ray_data.count_workers(SimpleNamespace(cluster_resources=lambda: resources), config) == count


def test_a_ray_that_does_not_start_is_one_line(model_folder, monkeypatch):
    def fail(**given):
        raise Exception("The current node timed out\nduring startup")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    for address, says in (("", "Ray does not start"), ("10.0.0.1:6379", "no Ray cluster at 10.0.0.1:6379")):
        with pytest.raises(InputError, match=rf"^--config\.llm\.ray_address: {says} \(during startup\)$"):
            build(model_folder, engine="ray", ray_address=address)


def test_a_ray_that_others_could_reach_is_ended(model_folder, monkeypatch):
    """As where a program imported ray before this project could switch its cluster off."""
    ended = []
    monkeypatch.setattr(ray_data, "_connected", threading.Event())  # of another Ray than the other tests'
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **given: None)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.1.2.3")
    with pytest.raises(InputError, match=r"^--config\.llm\.ray_address: Ray would listen on 10\.1\.2\.3, "):
        build(model_folder, engine="ray")
    assert ended == [True]


@pytest.mark.parametrize("address", ["", "local"])
def test_without_an_address_ray_is_started_here_whatever_the_environment_says(monkeypatch, address):
    given = {}
    monkeypatch.setattr(ray_data, "_connected", threading.Event())
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **told: given.update(told))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    ray_data.connect(address, 3, "--flag")
    ray_data.shut_down()
    assert (given["address"], given["include_dashboard"], given["num_cpus"]) == ("local", False, 3)


def test_ray_missing_is_one_line(model_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    line = r"^--config\.llm\.engine=ray needs ray\.data, [^\n]*pip install 'ialp_jax\[ray\]'"
    with pytest.raises(InputError, match=line):
        build(model_folder, engine="ray")


@pytest.mark.parametrize("knob", ["workers", "ray_address"])
def test_rays_knobs_want_rays_engine(knob):
    value = {"workers": 2, "ray_address": "auto"}[knob]
    LLMConfig(engine="ray", **{knob: value}).check()
    with pytest.raises(InputError, match=rf"^--config\.llm\.{knob} must be left alone unless"):
        LLMConfig(**{knob: value}).check()


def test_a_label_run_by_ray_is_its_own_and_gives_the_same_labels(model_folder, tmp_path, capfd, monkeypatch):
    """Its Ray is out of reach for other machines, and ends with it."""
    monkeypatch.delenv(ray_data.CLUSTER_SWITCH, raising=False)  # the worker sets it itself
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
            started = psutil.Process(worker._process.pid).children(recursive=True)
            assert not reachable(started)
            assert len(sockets(started)) >= 5 or engine != "ray"
            assert any("raylet" in process.name() for process in started) == (engine == "ray")
    assert_same(labels["ray"], labels["transformers"])
    assert len(started) > 2
    assert not psutil.wait_procs(started, timeout=60)[1]
    said = capfd.readouterr()
    assert said.out + said.err == ""
