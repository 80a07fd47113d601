"""A sweep file as a list of jobs, each a run of `experiments.main` with a folder of its own.

A sweep file is Python with ``SWEEP = {...}``, or ``get_sweep()`` that returns such plain data:

    SWEEP = {
        "grid": {"seed": [0, 1], "agents.ft.learning_rate": [1e-3, 3e-3]},  # all combinations
        "random": {  # each trial draws one value per path; it is run at every point of the grid
            "agents.ft.discount": [0.5, 0.9, 0.99],
            "agents.ft.entropy_cost": {"log_uniform": [1e-4, 1e-1]},  # or "uniform"
        },
        "trials": 20,  # with "random" only; "seed" too, 0 where it is not given
        "seed": 0,
        "variants": [{}, {"simulator.patience": 3.0}],  # sets of values, run at every point of the rest
    }

One of grid, random and variants is enough. A job is named by its values, in the order of their paths, and
draw i of a path depends on seed, path and i alone. So a sweep may be reordered, extended or cut: the jobs
that stay keep their folders.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import runpy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.config import Config
from experiments.run import KEY, report_key
from experiments.study.overrides import overridden, setting_type, value_at
from ialp_jax import keys, store
from ialp_jax.errors import InputError

PARTS = ("grid", "random", "trials", "seed", "variants")
RANGES = ("uniform", "log_uniform")
DIGITS = 4  # significant ones of what is drawn from a range: names of folders stay readable
LONGEST_NAME = 160  # of a folder; file systems take 255

Values = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
      values: path -> value of what this sweep varies.
      config: the whole configuration.
      folder: of the run, named by the values.
      arguments: of the Python interpreter.
    """

    values: Values
    config: Config
    folder: Path
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the job and its folder."""
        return self.folder.name

    @property
    def log(self) -> Path:
        """What the run said, that of earlier attempts included."""
        return self.folder / "log.txt"

    def is_done(self) -> bool:
        """Whether the run folder holds a report made with these settings. Raises InputError."""
        manifest = store.read_manifest(self.folder / "report")
        return manifest is not None and manifest.get(KEY) == report_key(self.config)


def read_sweep(path: Path) -> Mapping[str, Any]:
    """The plain data of a sweep file, of known parts. Raises InputError."""
    if not path.is_file():
        raise InputError(f"--sweep: no such file: {path}")
    try:
        names = runpy.run_path(str(path))
        sweep = names["get_sweep"]() if "get_sweep" in names else names["SWEEP"]
    except KeyError:
        raise InputError(f"{path}: has neither SWEEP nor get_sweep()") from None
    except Exception as error:  # it is the user's code: whatever it raises, one line tells it
        raise InputError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from None
    if not isinstance(sweep, Mapping) or not any(sweep.get(name) for name in ("grid", "random", "variants")):
        raise InputError(f"{path}: the sweep must be a dict with 'grid', 'random' or 'variants'")
    for name in sweep:
        if name not in PARTS:
            raise InputError(f"{path}: unknown part {name!r}; known: {', '.join(PARTS)}")
    for name in ("grid", "random"):
        if not isinstance(sweep.get(name, {}), Mapping):
            raise InputError(f"{path}: {name!r} must map paths of settings to values")
    if bool(sweep.get("random")) != ("trials" in sweep):
        raise InputError(f"{path}: 'random' and 'trials' go together")
    for name, default, least in (("trials", 1, 1), ("seed", 0, 0)):
        if type(sweep.get(name, default)) is not int or sweep.get(name, default) < least:
            raise InputError(f"{path}: {name!r} must be a whole number, at least {least}")
    variants = sweep.get("variants", [])
    if not isinstance(variants, list) or not all(isinstance(values, Mapping) for values in variants):
        raise InputError(
            f"{path}: 'variants' must be a list of dicts from paths of settings to one value each"
        )
    places = {
        "grid": sweep.get("grid", ()),
        "random": sweep.get("random", ()),
        "variants": set().union(*variants),
    }
    for one, other in itertools.combinations(places, 2):
        if both := set(places[one]) & set(places[other]):
            raise InputError(f"{path}: {min(both)} stands in {one!r} and in {other!r}")
    return sweep


def points(sweep: Mapping[str, Any], config: Config, source: str) -> Iterator[Values]:
    """The values of every job, grid by trial, each of the type of its setting. Raises InputError."""
    grid, random = sweep.get("grid", {}), sweep.get("random", {})
    for path, values in (*grid.items(), *random.items()):
        wanted = setting_type(config, path, source)
        if path in random and isinstance(values, Mapping):
            _check_range(path, values, wanted, source)
        elif not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise InputError(f"{source}: {path} needs a list of values")
        else:
            for value in values:
                overridden(config, {path: value}, source)
    variants = sweep.get("variants") or [{}]
    for values in variants:
        overridden(config, values, source)
    for trial in range(sweep.get("trials", 1)):
        drawn = {
            path: _draw(values, setting_type(config, path, source), sweep.get("seed", 0), path, trial)
            for path, values in random.items()
        }
        for values, *combination in itertools.product(variants, *grid.values()):
            yield dict(values) | dict(zip(grid, combination, strict=True)) | drawn


def _check_range(path: str, values: Mapping[str, Any], wanted: type, source: str) -> None:
    name, ends = next(iter(values.items()), ("", ()))
    numbers = isinstance(ends, Sequence) and all(type(end) in (int, float) for end in ends)
    if len(values) != 1 or name not in RANGES or not numbers or len(ends) != 2 or not ends[0] < ends[1]:
        raise InputError(f"{source}: {path}={values!r} must be a list or {{'log_uniform': [low, high]}}")
    if wanted not in (int, float):
        raise InputError(f"{source}: {path} is no number; give a list of values")
    if name == "log_uniform" and ends[0] <= 0:
        raise InputError(f"{source}: {path}: log_uniform needs ends above 0")


def _draw(values: Any, wanted: type, seed: int, path: str, trial: int) -> Any:
    """What a trial takes of a list or a range, both ends of which may come up."""
    generator = keys.generator(seed, f"sweep {path}", trial)
    if not isinstance(values, Mapping):
        return values[int(generator.integers(len(values)))]
    (name, (low, high)), share = next(iter(values.items())), float(generator.random())
    number = low + share * (high - low)
    if name == "log_uniform":
        number = math.exp(math.log(low) + share * math.log(high / low))
    return round(number) if wanted is int else float(f"{number:.{DIGITS}g}")


def job_name(values: Values) -> str:
    """A folder's name for some values: readable, and another one for other values."""
    text = ",".join(f"{path}={values[path]}" for path in sorted(values)) or "default"
    name = re.sub(r"[^\w.,=+-]", "-", text)[:LONGEST_NAME]
    return name if name == text else f"{name}-{store.digest(text)[:8]}"


