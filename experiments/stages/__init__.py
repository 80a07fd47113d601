"""The stages, each from the files of the ones before it to its own. A stage that is done is skipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from experiments.reporting.report import console_table, write_report
from experiments.run import KEY, Run, report_key, settings
from experiments.stages.adapt_stage import adapt_key, adaptation
from experiments.stages.audit_stage import audit, audit_key
from experiments.stages.common import say
from experiments.stages.label_stage import label, tune
from experiments.stages.pretrain_stage import pretrain
from experiments.stages.world_stage import data, simulate
from ialp_jax import store
from ialp_jax.claim import REPORT
from ialp_jax.errors import InputError
from ialp_jax.mesh import device_mesh
from ialp_jax.training.processes import by_first

Stage = Callable[[Run], None]


def run_stages(run: Run, names: Sequence[str]) -> None:
    """Runs the named stages in order. Raises InputError for what the user can mend."""
    device_mesh(run.config.devices.seeds, run.config.devices.users, run.config.num_seeds, 0)  # or it fails
    for name in names:
        say(f"{name} ...")
        began = time.perf_counter()
        if name in SHARED:
            STAGES[name](run)
        else:
            by_first(lambda stage=STAGES[name]: stage(run))
        say(f"{name}: {time.perf_counter() - began:.1f} s")


def report(run: Run) -> None:
    """Tables and the page, to ``report/``."""
    names = run.config.agent_ids()
    for name in names:
        if not run.is_done(f"adapt/{name}", adapt_key(run, name)):
            raise InputError(
                f"{run.folder / 'adapt' / name} is missing or was made with other settings; "
                "run --stage=adapt first"
            )
    store.verify(run.folder / "simulator")
    audited = run.config.audit.enabled and run.is_done("audit", audit_key(run))
    folder = run.begin("report", REPORT)
    (folder / store.MANIFEST).unlink(missing_ok=True)
    summary = write_report(run.folder, names, audited)
    # A sweep knows by it that the run is done, and what its results were made with.
    store.seal(folder, {KEY: report_key(run.config), "config": settings(run.config)})
    say("\n" + console_table(summary))
    say(f"\nreport: {folder / 'index.html'}")


SHARED = ("pretrain", "adapt")  # by all processes; the others are the first one's
STAGES: dict[str, Stage] = {
    "data": data,
    "simulate": simulate,
    "tune": tune,
    "label": label,
    "audit": audit,
    "pretrain": pretrain,
    "adapt": adaptation,
    "report": report,
}
