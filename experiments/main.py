"""From raw interactions to a report that compares policies.

python -m experiments.main --config=experiments/configs/quickstart.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, logging

from experiments import flags, gpu
from experiments.termination import EXIT_CODE, SIGTERM
from ialp_jax.errors import UNWRITABLE, InputError, Terminated


def main(argv: list[str]) -> None:
    """Runs what the flags ask for; whatever ends it early is one line on stderr and an exit code."""
    del argv
    SIGTERM.install()
    folder = Path(flags.WORKDIR.value or Path("runs") / flags.CONFIG.value.name)
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
        raise SystemExit(EXIT_CODE) from None


def command(folder: Path) -> None:
    """Runs the stages that --stage names, of a run or of a study, in a folder."""
    logging.set_verbosity(logging.WARNING)  # orbax tells of every file it reads
    gpu.share_memory()
    import jax  # late: --help and wrong flags need no JAX

    from experiments.dry_run import dry_run_labels
    from experiments.lock import locked
    from experiments.profiling import profiled
    from experiments.run import Run, start_from
    from experiments.stages import run_stages
    from experiments.study.settings import Study
    from experiments.study.study_stages import run_study

    config, overwrite = flags.CONFIG.value, flags.OVERWRITE.value
    stages = flags.STAGES if flags.STAGE.value == "all" else (flags.STAGE.value,)
    if hint := gpu.unseen_gpu(jax.default_backend()):
        print(hint, file=sys.stderr)
    with profiled(folder if flags.PROFILE.value else None):
        if isinstance(config, Study):
            for flag in (flags.DRY_RUN, flags.START_FROM):
                if flag.value:
                    raise InputError(
                        f"--{flag.name}: a study has none; give the config file of one of its worlds"
                    )
            return run_study(config, folder, flags.STAGE.value, overwrite)
        with locked(folder):
            if flags.START_FROM.value:
                start_from(Path(flags.START_FROM.value), folder)
            run = Run.open(folder, config, overwrite)
            if flags.DRY_RUN.value:
                dry_run_labels(run)
            else:
                run_stages(run, stages)


if __name__ == "__main__":
    app.run(main, flags_parser=flags.parse)
