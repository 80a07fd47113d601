"""Suites by name; each suite is a function that lists its cases. Imports no large library.

A case names the function that measures it as ``module:function``. This function runs in a new process, gets
the case's settings as keyword arguments and returns rows; see `experiments.benchmarks.rows`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

USERS = (1, 64, 1024, 8192)
SUITE_SECONDS = {"gpu": 540.0}  # limit of a whole suite; GPUs are often rented by the minute


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
      name: id in the column ``case``.
      function: ``module:function`` that measures the case.
      settings: keyword arguments of the function, as JSON values.
      most_seconds: time after which the case is stopped and reported as failed; None: no limit.
    """

    name: str
    function: str
    settings: dict[str, Any]
    most_seconds: float | None = None


def simulator(full: bool) -> list[Case]:
    """Env steps per second with random actions and with a SASRec actor."""
    sizes = [(users, items) for items in (300, 3_000, 30_000, 1_000_000) for users in USERS]
    chosen = sizes if full else [(users, items) for users, items in sizes if users == 1024 or items == 3_000]
    random = [*chosen, (2048, 3_000), (2048, 1_000_000), (4096, 1_000_000)]
    sizes = [(users, items) for items in (300, 3_000, 30_000) for users in USERS]
    chosen = sizes if full else [(users, items) for users, items in sizes if users == 1024 or items == 3_000]
    frozen = {
        "actor_cached_n3000_b1024": {"users": 1024, "items": 3_000, "baseline": "uncached"},
        "actor_n1000000_b64": {"users": 64, "items": 1_000_000, "baseline": "one_device"},
    }
    module = "experiments.benchmarks.simulator"
    return [
        Case("matmul_f32_2048", f"{module}:yardsticks", {}),
        *(_sized("random", f"{module}:random_actions", *size) for size in random),
        *(_sized("actor", f"{module}:actor", *size) for size in chosen),
        *(Case(name, f"{module}:frozen_actor", settings) for name, settings in frozen.items()),
    ]


def labels(full: bool) -> list[Case]:
    """Prompts per second of each mode of the LLM, compared with simple implementations."""
    del full
    module = "experiments.benchmarks.labels"
    baselines = {
        "choice_small": ("generate_one", 32),
        "choice_small_batched": ("generate_batch", 256),
        "choice_small_simple": ("simple", 512),
    }
    return [
        *(
            Case(name, f"{module}:choice", {"against": against, "count": 512, "baseline_count": size})
            for name, (against, size) in baselines.items()
        ),
        Case("likelihood_small", f"{module}:likelihood", {"count": 512, "baseline_count": 64}),
        Case("generate_small", f"{module}:generate", {"count": 256}),
        Case("dtypes", f"{module}:dtypes", {"count": 256}),
        Case("smollm_likelihood", "experiments.benchmarks.published_shapes:smollm_likelihood", {"count": 16}),
    ]


def training(full: bool) -> list[Case]:
    """Speed of online learning on Coat."""
    del full
    return [
        Case(f"{agent}_coat", "experiments.benchmarks.training:online", {"agent": agent})
        for agent in ("a2c", "dqn")
    ]


def encoder(full: bool) -> list[Case]:
    """Speed of a supervised training step of SASRec."""
    del full
    size = {"batch": 128, "length": 200, "width": 50}
    return [Case("sasrec_128x200x50", "experiments.benchmarks.encoder:training_step", size)]


def start(full: bool) -> list[Case]:
    """Time of a whole smoke run, with an empty and with a filled compilation cache."""
    del full
    function = "experiments.benchmarks.start:smoke"
    return [Case(f"start_smoke_{name}", function, {"warm": name == "warm"}) for name in ("cold", "warm")]


def gpu(full: bool) -> list[Case]:
    """Everything on one GPU, the most important cases first. A suite ends after `SUITE_SECONDS`."""
    del full
    here = "experiments.benchmarks"

    def case(name: str, function: str, **settings: Any) -> Case:
        return Case(name, f"{here}.{function}", settings, most_seconds=100)

    return [
        case("gpu_matmul", "gpu:matrix_rates"),
        *(
            case(f"random_n3000_b{users}", "simulator:random_actions", users=users, items=3_000)
            for users in (2_048, 65_536)
        ),
        *(
            case(f"actor_n3000_b{users}", "simulator:actor", users=users, items=3_000)
            for users in (1_024, 16_384)
        ),
        case("gpu_a2c_coat_b256", "gpu:learn", users=256, seeds=1),
        case("gpu_a2c_coat_b20", "gpu:learn", users=20, seeds=1),
        case("gpu_a2c_coat_b20_s10", "gpu:learn", users=20, seeds=10),
        *(
            case(f"gpu_labels_{shape}_b{batch}", "published_shapes:gpu_labels", shape=shape, batch=batch)
            for shape in ("135m", "7b")
            for batch in (32, 512)
        ),
        case("gpu_adapt_stage", "start:adapt_stage"),
        case("gpu_busy_b20", "gpu:busy", users=20, env_steps=20_000),
    ]


def _sized(name: str, function: str, users: int, items: int) -> Case:
    return Case(f"{name}_n{items}_b{users}", function, {"users": users, "items": items})


SUITES: dict[str, Callable[[bool], list[Case]]] = {
    "simulator": simulator,
    "labels": labels,
    "training": training,
    "encoder": encoder,
    "start": start,
    "gpu": gpu,
}
