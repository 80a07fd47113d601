"""Compares clocks of A-iALP_ap, which starts from ialp_soft here: schedules and lengths, on tuning users.

python -m experiments.main --config=experiments/configs/lfm.py --config.data.root=../shared/data \
  --workdir=runs/base_lfm --config.seed=1000 --config.evaluation.users=tuning --config.network.blocks=1 \
  --config.llm.threads=1 --config.adapt.env_steps=100000 --config.adapt.agents=random,popular,oracle,ialp_soft
python -m launch.sweep --config=experiments/configs/lfm.py --sweep=launch/sweeps/alpha.py \
  --start_from=runs/base_lfm --config.data.root=../shared/data --workdir=runs/alpha_lfm --config.seed=1000 \
  --config.evaluation.users=tuning --config.network.blocks=1 --config.llm.threads=1 \
  --config.adapt.env_steps=100000
python -m launch.collect runs/alpha_lfm

Do the same with industry and coat. Seed 1000 is the seed of the search; no result on evaluation users has it.
In every variant, pi_beta starts from the policy of ialp_soft, so alpha only decides who acts while it learns.
"""

AP = {"adapt.agents": "a_ialp_ap", "agents.a_ialp_ap.start_from": "ialp_soft"}

SWEEP = {
    "variants": [
        *(
            {**AP, "agents.a_ialp_ap.schedule": schedule, "agents.a_ialp_ap.alpha_steps": steps}
            for schedule in ("linear", "cosine", "evidence")
            for steps in (10_000, 30_000, 100_000, 400_000)
        ),
        # From first to last, only the frozen policy or only the learning policy acts.
        *(
            {**AP, "agents.a_ialp_ap.schedule": "constant", "agents.a_ialp_ap.alpha_start": share}
            for share in (0.0, 1.0)
        ),
    ],
}
