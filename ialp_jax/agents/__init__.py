"""Policies: what each learns from, and how it acts. The loop is in `ialp_jax.training`.

A module per method, with a function of its name that returns an `ialp_jax.agents.base.Agent`:

- references: ``random``, ``popular``, ``oracle``, ``stayer`` (`ialp_jax.agents.reference`), and ``sasrec``;
- from scratch: ``dqn``, ``pg``, ``a2c``;
- pre-trained on labels: ``ialp``, ``mixture`` (A-iALP_ap) and ``a2c`` again (A-iALP_ft), ``gate``,
  ``a2c_kl``, ``jsrl``, ``pex``, ``rlpd``, ``wsrl``.

Their settings are in `ialp_jax.agents.config`; losses that they share in `ialp_jax.agents.losses`.
"""
