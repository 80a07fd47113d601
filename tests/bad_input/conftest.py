"""Commands with bad input must end with exit code 2 and a one-line error that names the fault."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import small_run
from commands import call
from folders import contents

Refused = Callable[..., None]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture, tmp_path: Path) -> Refused:
    """Returns a check that a command fails with the line "error: MESSAGE" and changes no file.

    In MESSAGE, HERE means the temporary folder, and three dots match any text. Progress bars are ignored.
    """

    def check(message: str, command: str, *args: str) -> None:
        before = contents(tmp_path)
        ended = call(capfd, command, *(arg.replace("HERE", str(tmp_path)) for arg in args))
        lines = [
            line for line in re.split("[\r\n]", ended.err) if line.strip() and not re.search(r"\d%\|", line)
        ]
        assert (ended.code, len(lines)) == (2, 1), ended.err[-2000:]
        pattern = re.escape(message).replace("HERE", re.escape(str(tmp_path))).replace(r"\.\.\.", ".*")
        assert re.fullmatch(f"error: {pattern}", lines[0]), lines[0]
        assert lines[0].isprintable()
        assert "Traceback" not in ended.out
        after = contents(tmp_path)
        assert {name: after.get(name) for name in before} == before, (
            "the command must not change existing files"
        )

    return check


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which no test may change."""
    return small_run.make(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, which a test may damage."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"
