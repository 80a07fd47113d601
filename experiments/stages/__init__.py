"""The stages of a run. Each stage reads files of earlier stages and writes its own files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from experiments.provenance import record
from experiments.run import FINGERPRINT, Run, report_fingerprint, settings
from experiments.stages import fits, recipes
from experiments.stages.adapt_stage import adaptation
from experiments.stages.audit_stage import audit
from experiments.stages.common import say
from experiments.stages.label_stage import label, lora
from experiments.stages.pretrain_stage import pretrain
from experiments.stages.redo import settle
from experiments.stages.world_stage import data, simulate
from ialp_jax import store
from ialp_jax.claim import REPORT
from ialp_jax.mesh import device_mesh
from ialp_jax.training.processes import by_first

Stage = Callable[[Run], None]


def run_stages(run: Run, names: Sequence[str]) -> None:
    """Runs the named stages in order. Raises InputError for errors that the user can correct."""
    device_mesh(
        run.config.devices.seeds, run.config.devices.users, run.config.num_seeds, 0
    )  # raises InputError if impossible
    printed: list[str] = []
    for number, name in enumerate(names):
        # This check is repeated before each stage, because earlier stages may have changed files.
        lines = by_first(lambda left=names[number:]: settle(run, left))
        for line in (line for line in lines if line not in printed):
            say(line)
        printed += lines
        say(f"{name} ...")
        began = time.perf_counter()
        if name in SHARED:
            STAGES[name](run)
        else:
            by_first(lambda stage=STAGES[name]: stage(run))
        say(f"{name}: {time.perf_counter() - began:.1f} s")


def report(run: Run) -> None:
    """Writes tables and the page to ``report/``."""
    from experiments.reporting.report import console_table, write_report  # late, it takes a second

    names, began = run.config.agent_ids(), time.perf_counter()
    for part in recipes.parts(run.config, "adapt"):
        fits.require_fitting(run, part)
        store.verify(run.folder / part)
    store.verify(run.folder / "simulator")
    fits.require_references(run)
    optional = {part for part in ("audit", "labels", "lora") if not fits.stale(run, part)}
    if not run.config.audit.enabled:
        optional.discard("audit")
    if not recipes.uses_adapter(run.config):
        optional.discard("lora")
    folder = run.begin("report", REPORT)
    (folder / store.MANIFEST).unlink(missing_ok=True)
    summary = write_report(run.folder, names, optional)
    # From this manifest, a sweep learns that the run is finished, and which settings it had.
    inputs = {FINGERPRINT: report_fingerprint(run.config), "config": settings(run.config)}
    store.seal(folder, inputs | {"provenance": record(time.perf_counter() - began)})
    say("\n" + console_table(summary))
    say(f"\nreport: {folder / 'index.html'}")


SHARED = ("pretrain", "adapt")  # all processes run these stages; only the first process runs the others
STAGES: dict[str, Stage] = {
    "data": data,
    "simulate": simulate,
    "lora": lora,
    "label": label,
    "audit": audit,
    "pretrain": pretrain,
    "adapt": adaptation,
    "report": report,
}
