"""``--dry_run``: prints the expected costs of the LLM with the settings of a run."""

from __future__ import annotations

from typing import Any

from experiments.run import Run
from experiments.stages import audit_stage, recipes
from experiments.stages.common import say
from experiments.stages.redo import check
from experiments.stages.world_stage import data
from ialp_jax.data.files import load_dataset
from ialp_jax.labelling import estimate_client
from ialp_jax.labelling.config import LOGISTIC
from ialp_jax.llm.prompting.lengths import Demand, sample_of
from ialp_jax.types import Dataset

GB = 1e9
SMALL = 100e6  # parameters; smaller models spend more time on overheads than on matrix products


def dry_run_labels(run: Run) -> None:
    """Runs the data stage if necessary, and prints the costs of the LLM. Raises InputError."""
    check(run, ("data",))
    data(run)
    config, dataset = run.config, load_dataset(run.folder / "data")
    asked = demands(run, dataset)
    if not asked:
        return say("dry run: no prompt is put to an LLM, as no label and no audit needs one")
    shape = (config.simulator.history_length, config.labelling.candidates)
    costs = estimate_client.estimate(
        config.llm, run.folder / "data", run.folder / "dry_run.log", config.seed, asked, shape
    )
    for line in lines(costs, config.llm.engine, config.llm.workers, config.llm.batch_size):
        say(line)


def demands(run: Run, dataset: Dataset) -> list[Demand]:
    """The largest number of prompts that a run may send to the LLM; equal prompts are sent once."""
    config, prompts = run.config, []
    labelling = config.labelling
    if recipes.asks_llm(config):
        each = labelling.steps * labelling.sessions
        shape = (config.simulator.history_length, labelling.candidates)
        name = f"labels, {labelling.rounds} rounds of {each:,}" if labelling.rounds > 1 else "labels"
        sample = sample_of(dataset, shape, config.seed)
        prompts.append(Demand(name, labelling.rounds * each, sample))
        if labelling.calibration == LOGISTIC:
            asked = labelling.rounds * labelling.calibration_questions
            prompts.append(Demand("calibration of likes", asked, sample))
    if config.audit.enabled:
        prompts += audit_stage.demands(run, dataset)
    return prompts


def lines(costs: dict[str, Any], engine: str, workers: int, batch_size: int) -> list[str]:
    """Formats the figures of `ialp_jax.llm.worker.estimate.estimate` as lines of text."""
    rows = [(p["name"], p["prompts"], p["tokens"], p["flops"], p["seconds"]) for p in costs["parts"]]
    rows.append(("total", *(sum(row[k] for row in rows) for k in (1, 2, 3, 4))))
    needed = costs["weights_bytes"] + costs["batch_bytes"]
    copies = f" for each of {costs['workers']} workers" if costs["workers"] > 1 else ""
    fits = f"does not fit: {costs['refusal']}" if costs["refusal"] else "fits"
    notes = [f"; {workers} workers share them"] if engine == "ray" and workers > 1 else []
    if costs["timed_prompts"]:
        how = f"measured here on {costs['timed_prompts']} of these prompts with random weights"
        notes.insert(0, f", {costs['workers']} workers at a time" if costs["workers"] > 1 else "")
    else:
        how = "assumed"
        notes += ["; models as small as this reach less"] if costs["parameters"] < SMALL else []
    dtype = costs["dtype"] + (" (if its ranks agree with float32)" if costs["if_ranks_agree"] else "")
    fits = f"{costs['free_bytes'] / GB:.2f} GB are free: {fits}"
    return [
        f"dry run: asks {costs['model']}, mode {costs['mode']}, engine {engine}, "
        f"{dtype} on {costs['device']}; nothing is labelled",
        f"model: {_count(costs['parameters'])} parameters, {costs['layers']} layers",
        f"prompts: {costs['mean_tokens']:,.0f} tokens each for a label, {costs['most_tokens']:,} at most, "
        f"by {costs['counted']} over {costs['sampled']} prompts of this data",
        f"  {'part':<31}{'prompts':>12}{'tokens':>16}{'FLOPs':>12}{'hours':>10}",
        *(
            f"  {name:<31}{prompts:>12,}{tokens:>16,}{flops:>12.2e}{seconds / 3600:>10.3f}"
            for name, prompts, tokens, flops, seconds in rows
        ),
        f"memory: {costs['weights_bytes'] / GB:.2f} GB of weights + {costs['batch_bytes'] / GB:.2f} GB for a "
        f"batch of {batch_size} = {needed / GB:.2f} GB{copies}; {fits}",
        f"time: {costs['hours']:.3g} hours at {costs['utilisation']:.0%} of the rate of a matrix product, "
        f"{costs['rate'] / 1e12:.3g} TFLOP/s; this share is {how}{''.join(notes)}",
    ]


def _count(number: int) -> str:
    """7.25 B or 4.01 M."""
    return f"{number / 1e9:.2f} B" if number >= SMALL else f"{number / 1e6:.2f} M"
