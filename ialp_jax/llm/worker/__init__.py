"""The process that loads torch.

- `worker`: carries out orders; `protocol`: sends and receives them; `estimate`: estimates costs.
"""