def jobs_of(
    path: Path, config: Config, given: Values, folder: Path, file: str, rest: Sequence[str] = ()
) -> list[Job]:
    """The jobs of a sweep, different ones; all settings are checked.

    Labels are shared by a store in the sweep's folder unless ``given`` names another (or, empty, none):
    an answer is kept under its prompt, its model and the way of asking, so any two jobs may share it.

    Args:
      path: of the sweep file.
      config: what all jobs have in common.
      given: the part of it that was given on the command line, by path.
      folder: of the sweep.
      file: the configuration file, as on the command line.
      rest: further arguments of every job.

    Raises:
      InputError: the file, a path, a value or a combination of them cannot work.
    """
    source, jobs = str(path), {}
    common = {"llm.store": str(folder / "store")} | given
    for values in points(read_sweep(path), config, source):
        if twice := values.keys() & common.keys():
            raise InputError(f"{source}: {min(twice)} is swept; do not give it on the command line")
        own = overridden(config, common | values, source)
        values = {path: value_at(own, path) for path in values}  # 1 where a float is meant is 1.0
        try:
            own.check()
        except InputError as error:
            raise InputError(f"{source}: {job_name(values)}: {error}") from None
        home = folder / job_name(values)
        flags = [f"--config.{path}={value}" for path, value in (common | values).items()]
        arguments = ("-m", "experiments.main", f"--config={file}", *flags, f"--workdir={home}", *rest)
        jobs[home] = Job(values, own, home, arguments)  # trials may draw the same
    return list(jobs.values())
