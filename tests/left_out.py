"""At the end of a test run, reports how many slow tests were left out, also with xdist workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

COUNT = pytest.StashKey[int]()
NAME = "slow_tests_left_out"


class LeftOut:
    """A pytest plugin. With xdist every worker deselects the same tests and reports their number."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        config.stash[COUNT] = 0

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        slow = sum(item.get_closest_marker("slow") is not None for item in items)
        self._config.stash[COUNT] += slow

    def pytest_sessionfinish(self) -> None:
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[NAME] = self._config.stash[COUNT]

    @pytest.hookimpl(optionalhook=True)  # of xdist
    def pytest_testnodedown(self, node: Any) -> None:
        number = getattr(node, "workeroutput", {}).get(NAME, 0)
        self._config.stash[COUNT] = max(self._config.stash[COUNT], number)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if number := self._config.stash[COUNT]:
            terminalreporter.write_line(f"{number} slow tests left out; -m '' runs them too")
