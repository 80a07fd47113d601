"""The study of the paper's claims: three real worlds, every method tuned with the same budget, 10 seeds.

python -m experiments.main --config=experiments/configs/paper.py --config.data_root=../shared/data

Reads the tuned values experiments/configs/tuned/<world>.json, which --stage=search writes. Methods without
tuned values run with defaults, and the report names them. After a kill, the same command does the missing
work. launch/paper.sh runs the search and the study. Several processes can run at the same time, each with
different --config.worlds. A short test run: --config.worlds=coat --config.num_seeds=2
--config.env_steps=20000 --config.results= --config.tuned= --config.readme= --workdir=runs/look
"""

from experiments.study.settings import Study

# These settings replace those in the files of the worlds: one block, which takes half the time of
# two; one LLM thread, so that labels have the same bits on any number of cores; fewer supervised updates,
# because more add almost nothing; smaller replay batches; fewer users for PG, so that less of its rollout
# window is idle.
OVERRIDES = {
    "network.blocks": 1,
    "llm.threads": 1,
    "pretrain.sasrec_updates": 300,
    "agents.pg.num_users": 5,
    "agents.pg.rollout_length": 40,
    **{f"agents.{name}.batch_size": 128 for name in ("dqn", "pex", "rlpd", "wsrl")},
}


def get_config() -> Study:
    """Last.fm, Amazon "Industrial and Scientific" and Coat; Last.fm runs twice, for claim (f)."""
    return Study(
        name="paper",
        worlds="lfm,industry,coat",
        not_offline="lfm",
        overrides=";".join(f"{path}={value}" for path, value in OVERRIDES.items()),
        results="experiments/results/paper",
        tuned="experiments/configs/tuned",
        readme="README.md,experiments/results/README.md",
    )
