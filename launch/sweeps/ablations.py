"""Ablations: one change at a time to a part of iALP or to one of our choices. See configs/ablations.py.

Changes of the adaptation come first, then changes of the labels, then changes of the world.
"""

AP = {"adapt.agents": "a_ialp_ap"}  # for changes that affect only this agent
# Without reference policies, for changes that leave the world unchanged.
START = {"adapt.agents": "ialp,a_ialp_ft,a_ialp_ap"}

SWEEP = {
    "variants": [
        {},
        # Changes of the mixture: its schedule, start and gradient, and the use of the pre-trained critic.
        *({**AP, "agents.a_ialp_ap.schedule": "constant", "agents.a_ialp_ap.alpha_start": share}
          for share in (0.0, 0.25, 0.5, 1.0)),
        {**AP, "agents.a_ialp_ap.schedule": "cosine"},
        {**AP, "agents.a_ialp_ap.alpha_steps": 10_000},
        {**AP, "agents.a_ialp_ap.alpha_steps": 400_000},
        {**AP, "agents.a_ialp_ap.start": "random"},
        {**AP, "agents.a_ialp_ap.gradient": "mixture"},
        {**AP, "agents.a_ialp_ap.critic_start": "pretrained"},
        # Labels: source, rounds, sessions, candidates.
        *({**START, "labelling.source": source}
          for source in ("popularity", "random", "logged", "truth", "fold_in")),
        *({**START, "labelling.rounds": rounds} for rounds in (2, 4)),
        {**START, "labelling.sessions": 100},
        *({**START, "labelling.candidates": count} for count in (5, 10)),
        # Our own choices.
        {"simulator.history_length": 5, "simulator.start_length": 5},
        {"simulator.history_length": 20},
        {"simulator.patience": 3.0},
        {"simulator.patience": 8.0},
        {"simulator.user_model.family": "graph_filter"},
        {"llm.template": "brief"},
        {"llm.template": "list"},
    ],
}  # fmt: skip
