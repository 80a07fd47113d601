"""How fast the present device multiplies matrices, which decides what asking costs. torch."""

from __future__ import annotations

import functools
import time

import torch

SECONDS = 0.5  # how long the rate is measured


def matmul_rate(device: str, dtype: str) -> float:
    """Measured operations per second of a square matrix product on the present device."""
    width = 4096 if device.startswith("cuda") else 1024
    one = torch.randn(width, width, device=device).to(getattr(torch, dtype))
    best, until = 0.0, time.monotonic() + SECONDS
    while time.monotonic() < until or not best:
        started = time.perf_counter()
        product = one @ one
        product[0, 0].item()  # waits for a GPU
        best = max(best, 2 * width**3 / (time.perf_counter() - started))
    return best


@functools.cache
def fastest_dtype(device: str) -> str:
    """``float32`` or ``bfloat16``, by measurement; measured once in a process."""
    return max(("float32", "bfloat16"), key=lambda dtype: matmul_rate(device, dtype))
