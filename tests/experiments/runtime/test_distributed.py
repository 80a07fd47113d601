"""Two processes on this machine, joined by jax.distributed, share one run."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import call

from experiments.runtime import distributed

REPOSITORY = Path(__file__).parents[3]
CONFIG = Path(__file__).with_name("shared_config.py")
TRAINED = ("pretrain/ialp", "adapt/random", "adapt/a_ialp_ap")
TABLES = ("summary.csv", "curves.csv")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(folder, *args):
    return [sys.executable, "-m", "experiments.main", f"--config={CONFIG}", f"--workdir={folder}", *args]


def start(folder, *args):
    return subprocess.Popen(
        command(folder, *args),
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def both(folder, *args):
    """Runs a command as two joined processes. Returns (exit code, stdout, stderr) of each process."""
    join = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2", *args]
    running = [start(folder, *join, f"--process_id={number}") for number in range(2)]
    ended = [(*process.communicate(timeout=900), process.returncode) for process in running]
    return [(code, out, err) for out, err, code in ended]


def arrays(folder, part):
    with np.load(folder / part / "arrays.npz") as file:
        return {name: values for name, values in file.items() if not name.startswith("seconds")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(folder of a run by one process, folder of the same run by two processes, output of the two)."""
    folder = tmp_path_factory.mktemp("shared")
    single = start(folder / "one")
    assert single.wait(900) == 0, single.stderr.read()
    return folder / "one", folder / "both", both(folder / "both")


@pytest.mark.slow
def test_two_processes_make_the_bits_of_one(runs):
    one, shared, ended = runs
    assert [code for code, _, _ in ended] == [0, 0], ended
    for part in TRAINED:
        expected, actual = arrays(one, part), arrays(shared, part)
        assert expected.keys() == actual.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(actual[name], values, err_msg=f"{part} {name}")
    for name in TABLES:
        assert (shared / "report" / name).read_bytes() == (one / "report" / name).read_bytes()


@pytest.mark.slow
def test_only_the_first_process_prints(runs):
    (_, first, _), (_, second, _) = runs[2]
    assert "report:" in first
    assert second.replace("[Gloo]", "").count("\n") <= 1


@pytest.mark.slow
def test_two_processes_keep_finished_parts(runs):
    _, shared, _ = runs
    before = {part: (shared / part / "manifest.json").stat().st_mtime_ns for part in TRAINED}
    ended = both(shared, "--stage=adapt")
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert before == {part: (shared / part / "manifest.json").stat().st_mtime_ns for part in TRAINED}
    assert "a_ialp_ap: done before, kept" in ended[0][1]


@pytest.mark.slow
def test_an_error_in_the_first_process_ends_all(runs):
    user_file = next((runs[1] / "adapt").iterdir()) / "mine.txt"
    user_file.write_text("in the way of other settings")
    ended = both(runs[1], "--stage=adapt", "--config.adapt.env_steps=3000", "--redo")
    user_file.unlink()
    assert [code for code, _, _ in ended] == [2, 2]
    assert f"{user_file.parent}: holds 'mine.txt'" in ended[0][2]
    assert "error: process 0: " in ended[1][2]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--num_processes=2"], "--coordinator, --num_processes and --process_id must be given together"),
        (["--coordinator=x", "--num_processes=2", "--process_id=0"], "--coordinator=x must be HOST:PORT"),
        (["--coordinator=x:99999", "--num_processes=2", "--process_id=0"], "=x:99999 must be HOST:PORT"),
        (
            ["--coordinator=x:1", "--num_processes=2", "--process_id=2"],
            "must be in 0 .. num_processes - 1",
        ),
        (["--distributed=auto", "--process_id=0"], "--distributed=auto finds out --coordinator"),
    ],
)
def test_wrong_flags_are_one_line(capfd, args, message):
    ended = call(capfd, "main", *args)
    assert ended.code == 2
    assert message in ended.err


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_that_does_not_start_is_one_line(tmp_path, number):
    port = free_port()
    code = (
        "import sys\nfrom experiments import flags, main\nfrom experiments.runtime import distributed\n"
        "distributed.JOIN_SECONDS = 2\nmain.main(flags.parse(sys.argv))"
    )
    join = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2", f"--process_id={number}"]
    args = [f"--config={CONFIG}", f"--workdir={tmp_path / 'run'}", *join]
    ended = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    expected = f"error: --coordinator=127.0.0.1:{port}: not all processes started within 2 s"
    assert ended.stderr.splitlines()[-1] == expected
    assert "Check failure" not in ended.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_if_one_process_dies_the_others_end_and_the_same_commands_continue(runs, tmp_path):
    longer = [f"--start_from={runs[0]}", "--config.adapt.env_steps=8000"]
    single = start(tmp_path / "one", *longer)
    assert single.wait(600) == 0, single.stderr.read()
    shared = tmp_path / "shared"
    join = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    first, second = (start(shared, *longer, *join, f"--process_id={number}") for number in range(2))
    while not any((shared / "checkpoints" / "adapt").glob("*/*000/recipe")):
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.05)
    second.kill()
    second.communicate()
    _, error = first.communicate(timeout=300)
    assert first.returncode == 1
    message = "error: if another process has ended, run the same commands again to continue\n"
    assert error.endswith(message)
    assert any((shared / "checkpoints" / "adapt").glob("*/*000/recipe"))
    assert [code for code, _, _ in both(shared, *longer)] == [0, 0]
    expected, actual = arrays(tmp_path / "one", "adapt/a_ialp_ap"), arrays(shared, "adapt/a_ialp_ap")
    for name, values in expected.items():
        np.testing.assert_array_equal(actual[name], values, err_msg=name)


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(distributed.InputError, match=f"cannot listen on port {port}"):
            distributed.listening_address(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("host", "address"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("[::1]", "[::1]")]
)
def test_the_first_process_listens_only_at_the_coordinator(host, address):
    port = free_port()
    assert distributed.listening_address(f"{host}:{port}") == f"{address}:{port}"


def test_with_an_address_of_another_machine_it_listens_on_all_interfaces(capsys):
    port = free_port()
    assert distributed.listening_address(f"192.0.2.77:{port}") is None
    message = (
        f"--coordinator=192.0.2.77:{port}: not an address of this machine; listens on all of its interfaces\n"
    )
    assert capsys.readouterr().err == message


def test_an_unknown_host_is_one_line():
    with pytest.raises(distributed.InputError, match=r"^--coordinator=no\.such\.invalid:1: no such host \("):
        distributed.listening_address("no.such.invalid:1")


def test_other_machines_cannot_reach_processes_on_loopback(tmp_path):
    """A process joins jax.distributed, then prints its number of ports and those that others can reach."""
    code = (
        "import sys, psutil, jax\nfrom experiments import flags\n"
        "from experiments.runtime import distributed\n"
        "from listening import reachable, sockets\nflags.parse(sys.argv)\ndistributed.start()\n"
        "jax.devices()\nprocesses = [psutil.Process()]\nprint(len(sockets(processes)), reachable(processes))"
    )
    join = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=1", "--process_id=0"]
    ended = subprocess.run(
        [sys.executable, "-c", code, f"--config={CONFIG}", *join],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    num_sockets, reachable = ended.stdout.split(maxsplit=1)
    assert int(num_sockets) >= 1
    assert reachable.strip() == "[]"
