"""SIGTERM ends a process with exit code 143, Ctrl-C with 130: at once, after a delay, or by force."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.runtime import termination

SCRIPT = """
import hashlib, os, signal
from experiments.runtime import termination
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
    ("within", "after", "output"),
    [
        ("pass", "KILL", "finished work is saved"),
        ("KILL; print(asked())", "print('late')", "True\nfinished work is saved"),
        ("print(asked())", "pass", "False\nunharmed"),
    ],
    ids=["at once", "deferred", "never asked"],
)
def test_a_signal_takes_effect_at_once_or_at_the_end_of_deferred(kill, within, after, output):
    done = run(within.replace("KILL", kill), after.replace("KILL", kill))
    assert done.stdout.startswith(output)
    assert done.returncode == (0 if output.endswith("unharmed") else CODES[kill])
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kill", [KILL, CTRL_C])
def test_a_signal_while_a_codec_runs_keeps_its_message(kill):
    codec = f"codecs.CodecInfo(None, lambda *_: [{kill}, print(end='')])"
    done = run("pass", f"import codecs; codecs.register({{'busy': {codec}}}.get); b'x'.decode('busy')")
    assert done.stdout.startswith("finished work is saved")


# Python runs no signal handler during this long call. A compilation behaves in the same way.
BUSY = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"


@pytest.mark.parametrize("kill", [KILL, CTRL_C])
def test_a_process_that_is_too_busy_is_ended(kill):
    done = run(f"{kill}; {BUSY}", "pass", patience=0.1)
    assert done.returncode == CODES[kill]
    assert done.stderr.startswith("terminated: busy")


def test_a_second_ctrl_c_ends_a_busy_process_at_once():
    done = run(f"{CTRL_C}; {CTRL_C}; {BUSY}", "pass")
    assert done.returncode == 130
    assert done.stderr.startswith("terminated: interrupted twice")


def test_installing_again_adds_neither_threads_nor_pipes():
    again = "termination.TERMINATION.install(); print(threading.active_count(), len(os.listdir('/dev/fd')))"
    done = run(f"import threading; {again}; {again}", f"{KILL}")
    first, second, last = done.stdout.splitlines()
    assert first == second
    assert last.startswith("finished work is saved")
    assert done.returncode == 143


def run(within, after, patience=60):
    script = SCRIPT.format(within=within, after=after, patience=patience)
    root = Path(termination.__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False
    )
