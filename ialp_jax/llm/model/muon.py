"""The optimiser Muon, which here computes in the dtype of the parameters.

torch.optim.Muon orthogonalises in bfloat16. CPUs without bfloat16 instructions multiply bfloat16 matrices
about a hundred times slower than float32 matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic; K. Jordan et al., "Muon", 2024
STEPS = 5


class Muon(torch.optim.Optimizer):
    """Momentum with an orthogonalised update (K. Jordan et al. 2024) and weight decay.

    The factor 0.2 sqrt(max(rows, columns)) makes the steps as large as AdamW's (Liu et al. 2025, arXiv
    2502.16982, section 2.2).
    """

    def __init__(
        self, params: Iterable[torch.Tensor], weight_decay: float, lr: float = 1e-3, momentum: float = 0.95
    ) -> None:
        """All parameters must be matrices. Each step also multiplies them by 1 - lr * ``weight_decay``."""
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Updates the parameters once, with their current gradients."""
        del closure
        for group in self.param_groups:
            for param in group["params"]:
                held = self.state[param]
                if not held:
                    held["momentum_buffer"] = torch.zeros_like(param)
                average = held["momentum_buffer"].lerp_(param.grad, 1 - group["momentum"])
                update = orthogonalised(param.grad.lerp(average, group["momentum"]))  # Nesterov momentum
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.add_(update, alpha=-0.2 * math.sqrt(max(param.shape)) * group["lr"])


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """Brings all singular values of a matrix close to 1, by `STEPS` quintic Newton-Schulz iterations."""
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.T
