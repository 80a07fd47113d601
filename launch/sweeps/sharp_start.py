"""How fast may an agent learn that starts from the sharp policy of ialp_soft? In the quickstart's world.

python -m experiments.main --workdir=runs/base_demo --config.seed=1000 --config.evaluation.users=tuning \
  --config.audit.enabled=false --config.adapt.agents=random,popular,oracle,ialp_soft
python -m launch.sweep --config=experiments/configs/quickstart.py --sweep=launch/sweeps/sharp_start.py \
  --start_from=runs/base_demo --workdir=runs/sharp_start --config.seed=1000 --config.evaluation.users=tuning \
  --config.audit.enabled=false --config.adapt.agents=a_ialp_ft,a_ialp_ap
python -m launch.collect runs/sharp_start

Seed 1000 is the seed of the search; no result on evaluation users has it. The temperature of a policy divides
the last layer of the actor. So with temperature
1 / 32, a step of the encoder changes the logits 32 times as much.
"""

AGENTS = ("a_ialp_ft", "a_ialp_ap")

SWEEP = {
    "variants": [
        {f"agents.{agent}.{name}": value for agent in AGENTS for name, value in settings.items()}
        for settings in (
            *({"learning_rate": rate} for rate in (1e-3, 3e-4, 1e-4, 3e-5, 1e-5)),
            *({"learning_rate": rate, "discount": 0.5} for rate in (3e-4, 1e-4, 3e-5)),
            *({"learning_rate": 1e-4, "entropy_cost": cost} for cost in (0.0, 1e-2)),
        )
    ],
}
