"""From raw interactions to a report that compares policies.

python -m experiments.main --config=experiments/configs/quickstart.py
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from absl import app, logging

from experiments import flags
from experiments.runtime import cpu, distributed, gpu, jax_environment
from experiments.runtime.termination import TERMINATION
from ialp_jax import console
from ialp_jax.claim import STUDY, claim
from ialp_jax.errors import UNWRITABLE, InputError, Terminated


def main(argv: list[str]) -> None:
    """Runs what the flags ask for; whatever ends it early is one line on stderr and an exit code."""
    del argv
    TERMINATION.install()
    folder = Path(flags.WORKDIR.value or Path("runs") / flags.CONFIG.value.name)
    with distributed.ended_with_all():
        explained(folder)


def explained(folder: Path) -> None:
    """Runs `command`, and makes one line and an exit code of what ends it early."""
    try:
        command(folder)
    except InputError as error:
        flags.fail(error)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        flags.fail(f"{error.filename or folder}: cannot be read or written ({error.strerror})")
    except Terminated as error:
        print(f"terminated: {error}", file=sys.stderr)
        raise SystemExit(TERMINATION.exit_code) from None


def command(folder: Path) -> None:
    """Runs the stages that --stage names, of a run or of a study, in a folder."""
    logging.set_verbosity(logging.WARNING)  # orbax tells of every file it reads
    gpu.share_memory()
    if not distributed.asked():  # several processes have a device each
        cpu.cores_as_devices()
    jax_environment.check()
    distributed.start()
    import jax  # late: --help and wrong flags need no JAX

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
            "a study and --dry_run are for one process; several may each take some of its --config.worlds"
        )
    config, overwrite = flags.CONFIG.value, flags.REDO.value
    stages = flags.STAGES if flags.STAGE.value == "all" else (flags.STAGE.value,)
    if hint := gpu.unseen_gpu(backend):
        print(hint, file=sys.stderr)
    if isinstance(config, Study):
        for flag in (flags.DRY_RUN, flags.START_FROM):
            if flag.value:
                raise InputError(
                    f"--{flag.name}: a study has none; give the config file of one of its worlds"
                )
        if flags.PROFILE.value:
            claim(folder, STUDY, "--workdir")  # --profile writes there, also with --stage=report
    with profiled(folder if flags.PROFILE.value else None):
        if isinstance(config, Study):
            return run_study(config, folder, flags.STAGE.value, overwrite)
        with contextlib.ExitStack() as held:
            # Of several processes the first alone makes the folder and holds it; the others then read it.
            by_first(lambda: hold(folder, held))
            run = Run(folder, config, overwrite)
            if flags.DRY_RUN.value:
                dry_run_labels(run)
            else:
                run_stages(run, stages)


def hold(folder: Path, held: contextlib.ExitStack) -> None:
    """Locks the folder of a run until ``held`` ends, and makes it where it is missing."""
    from experiments.places import check_places
    from experiments.run import Run, start_from
    from experiments.runtime.lock import locked

    check_places(folder, flags.CONFIG.value, flags.START_FROM.value)
    held.enter_context(locked(folder))
    if flags.START_FROM.value:
        start_from(Path(flags.START_FROM.value), folder)
    Run.open(folder, flags.CONFIG.value, flags.REDO.value)


if __name__ == "__main__":
    with TERMINATION.ending_at_once(), console.command():
        app.run(main, flags_parser=flags.parse)
