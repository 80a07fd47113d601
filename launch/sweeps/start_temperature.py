"""At which temperature should learning start? Multiples of the temperature that earns most, on tuning users.

python -m experiments.main --config=experiments/configs/coat.py --config.data.root=../shared/data \
  --workdir=runs/base_coat --config.seed=1000 --config.evaluation.users=tuning --config.network.blocks=1 \
  --config.llm.threads=1 --config.adapt.agents=random,popular,oracle,a2c_warm,ialp_soft
python -m launch.sweep --config=experiments/configs/coat.py --sweep=launch/sweeps/start_temperature.py \
  --start_from=runs/base_coat --config.data.root=../shared/data --workdir=runs/start_temperature_coat \
  --config.seed=1000 --config.evaluation.users=tuning --config.network.blocks=1 --config.llm.threads=1 \
  --config.adapt.env_steps=100000
python -m launch.collect runs/start_temperature_coat

Do the same with lfm. Seed 1000 is the seed of the search; no result on evaluation users has it. All variants
have the other settings that the search chose for A2C warm on Coat.
"""

AGENTS = ("a_ialp_ft", "a2c_warm")
SETTINGS = {"learning_rate": 1e-3, "discount": 0.5, "trace": 1.0, "num_users": 10, "rollout_length": 5}

SWEEP = {
    "variants": [
        {"adapt.agents": ",".join(AGENTS), "agents.a_ialp_ft.start_from": "ialp_soft"}
        | {
            f"agents.{agent}.{name}": value
            for agent in AGENTS
            for name, value in (SETTINGS | {"entropy_cost": cost, "temperature_factor": factor}).items()
        }
        for cost in (0.01, 0.03)
        for factor in (1.0, 2.0, 4.0, 8.0)
    ],
}
