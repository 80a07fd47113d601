"""The study of the paper's claims: three real worlds, every method tuned with the same budget, 10 seeds.

python -m experiments.main --config=experiments/configs/paper.py --config.data_root=../shared/data

The study reads tuned values from experiments/configs/tuned/<world>.json, which --stage=search writes. Methods
without tuned values run with default settings, and the report lists these methods. After a kill, run the same
command again: it does only the missing work. launch/paper.sh runs the search and the study. Several processes
can work at the same time, each with different --config.worlds. A short test run: --config.worlds=coat
--config.num_seeds=2 --config.env_steps=20000 --config.results= --config.tuned= --config.readme=
--workdir=runs/look
"""

from experiments.study.settings import Study

# These settings replace those in the config files of the worlds. One network block takes half the time of
# two. With one LLM thread, labels have the same bits on any number of cores. More supervised updates add
# almost nothing. With fewer users, less of PG's rollout window is idle. Replay batches have 128 samples. The
# committed results used the base-rate rule odds, so the study keeps its worlds.
OVERRIDES = {
    "network.blocks": 1,
    "llm.threads": 1,
    "pretrain.sasrec_updates": 300,
    "simulator.user_model.base_rate_rule": "odds",
    "agents.pg.num_users": 5,
    "agents.pg.rollout_length": 40,
    **{f"agents.{name}.batch_size": 128 for name in ("dqn", "pex", "rlpd", "wsrl")},
}


def get_config() -> Study:
    """Last.fm, Amazon "Industrial and Scientific" and Coat; a second run of Last.fm tests claim (f)."""
    return Study(
        name="paper",
        worlds="lfm,industry,coat",
        not_offline="lfm",
        overrides=";".join(f"{path}={value}" for path, value in OVERRIDES.items()),
        results="experiments/results/paper",
        tuned="experiments/configs/tuned",
        readme="README.md,experiments/results/README.md",
    )
