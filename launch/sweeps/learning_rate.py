"""Learning rates of fine-tuning and of the mixture. Each of 6 jobs takes 5 minutes and 2 GB on 2 CPU cores.

python -m launch.sweep --config=experiments/configs/quickstart.py --sweep=launch/sweeps/learning_rate.py
"""

SWEEP = {
    "grid": {
        "agents.a_ialp_ft.learning_rate": [3e-4, 1e-3, 3e-3],
        "agents.a_ialp_ap.learning_rate": [1e-3, 3e-3],
    },
}
