"""``--dry_run``: what the LLM of a run would cost as configured, in a few lines."""

from __future__ import annotations

from typing import Any

from experiments.run import Run
from experiments.stages import audit_stage
from experiments.stages.common import say
from experiments.stages.redo import check
from experiments.stages.world_stage import data
from ialp_jax.data.files import load_dataset
from ialp_jax.labelling import dry_run
from ialp_jax.llm.prompting.lengths import Demand, sample_of
from ialp_jax.types import Dataset

GB = 1e9
SMALL = 100e6  # parameters, under which overheads and not products take the time


def dry_run_labels(run: Run) -> None:
    """Runs the data stage where need be, and prints what the LLM would cost. Raises InputError."""
    check(run, ("data",))
    data(run)
    config, dataset = run.config, load_dataset(run.folder / "data")
    asked = demands(run, dataset)
    if not asked and not config.llm.tune.steps:
        return say("dry run: no prompt is put to an LLM, as no label and no audit needs one")
    shape = (config.simulator.history_length, config.labelling.candidates)
    told = dry_run.estimate(
        config.llm, run.folder / "data", run.folder / "dry_run.log", config.seed, asked, shape
    )
    for line in lines(told, config.llm.engine, config.llm.workers, config.llm.batch_size):
        say(line)


def demands(run: Run, dataset: Dataset) -> list[Demand]:
    """All prompts that the stages of a run put to the LLM, at most: equal ones are asked once."""
    config, found = run.config, []
    labelling = config.labelling
    if labelling.source == "llm":
        each = labelling.steps * labelling.sessions
        shape = (config.simulator.history_length, labelling.candidates)
        name = f"labels, {labelling.rounds} rounds of {each:,}" if labelling.rounds > 1 else "labels"
        found.append(Demand(name, labelling.rounds * each, *sample_of(dataset, shape, config.seed)))
    if config.audit.enabled:
        found += audit_stage.demands(run, dataset)
    return found


def lines(told: dict[str, Any], engine: str, workers: int, batch_size: int) -> list[str]:
    """The figures of `ialp_jax.llm.worker.estimate.estimate` in words."""
    rows = [(p["name"], p["prompts"], p["tokens"], p["flops"]) for p in told["parts"]]
    rows.append(("total", *(sum(row[k] for row in rows) for k in (1, 2, 3))))
    speed = told["rate"] * told["utilisation"]
    needed = told["weights_bytes"] + told["batch_bytes"]
    fits = f"does not fit: {told['refusal']}" if told["refusal"] else "fits"
    notes = [f"; {workers} workers share them"] if engine == "ray" and workers > 1 else []
    notes += ["; models as small as this reach less"] if told["parameters"] < SMALL else []
    return [
        f"dry run: asks {told['model']}, mode {told['mode']}, engine {engine}, "
        f"{told['dtype']} on {told['device']}; nothing is labelled",
        f"model: {_count(told['parameters'])} parameters, {told['layers']} layers",
        f"prompts: {told['mean_tokens']:,.0f} tokens each for a label, {told['most_tokens']:,} at most, "
        f"by {told['counted']} over {told['sampled']} prompts of this data",
        f"  {'part':<31}{'prompts':>12}{'tokens':>16}{'FLOPs':>12}{'hours':>10}",
        *(
            f"  {name:<31}{prompts:>12,}{tokens:>16,}{flops:>12.2e}{flops / speed / 3600:>10.3f}"
            for name, prompts, tokens, flops in rows
        ),
        f"memory: {told['weights_bytes'] / GB:.2f} GB of weights + {told['batch_bytes'] / GB:.2f} GB for a "
        f"batch of {batch_size} = {needed / GB:.2f} GB; {told['free_bytes'] / GB:.2f} GB are free: {fits}",
        f"time: {told['hours']:.3g} hours at {told['utilisation']:.0%} of the matrix-product rate measured "
        f"here, {told['rate'] / 1e12:.3g} TFLOP/s{''.join(notes)}",
    ]


def _count(number: int) -> str:
    """7.25 B or 4.01 M."""
    return f"{number / 1e9:.2f} B" if number >= SMALL else f"{number / 1e6:.2f} M"
