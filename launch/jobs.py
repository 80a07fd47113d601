"""Turns a sweep file into jobs; each job is a run of `experiments.main` in its own folder.

A sweep file is a Python file with a dict ``SWEEP``, or with a function ``get_sweep()`` that returns it:

    SWEEP = {
        "grid": {"seed": [0, 1], "agents.a_ialp_ft.learning_rate": [1e-3, 3e-3]},  # all combinations
        "random": {  # each trial draws one value per path and is combined with the whole grid
            "agents.a_ialp_ft.discount": [0.5, 0.9, 0.99],
            "agents.a_ialp_ft.entropy_cost": {"log_uniform": [1e-4, 1e-1]},  # or "uniform"
        },
        "trials": 20,  # required with "random"
        "seed": 0,  # of the random draws
        "variants": [{}, {"simulator.patience": 3.0}],  # each set of values is combined with all of the above
    }

A sweep needs at least one of grid, random and variants. The name of a job lists its values, sorted by path.
The value that trial i draws for a path depends only on the seed, the path and i. If a sweep is reordered,
extended or shortened, the remaining jobs therefore keep their folders.
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
from experiments.run import fingerprint_in, report_fingerprint
from experiments.study.overrides import overridden, setting_type, value_at
from ialp_jax import keys, store
from ialp_jax.errors import InputError

PARTS = ("grid", "random", "trials", "seed", "variants")
RANGES = ("uniform", "log_uniform")
DIGITS = 4  # significant digits of a drawn value; more would make folder names hard to read
LONGEST_NAME = 160  # characters in a folder name; file systems allow 255

Values = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
      values: path of a setting -> value, for the settings that the sweep varies.
      config: the whole configuration.
      folder: folder of the run; its name lists the values.
      arguments: command-line arguments of the Python interpreter.
    """

    values: Values
    config: Config
    folder: Path
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the job and its folder."""
        return self.folder.name

    @property
    def log(self) -> Path:
        """File with the output of the run, including earlier attempts."""
        return self.folder / "log.txt"

    def is_done(self) -> bool:
        """Whether the run folder has a report that was made with these settings. Raises InputError."""
        manifest = store.read_manifest(self.folder / "report")
        return manifest is not None and fingerprint_in(manifest) == report_fingerprint(self.config)


def read_sweep(path: Path) -> Mapping[str, Any]:
    """Reads the plain data of a sweep file and checks its parts. Raises InputError."""
    if not path.is_file():
        raise InputError(f"--sweep: no such file: {path}")
    try:
        names = runpy.run_path(str(path))
        sweep = names["get_sweep"]() if "get_sweep" in names else names["SWEEP"]
    except KeyError:
        raise InputError(f"{path}: has neither SWEEP nor get_sweep()") from None
    except Exception as error:  # the user's code may raise any exception
        raise InputError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from None
    _check_parts(sweep, path)
    return sweep


def _check_parts(sweep: Any, path: Path) -> None:
    """Checks the parts of a sweep, but not the paths and values of settings. Raises InputError."""
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
    paths_of = {
        "grid": sweep.get("grid", ()),
        "random": sweep.get("random", ()),
        "variants": set().union(*variants),
    }
    for one, other in itertools.combinations(paths_of, 2):
        if both := set(paths_of[one]) & set(paths_of[other]):
            raise InputError(f"{path}: {min(both)} is in {one!r} and in {other!r}; keep one")


def points(sweep: Mapping[str, Any], config: Config, source: str) -> Iterator[Values]:
    """Checks the paths and values of a sweep, and yields the values of each job. Raises InputError."""
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
        raise InputError(f"{source}: {path} is not a number; give a list of values")
    if name == "log_uniform" and ends[0] <= 0:
        raise InputError(f"{source}: {path}: log_uniform needs ends above 0")


def _draw(values: Any, wanted: type, seed: int, path: str, trial: int) -> Any:
    """Draws the value of a trial from a list, or from a range that includes both ends."""
    generator = keys.generator(seed, f"sweep {path}", trial)
    if not isinstance(values, Mapping):
        return values[int(generator.integers(len(values)))]
    (name, (low, high)), share = next(iter(values.items())), float(generator.random())
    number = low + share * (high - low)
    if name == "log_uniform":
        number = math.exp(math.log(low) + share * math.log(high / low))
    return round(number) if wanted is int else float(f"{number:.{DIGITS}g}")


def job_name(values: Values) -> str:
    """Returns a readable folder name. Different values have different names."""
    text = ",".join(f"{path}={values[path]}" for path in sorted(values)) or "default"
    name = re.sub(r"[^\w.,=+-]", "-", text)[:LONGEST_NAME]
    return name if name == text else f"{name}-{store.fingerprint(text)[:8]}"


def jobs_of(
    path: Path, config: Config, given: Values, folder: Path, file: str, rest: Sequence[str] = ()
) -> list[Job]:
    """Makes the jobs of a sweep, without duplicates, and checks their settings.

    All jobs share a label store in the folder of the sweep, unless ``given`` names another store or "". The
    store looks up an answer by its prompt, model and mode, so all jobs can use it.

    Args:
      path: path of the sweep file.
      config: settings of all jobs.
      given: path of a setting -> value, from the command line.
      folder: folder of the sweep.
      file: the configuration file, as the command line names it.
      rest: further command-line arguments of every job.

    Raises:
      InputError: the file, a path, a value or a combination of values is wrong.
    """
    source, jobs = str(path), {}
    common = {"llm.store": str(folder / "store")} | given
    for values in points(read_sweep(path), config, source):
        if both := values.keys() & common.keys():
            raise InputError(f"{source}: {min(both)} is swept; do not give it on the command line")
        job_config = overridden(config, common | values, source)
        # The configuration turns an int into a float if the setting is a float.
        values = {path: value_at(job_config, path) for path in values}
        try:
            job_config.check()
        except InputError as error:
            raise InputError(f"{source}: {job_name(values)}: {error}") from None
        job_folder = folder / job_name(values)
        flags = [f"--config.{path}={value}" for path, value in (common | values).items()]
        arguments = ("-m", "experiments.main", f"--config={file}", *flags, f"--workdir={job_folder}", *rest)
        jobs[job_folder] = Job(values, job_config, job_folder, arguments)  # two trials may draw equal values
    return list(jobs.values())
