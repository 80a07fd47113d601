"""SIGTERM and Ctrl-C end a process with exit code 143 or 130: at once, when it is ready, or by force."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.runtime import termination

BEGIN = """
import hashlib, os, signal
from experiments import termination
from ialp_jax.errors import Terminated
termination.PATIENCE_SECONDS = {patience}
termination.TERMINATION.install()
try:
    with termination.TERMINATION.deferred() as asked:
        {within}
    {after}
except Terminated as error:
    print(error)
    raise SystemExit(termination.TERMINATION.exit_code)
print("unharmed")
"""
KILL = "os.kill(os.getpid(), signal.SIGTERM)"
CTRL_C = "os.kill(os.getpid(), signal.SIGINT)"
CODES = {KILL: 143, CTRL_C: 130}


@pytest.mark.parametrize("kill", [KILL, CTRL_C])
@pytest.mark.parametrize(
    ("within", "after", "said"),
    [
        ("pass", "KILL", "what is finished is kept"),
        ("KILL; print(asked())", "print('late')", "True\nwhat is finished is kept"),
        ("print(asked())", "pass", "False\nunharmed"),
    ],
    ids=["at once", "deferred", "never asked"],
)
def test_when_it_takes_effect(kill, within, after, said):
    done = run(within.replace("KILL", kill), after.replace("KILL", kill))
    assert done.stdout.startswith(said)
    assert done.returncode == (0 if said.endswith("unharmed") else CODES[kill])
    assert "Traceback" not in done.stderr


BUSY = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"  # no handler can interrupt it, as a compilation


@pytest.mark.parametrize("kill", [KILL, CTRL_C])
def test_a_process_that_is_too_busy_is_ended(kill):
    done = run(f"{kill}; {BUSY}", "pass", patience=0.1)
    assert done.returncode == CODES[kill]
    assert done.stderr.startswith("terminated: busy")


def test_a_second_ctrl_c_ends_a_busy_process_at_once():
    done = run(f"{CTRL_C}; {CTRL_C}; {BUSY}", "pass")
    assert done.returncode == 130
    assert done.stderr.startswith("terminated: interrupted twice")


def run(within, after, patience=60):
    script = BEGIN.format(within=within, after=after, patience=patience)
    root = Path(termination.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
