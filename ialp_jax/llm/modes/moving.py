"""Copies arrays to the model's device, without waiting for the device's earlier work. Needs torch."""

from __future__ import annotations

import numpy as np
import torch


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """The array on a device.

    A GPU reads pinned memory while this process continues. A copy from ordinary memory would wait for all
    batches before it.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
