"""Trains agents and networks, offline and online.

- `loop`: the training loop, with evaluations, checkpoints, TensorBoard and a progress bar.
- `pretrain`: offline training on labels or logs. `offline`: logs of offline users as arrays.
- `adapt`: online training of an agent in an environment. `rollout`: plays sessions and computes metrics.
- `checkpoint`, `packing`, `params`: trainings and parameters on disk. `watch`: TensorBoard.
- `seeds`, `processes`: several seeds, devices and processes.
"""
