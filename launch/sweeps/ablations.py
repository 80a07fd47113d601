"""One change at a time: which parts of iALP matter, and which of our choices. See configs/ablations.py."""

AP = {"adapt.agents": "a_ialp_ap"}  # alone, where nothing before it changes

SWEEP = {
    "variants": [
        {},
        # Labels: candidates, rounds, prompts, who labels.
        {"labelling.candidates": 5},
        {"labelling.candidates": 10},
        {"labelling.rounds": 2},
        {"labelling.rounds": 4},
        {"labelling.sessions": 100},
        {"labelling.source": "popularity"},
        {"labelling.source": "random"},
        {"labelling.source": "logged"},
        {"labelling.source": "truth"},
        # The mixture: schedule, start, gradient.
        *({**AP, "agents.mixture.schedule": "constant", "agents.mixture.alpha_start": share}
          for share in (0.0, 0.25, 0.5, 1.0)),
        {**AP, "agents.mixture.schedule": "cosine"},
        {**AP, "agents.mixture.alpha_steps": 10_000},
        {**AP, "agents.mixture.alpha_steps": 200_000},
        {**AP, "agents.mixture.start": "random"},
        {**AP, "agents.mixture.gradient": "mixture"},
        # The critic that pre-training left.
        {"agents.mixture.critic_start": "pretrained", "agents.ft.critic_start": "pretrained"},
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
