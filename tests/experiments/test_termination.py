"""SIGTERM ends a process with exit code 143: at once, at a moment of its choice, or by force."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import termination

BEGIN = """
import hashlib, os, signal
from experiments import termination
from ialp_jax.errors import Terminated
termination.PATIENCE_SECONDS = {patience}
termination.SIGTERM.install()
try:
    with termination.SIGTERM.deferred() as asked:
        {within}
    {after}
except Terminated as error:
    print(error)
    raise SystemExit(termination.EXIT_CODE)
print("unharmed")
"""
KILL = "os.kill(os.getpid(), signal.SIGTERM)"


@pytest.mark.parametrize(
    ("within", "after", "said"),
    [
        ("pass", KILL, "what is finished is kept"),
        (f"{KILL}; print(asked())", "print('late')", "True\nwhat is finished is kept"),
        ("print(asked())", "pass", "False\nunharmed"),
    ],
    ids=["at once", "deferred", "never asked"],
)
def test_when_it_takes_effect(within, after, said):
    done = run(within, after)
    assert done.stdout.startswith(said)
    assert done.returncode == (0 if said.endswith("unharmed") else 143)


def test_a_process_that_is_too_busy_is_ended():
    """In a call that no handler can interrupt, as a compilation is."""
    done = run(f"{KILL}; hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)", "pass", patience=0.1)
    assert done.returncode == 143
    assert done.stderr.startswith("terminated: busy")


def run(within, after, patience=60):
    script = BEGIN.format(within=within, after=after, patience=patience)
    root = Path(termination.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )


def test_the_code_is_what_shells_report():
    assert termination.EXIT_CODE == 128 + signal.SIGTERM == 143
