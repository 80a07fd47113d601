"""Measures how fast the current device multiplies matrices, for cost estimates. Needs torch."""

from __future__ import annotations

import time

import torch

SECONDS = 0.5  # duration of a measurement


def matmul_rate(device: str, dtype: str) -> float:
    """Measured operations per second of a square matrix product on the current device."""
    width = 4096 if device.startswith("cuda") else 1024
    one = torch.randn(width, width, device=device).to(getattr(torch, dtype))
    best, until = 0.0, time.monotonic() + SECONDS
    while time.monotonic() < until or not best:
        started = time.perf_counter()
        product = one @ one
        product[0, 0].item()  # waits for a GPU
        best = max(best, 2 * width**3 / (time.perf_counter() - started))
    return best
