import numpy as np
import pytest

from ialp_jax.types import Prompts

PROMPTS = Prompts(np.arange(6).reshape(3, 2), np.arange(12).reshape(3, 4) + 1, np.array([7, 8, 9]))


@pytest.mark.parametrize("index", [slice(1, 3), np.array([1, 2]), np.array([False, True, True])])
def test_rows_of_prompts_go_together(index):
    some = PROMPTS.rows(index)
    assert some.num_prompts == 2
    assert some.shape == PROMPTS.shape == (2, 4)
    assert some.histories.tolist() == [[2, 3], [4, 5]]
    assert some.candidates[:, 0].tolist() == [5, 9]
    assert some.windows.tolist() == [8, 9]


def test_prompts_without_windows_stay_without_them():
    assert PROMPTS._replace(windows=None).rows(slice(1)).windows is None
    assert list(PROMPTS.arrays()) == ["histories", "candidates"]
