"""Compares our Muon optimiser with torch's Muon, which rounds to bfloat16."""

import pytest
import torch

from ialp_jax.llm.model.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16)])
def test_singular_values_come_near_1(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert ((values > 0.6) & (values < 1.3)).all()
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    cosine = torch.sum(orthogonalised(matrix) * (u @ v)) / (u @ v).norm() / orthogonalised(matrix).norm()
    assert cosine > 0.97


def test_its_steps_equal_those_of_torch_except_rounding():
    draw = torch.Generator().manual_seed(1)
    start, gradients = torch.randn(8, 20, generator=draw), torch.randn(5, 8, 20, generator=draw)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    pair = [
        (ours, Muon([ours], weight_decay=0.3, lr=0.02)),
        (theirs, torch.optim.Muon([theirs], lr=0.02, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")),
    ]
    for gradient in gradients:
        for parameter, optimiser in pair:
            parameter.grad = gradient.clone()
            optimiser.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved
    assert ours.dtype == torch.float32
