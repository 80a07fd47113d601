"""Policies: how each learns and acts. The loop is in `ialp_jax.training`; see the README here.

- the protocol: `base`; the records, one per agent: `registry`; the settings: `config`;
- references: ``random``, ``popular``, ``oracle``, ``stayer`` (`reference`), and ``sasrec``;
- from scratch: ``dqn``, ``pg``, ``a2c``;
- pre-trained on labels: ``ialp``, ``mixture`` (A-iALP_ap), ``a2c`` again (A-iALP_ft), ``gate`` (A-iALP_gate),
  ``a2c_kl``, ``jsrl``, ``pex``, ``rlpd``, ``wsrl``;
- shared parts: `actor_critic`, `offpolicy`, `replay`, `losses`, `sampling`, `numbered`.
"""
