"""From raw interactions to a report that compares policies.

python -m experiments.main --config=experiments/configs/quickstart.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, logging

from experiments import flags, gpu
from ialp_jax.errors import InputError


def main(argv: list[str]) -> None:
    """Runs the stages that --stage names, of a run or of a study."""
    del argv
    logging.set_verbosity(logging.WARNING)  # orbax tells of every file it reads
    gpu.share_memory()
    import jax  # late: --help and wrong flags need no JAX

    from experiments.dry_run import dry_run_labels
    from experiments.lock import locked
    from experiments.run import Run
    from experiments.stages import run_stages
    from experiments.study.settings import Study
    from experiments.study.study_stages import run_study

    config, overwrite = flags.CONFIG.value, flags.OVERWRITE.value
    folder = Path(flags.WORKDIR.value or Path("runs") / config.name)
    stages = flags.STAGES if flags.STAGE.value == "all" else (flags.STAGE.value,)
    if hint := gpu.unseen_gpu(jax.default_backend()):
        print(hint, file=sys.stderr)
    try:
        if isinstance(config, Study):
            if flags.DRY_RUN.value:
                raise InputError("--dry_run: a study has none; give the config file of one of its worlds")
            return run_study(config, folder, flags.STAGE.value, overwrite)
        with locked(folder):
            run = Run.open(folder, config, overwrite)
            if flags.DRY_RUN.value:
                dry_run_labels(run)
            else:
                run_stages(run, stages)
    except InputError as error:
        flags.fail(error)


if __name__ == "__main__":
    app.run(main, flags_parser=flags.parse)
