"""How much do labels help at the start? Pre-trained policies at their temperatures, in three real worlds.

launch/start.sh ../shared/data

The script searches the settings of each method on tuning users, then runs this study and writes
experiments/results/start/summary.csv. Methods that need labels run with two sets of labels. ialp_soft also
runs with labels of SASRec, and with labels of both sources. After a kill, run the same command again.
"""

from experiments.configs import paper
from experiments.study.settings import Study

# Settings of the paper's study. The adaptations start from ialp_soft, because it earns more on tuning users.
SHARED = ("network.blocks", "llm.threads", "pretrain.sasrec_updates")
ADAPTATIONS = ("a_ialp_ft", "a_ialp_ap", "a_ialp_gate")
OVERRIDES = {path: paper.OVERRIDES[path] for path in SHARED} | {
    f"agents.{name}.start_from": "ialp_soft" for name in ADAPTATIONS
}
METHODS = (*("random", "popular", "oracle", "sasrec", "a2c_warm", "ialp", "ialp_soft"), *ADAPTATIONS)


def get_config() -> Study:
    """Last.fm, Amazon "Industrial and Scientific" and Coat, 10 seeds, 100,000 env steps."""
    return Study(
        name="start",
        worlds="lfm,industry,coat",
        methods=",".join(METHODS),
        literal="lfm,industry,coat",
        label_sets=2,
        sources="log_model,llm+log_model",
        env_steps=100_000,
        overrides=";".join(f"{path}={value}" for path, value in OVERRIDES.items()),
        tuned="experiments/results/start/tuned",
        starts="experiments/results/start/summary.csv",
    )
