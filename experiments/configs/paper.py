"""The paper's claims on three real worlds: every method, tuned alike, 10 seeds, 200,000 env steps.

python -m experiments.main --config=experiments/configs/paper.py --config.data_root=../shared/data

Reads experiments/configs/tuned/<world>.json, which --stage=search writes; where a world has none, defaults
are run and the report says so. It may be killed at any instant: the next command does what is missing.
launch/paper.sh runs search and study; several may run at once, each with --config.worlds of its own.
A look: --config.worlds=coat --config.num_seeds=2 --config.env_steps=20000 --config.results= --config.tuned=
--config.readme= --workdir=runs/look
"""

from experiments.study.settings import Study

# Where all runs differ from the worlds' own files: one block (half the time of
# two), one thread for the LLM (labels then have the same bits however many cores there are), fewer
# supervised updates (nearly nothing comes after them), smaller batches of replay, and PG on fewer users at a
# time (less of its window is idle).
OVERRIDES = {
    "network.blocks": 1,
    "llm.threads": 1,
    "pretrain.sasrec_updates": 300,
    "agents.pg.num_users": 5,
    "agents.pg.rollout_length": 40,
    **{f"agents.{name}.batch_size": 128 for name in ("dqn", "pex", "rlpd", "wsrl")},
}


def get_config() -> Study:
    """Last.fm, Amazon "Industrial and Scientific", Coat; Last.fm once more for claim (f)."""
    return Study(
        name="paper",
        worlds="lfm,industry,coat",
        not_offline="lfm",
        overrides=";".join(f"{path}={value}" for path, value in OVERRIDES.items()),
        results="experiments/results/paper",
        tuned="experiments/configs/tuned",
        readme="README.md",
    )
