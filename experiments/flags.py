"""Command line flags. A mistake in a flag gives a one-line message on stderr and exit code 2."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import re
import runpy
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from experiments.command_line import (
    WIDTH,
    check_no_argument,
    fail,
    first_sentence,
    flag_lines,
    help_asked,
    with_flag_files,
)
from experiments.config import Config
from experiments.study.settings import Study
from ialp_jax import console
from ialp_jax.agents.config import renamed_hint
from ialp_jax.errors import InputError, check_local, expanded

STAGES = ("data", "simulate", "lora", "label", "audit", "pretrain", "adapt", "report")
FLAGS = ("config", "workdir", "stage", "start_from", "redo", "dry_run", "profile")
RENAMED = {"--stage=tune": "--stage=lora", "--config.llm.tune.": "--config.llm.lora."}
_NAME_WIDTH = 25  # of a setting with its value, in the help
DEFAULT_CONFIG = str(Path(__file__).parent / "configs" / "quickstart.py")

# The library looks for overrides in this list, which `parse` fills. Without the list, the library would read
# sys.argv and every file of flags during the import of this module.
_ARGV: list[str] = []

# This flag has no default, because the library would load a default config immediately. Then `parse` could
# not explain mistakes in overrides.
CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Python file with get_config(). --config.a.b=value overrides one setting. Default: the quickstart. "
    "FILE.py:WORD calls get_config(WORD).",
    sys_argv=_ARGV,
)
WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the run. Default: runs/<config.name>.")
STAGE = flags.DEFINE_enum(
    "stage",
    "all",
    ("all", *STAGES, "search"),
    f"Stage to run: {', '.join((*STAGES, 'search'))}, or all. search, for a study only, tunes settings.",
)
START_FROM = flags.DEFINE_string(
    "start_from",
    "",
    "Folder of another run whose parts are reused. Parts of its stages up to pretrain are copied if this "
    "run lacks them. Parts that do not fit this run's settings are made again.",
)
REDO = flags.DEFINE_bool(
    "redo",
    False,
    "Let changed settings replace finished work of more than a minute. Parts that still fit are kept.",
)
flags.DEFINE_alias("overwrite", "redo")  # the name in earlier versions
DRY_RUN = flags.DEFINE_bool(
    "dry_run",
    False,
    "Print the cost of all LLM work (prompts, FLOPs, memory, hours). Runs the data stage if necessary.",
)
PROFILE = flags.DEFINE_bool("profile", False, "Write a JAX trace of the stages to <workdir>/profile/.")
COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "HOST:PORT of process 0, if several processes share a run."
)
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes that share a run.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
DISTRIBUTED = flags.DEFINE_enum(
    "distributed",
    "off",
    ("off", "auto"),
    "auto: JAX asks the cluster (SLURM, Open MPI, Kubernetes, TPU) for the processes of the run.",
)


def parse(argv: Sequence[str]) -> list[str]:
    """Flags parser for `absl.app.run`. It also loads and checks the config before anything else runs."""
    argv = with_flag_files(argv)
    if asked := help_asked(argv):
        console.show_lines([_help_for(argv, asked == "full")])
        raise SystemExit(0)
    if not any(re.match(r"--?config(=|$)", arg) for arg in argv[1:]):
        argv = [argv[0], f"--config={DEFAULT_CONFIG}", *argv[1:]]
    try:
        argv = _ARGV[:] = [_expand_argument(arg) for arg in argv]
        rest = flags.FLAGS(argv)
        config = CONFIG.value
        if not isinstance(config, Config | Study):  # for example, if the file cannot be read
            config = load_config(_config_path(argv))
    except (Exception, SystemExit) as error:  # a config file may raise any exception
        fail(_explained(error, argv))
    try:
        check_no_argument(rest[1:])
        check_local("--workdir", WORKDIR.value)
        check_local("--start_from", START_FROM.value)
        if STAGE.value == "search" and not isinstance(config, Study):
            raise InputError(
                "--stage=search: only a study has a search; give --config=experiments/configs/paper.py"
            )
        _check_processes()
        _expand_home(config)
        config.check()
    except InputError as error:
        fail(error)
    return rest


def _expand_argument(arg: str) -> str:
    """Replaces ``~`` at the beginning of an argument's value with the path of the home folder.

    Shells do this for ``~/folder``, but not for ``--name=~/folder``.
    """
    if arg.startswith("~"):  # for example from --name ~/folder, if no shell has replaced the ~
        return expanded(arg, "flags")
    name, is_given, value = arg.partition("=")
    return f"{name}={expanded(value, name)}" if is_given and name.startswith("-") else arg


def _expand_home(config: object, prefix: str = "--config") -> None:
    """Replaces ``~`` with the path of the home folder in the settings of a config file."""
    for field in dataclasses.fields(config):
        value, flag = getattr(config, field.name), f"{prefix}.{field.name}"
        if dataclasses.is_dataclass(value):
            _expand_home(value, flag)
        elif isinstance(value, str):
            setattr(config, field.name, expanded(value, flag))


def _check_processes() -> None:
    """Raises InputError if the flags of a run with several processes are incomplete or contradictory."""
    given = [flag.value for flag in (COORDINATOR, NUM_PROCESSES, PROCESS_ID)]
    if given == ["", None, None]:
        return
    if DISTRIBUTED.value == "auto":
        raise InputError(
            "--distributed=auto finds out --coordinator, --num_processes and --process_id itself"
        )
    if "" in given or None in given:
        raise InputError(
            "--coordinator, --num_processes and --process_id must be given together or not at all"
        )
    if not re.fullmatch(r"\S+:\d{1,5}", given[0]) or not 0 < int(given[0].rpartition(":")[2]) < 65536:
        raise InputError(f"--coordinator={given[0]} must be HOST:PORT")
    if not 0 <= given[2] < given[1]:
        raise InputError(f"--process_id={given[2]} must be in 0 .. num_processes - 1 = {given[1] - 1}")


def _explained(error: BaseException, argv: Sequence[str]) -> object:
    """Explains an error of absl or ml_collections about a config file or an override, in one line."""
    try:
        given = load_config(_config_path(argv))
    except InputError as wrong:
        return wrong
    for arg, (old, new) in itertools.product(argv[1:], RENAMED.items()):
        if f"--{arg.lstrip('-')}".startswith(old):
            return f"{old.rstrip('.')} is now {new.rstrip('.')}"
    if isinstance(error, flags.DuplicateFlagError):
        return "--config: given twice, together with settings; give it once, before the settings"
    text = str(error.args[0] if error.args else error)
    if isinstance(error, flags.Error | InputError):
        return text
    known = {path for path, _, _ in knobs(given)}
    for arg in argv[1:]:
        match = re.match(r"--?(?:no)?config\.([\w.]*)", arg)
        if match and match[1] not in known:
            import difflib

            if renamed := renamed_hint(match[1]):
                return f"--config.{match[1]}: no such setting{renamed}"
            close = difflib.get_close_matches(match[1], known, 1, 0.5)
            hint = f"; did you mean --config.{close[0]}?" if close else "; --helpfull lists all settings"
            return f"--config.{match[1]}: no such setting{hint}"
    return f"--config: {text}"


def _config_path(argv: Sequence[str]) -> str:
    """The path given as ``--config=FILE`` or ``--config FILE``."""
    path = ""
    for arg, following in zip(argv, [*argv[1:], ""], strict=True):
        if match := re.fullmatch(r"--?config(?:=(.*))?", arg, re.DOTALL):
            path = following if match[1] is None else match[1]
    return path


def load_config(path: str) -> Config | Study:
    """Returns the result of a file's ``get_config()``, before any override.

    ``FILE.py:WORD`` passes the word to ``get_config``.

    Raises:
      InputError: the file is missing or raises an exception, it takes no word, or its result is neither a
        Config nor a Study.
    """
    words: list[str] = []
    if (match := re.fullmatch(r"(.*\.py):(.*)", path)) and not Path(path).is_file():
        path, words = match[1], [match[2]]
    if not Path(path).is_file():
        raise InputError(f"--config: no such file: {path}")
    try:
        function = runpy.run_path(path)["get_config"]
        takes = not words or bool(inspect.signature(function).parameters)
        config = function(*words) if takes else None
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path
        ]
        place = f"{path}:{lines[-1]}" if lines else path
        reason = (
            f"no {error}" if isinstance(error, KeyError) and not lines else f"{type(error).__name__}: {error}"
        )
        raise InputError(f"--config: the file cannot be loaded: {place}: {reason}") from None
    if not takes:
        raise InputError(f"--config={path}:{words[0]}: {path} takes no word after a colon")
    if not isinstance(config, Config | Study):
        name = type(config).__name__
        raise InputError(f"--config: get_config() must return a Config or a Study, not {name}")
    return config


def knobs(config: object, prefix: str = "") -> Iterator[tuple[str, object, str]]:
    """Yields the dotted path, the value and the meaning of every setting in a config dataclass."""
    meanings = _meanings(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from knobs(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value, meanings.get(field.name, "")


def _meanings(config_type: type) -> dict[str, str]:
    """Maps each field name to its text under "Attributes" in the docstring of the class or a base class."""
    meanings: dict[str, str] = {}
    for base in reversed(config_type.__mro__):
        doc = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")[2]
        for match in re.finditer(r"^  ([\w, ]+): (.*(?:\n {4,}.*)*)", doc, re.MULTILINE):
            for name in match[1].split(", "):
                meanings[name] = " ".join(match[2].split())
    return meanings


def _help_for(argv: Sequence[str], full: bool) -> str:
    """The help text for the config file in the arguments. Ends the process if the file cannot be loaded."""
    if not (path := _config_path(argv)):
        return help_text(full=full)
    try:
        return help_text(path, load_config(expanded(path, "--config")), full)
    except InputError as error:
        fail(error)


def help_text(path: str = "", given: Config | Study | None = None, full: bool = False) -> str:
    """The text of ``--help``.

    Args:
      path: the config file on the command line; "" for none.
      given: result of this file's ``get_config()``. Its settings are shown instead of the defaults.
      full: whether each setting is listed, not only the sections.
    """
    lines = [
        "iALP in JAX: from raw interactions to a report that compares policies.",
        "",
        "usage: python -m experiments.main [--config=FILE.py] [--config.SECTION.NAME=value ...] [flags]",
        "",
        "  --config=experiments/configs/quickstart.py        4 minutes, needs no data (the default)",
        "  --config=experiments/configs/lfm.py --config.data.root=FOLDER       a published data set",
        "  --config=FILE.py --workdir=runs/mine --stage=label                 one stage of your run",
        "",
        "flags:",
    ]
    names = (*FLAGS, *(flag.name for flag in (COORDINATOR, NUM_PROCESSES, PROCESS_ID, DISTRIBUTED)))
    lines += flag_lines((flags.FLAGS[name] for name in names), full)
    if given is not None:
        whose = f"of the {'study' if isinstance(given, Study) else 'run'} in {path}"
        return "\n".join([*lines, *(_all_settings(whose, given) if full else _sections(whose, given))])
    if full:
        run, study = "of a run (defaults)", "of a study, as experiments/configs/paper.py (defaults)"
        return "\n".join([*lines, *_all_settings(run, Config()), *_all_settings(study, Study())])
    study = "A study has other settings: --config=experiments/configs/paper.py --help lists them."
    return "\n".join([*lines, *_sections("of a run", Config()), study])


def _sections(whose: str, config: Config | Study) -> list[str]:
    """One help line for each setting or section, without the settings in a section."""
    meanings = _meanings(type(config))
    lines = ["", f"settings {whose} ({len(list(knobs(config)))}; --helpfull lists each with its value):"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        name = f"{field.name}.*" if dataclasses.is_dataclass(value) else f"{field.name}={value}"
        short = name if len(name) < _NAME_WIDTH else f"{name[: _NAME_WIDTH - 4]}..."
        meaning = first_sentence(meanings.get(field.name, ""))  # a class of your own may explain nothing
        line = f"  --config.{short:<{_NAME_WIDTH}}{meaning}"
        lines.append(line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}...")
    return lines


def _all_settings(whose: str, config: Config | Study) -> list[str]:
    """Help lines for every setting, with its value and meaning."""
    lines = ["", f"settings {whose}:"]
    for path, value, meaning in knobs(config):
        line = f"  --config.{path}={value!r}".replace("'", "")
        lines.append(line + (f"\n      {meaning}" if meaning else ""))
    return lines
