"""Policies, and how they learn and act. The loop is in `ialp_jax.training`. See the README in this folder.

- the protocol: `base`; the records, one per agent: `registry`; the settings: `config`;
- references: ``random``, ``popular``, ``oracle``, ``stayer`` (`reference`), and ``sasrec``;
- from scratch: ``dqn``, ``pg``, ``a2c``;
- pre-trained on labels: ``ialp``, ``mixture`` (A-iALP_ap), ``gate`` (A-iALP_gate), ``a2c_kl``, ``jsrl``,
  ``pex``, ``rlpd``, ``wsrl``, and ``a2c`` if it starts from pre-trained parameters (A-iALP_ft);
- shared parts: `acting`, `actor_critic`, `offpolicy`, `replay`, `losses`, `sampling`, `numbered`.
"""
