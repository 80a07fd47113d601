"""Tick labels of axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import Formatter


class Shares(Formatter):
    """Formats shares as percentages, with just enough decimals to be exact and distinct."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Formats one tick."""
        return self.format_ticks([x])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Formats all ticks of an axis with the same number of decimals."""
        percent = 100 * np.asarray(values, np.float64)
        tolerance = 1e-6 * max(np.ptp(percent), np.abs(percent).max(initial=0), 1e-300)
        decimals = next(
            (d for d in range(15) if np.abs(percent.round(d) - percent).max(initial=0) <= tolerance), 15
        )
        return [f"{value:.{decimals}f}%" for value in percent]
