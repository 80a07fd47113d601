"""Ticks of axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import Formatter


class Shares(Formatter):
    """Ticks of shares as percentages, with as many decimals as they need to be exact and distinct."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """One tick."""
        return self.format_ticks([x])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """All ticks of an axis, alike."""
        percent = 100 * np.asarray(values, np.float64)
        close = 1e-6 * max(np.ptp(percent), np.abs(percent).max(initial=0), 1e-300)
        decimals = next(
            (d for d in range(15) if np.abs(percent.round(d) - percent).max(initial=0) <= close), 15
        )
        return [f"{value:.{decimals}f}%" for value in percent]
