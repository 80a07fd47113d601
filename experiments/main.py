"""Runs the stages from raw interactions to a report that compares policies.

python -m experiments.main --config=experiments/configs/quickstart.py
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from absl import app, logging

from experiments import flags
from experiments.command_line import fail
from experiments.places import check_places
from experiments.runtime import compilation_cache, cpu, distributed, gpu, jax_environment
from experiments.runtime.termination import TERMINATION
from ialp_jax import console
from ialp_jax.claim import STUDY, claim
from ialp_jax.errors import UNWRITABLE, InputError, Terminated


def main(argv: list[str]) -> None:
    """Runs the command that the flags describe. An expected failure gives one line and an exit code."""
    del argv
    TERMINATION.install()
    folder = Path(flags.WORKDIR.value or Path("runs") / flags.CONFIG.value.name)
    with distributed.ended_with_all():
        run_or_explain(folder)


def run_or_explain(folder: Path) -> None:
    """Runs `command` and reports an expected failure as a one-line message and an exit code."""
    try:
        command(folder)
    except InputError as error:
        fail(error)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        fail(f"{error.filename or folder}: cannot be read or written ({error.strerror})")
    except Terminated as error:
        print(f"terminated: {error}", file=sys.stderr)
        raise SystemExit(TERMINATION.exit_code) from None


def command(folder: Path) -> None:
    """Runs the stages that --stage names, for a run or a study in ``folder``."""
    check_places(folder, flags.CONFIG.value, flags.START_FROM.value)
    logging.set_verbosity(logging.WARNING)  # orbax logs every file that it reads
    gpu.share_memory()
    if not distributed.asked():  # in a run with several processes, each process has one device
        cpu.cores_as_devices()
    if note := compilation_cache.start(flags.CONFIG.value.compilation_cache):
        print(note, file=sys.stderr)
    jax_environment.check()
    distributed.start()
    import jax  # imported late, because --help and wrong flags need no JAX

    backend = jax_environment.start_backend()
    from experiments.dry_run import dry_run_labels
    from experiments.run import Run
    from experiments.runtime.profiling import profiled
    from experiments.stages import run_stages
    from experiments.study.settings import Study
    from experiments.study.study_stages import run_study
    from ialp_jax.training.processes import by_first

    if jax.process_count() > 1 and (isinstance(flags.CONFIG.value, Study) or flags.DRY_RUN.value):
        raise InputError(
            "a study and --dry_run need a single process; give each process its own --config.worlds"
        )
    config, overwrite = flags.CONFIG.value, flags.REDO.value
    stages = flags.STAGES if flags.STAGE.value == "all" else (flags.STAGE.value,)
    if hint := gpu.unseen_gpu(backend):
        print(hint, file=sys.stderr)
    if isinstance(config, Study):
        for flag in (flags.DRY_RUN, flags.START_FROM):
            if flag.value:
                raise InputError(f"--{flag.name}: not for a study; give the config file of one of its worlds")
        if flags.PROFILE.value:
            claim(folder, STUDY, "--workdir")  # --profile writes into the folder, even with --stage=report
    with profiled(folder if flags.PROFILE.value else None):
        if isinstance(config, Study):
            return run_study(config, folder, flags.STAGE.value, overwrite)
        with contextlib.ExitStack() as exit_stack:
            # If several processes share the run, only the first one makes and locks the folder. The other
            # processes read the folder afterwards.
            by_first(lambda: lock_folder(folder, exit_stack))
            run = Run(folder, config, overwrite)
            if flags.DRY_RUN.value:
                dry_run_labels(run)
            else:
                run_stages(run, stages)


def lock_folder(folder: Path, exit_stack: contextlib.ExitStack) -> None:
    """Makes the folder of a run if it is missing, and locks it until ``exit_stack`` closes."""
    from experiments.run import Run, start_from
    from experiments.runtime.lock import locked

    exit_stack.enter_context(locked(folder))
    if flags.START_FROM.value:
        start_from(Path(flags.START_FROM.value), folder)
    Run.open(folder, flags.CONFIG.value, flags.REDO.value)


if __name__ == "__main__":
    with TERMINATION.ending_at_once(), console.command():
        app.run(main, flags_parser=flags.parse)
