"""How should imagined sessions and labels be made? One change at a time, measured on tuning users.

python -m launch.sweep --config=experiments/configs/lfm.py --sweep=launch/sweeps/start_labels.py \
  --config.data.root=../shared/data --workdir=runs/start_labels_lfm --config.seed=1000 --config.num_seeds=3 \
  --config.evaluation.users=tuning --config.adapt.env_steps=1000 \
  --config.adapt.agents=random,popular,oracle,sasrec,a2c_warm,ialp,ialp_soft \
  --config.network.blocks=1 --config.llm.threads=1 --config.audit.enabled=false
python -m launch.collect runs/start_labels_lfm

Do the same with industry and coat. Seed 1000 is the seed of the search; no result on evaluation users has it.
"""

CALIBRATED = {"labelling.calibration": "logistic"}

SWEEP = {
    "variants": [
        {},
        # Imagined sessions.
        {"labelling.horizon": 0, "labelling.staggered": False},
        *({"labelling.horizon": horizon} for horizon in (5, 20)),
        {"labelling.popular_share": 0.25},
        {"labelling.uniform_share": 0.25},
        # How scores become preferences.
        *({"agents.ialp_soft.label_temperature": temperature} for temperature in (0.5, 2.0)),
        *({"agents.ialp_soft.prior_weight": weight} for weight in (0.5, 1.0)),
        CALIBRATED,
        *({**CALIBRATED, "labelling.source": source} for source in ("log_model", "llm+log_model")),
        {"labelling.source": "popularity"},
        {"labelling.source": "log_model"},
        # With and without the critic.
        {"agents.ialp_soft.critic_cost": 0.0, "agents.ialp.critic_cost": 0.0},
        *({"agents.ialp.actor_weight": weight} for weight in ("q", "advantage")),
    ],
}  # fmt: skip
