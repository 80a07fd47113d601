"""Several devices give what one gives; they are simulated, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found():
    """What eight_devices.py prints."""
    path = os.pathsep.join(map(str, (TESTS.parent, TESTS)))
    environment = os.environ | {
        "PYTHONPATH": path,
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_PLATFORMS": "cpu",
    }
    script = str(TESTS / "training" / "eight_devices.py")
    ended = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["devices"] == 8
    return found


@pytest.mark.parametrize("check", ["adapt by seeds", "pretrain by seeds"])
def test_seeds_on_eight_devices_have_the_bits_that_they_have_on_one(found, check):
    assert found[check]


def test_a_batch_on_eight_devices_has_the_gradients_that_it_has_on_one(found):
    assert found["gradients by users"] < 1e-6


@pytest.mark.parametrize("check", ["pretrain by users", "a2c by both", "dqn by users"])
def test_ten_updates_on_shared_batches_end_at_the_same_parameters(found, check):
    # Adam divides what differs in rounding by what may be as small: within a hundredth of the way.
    assert found["learned"] > 1e-2
    assert found[check] < 1e-2 * found["learned"]


def test_each_device_keeps_its_part_of_the_rows(found):
    assert found["split"] == [2, 3]


@pytest.mark.parametrize("agent", ["a2c", "pg", "mixture", "gate"])
def test_an_update_on_shared_users_exchanges_nothing_but_sums(found, agent):
    assert found["exchanged"][agent] == ["all-reduce"]


def test_shares_are_as_many_as_are_equal(found):
    assert found["shares"] == [[5, 1], [2, 4], [1, 7], []]


def test_impossible_shares_are_refused(found):
    assert found["too many"].endswith("devices.users=4: 16 devices, but jax sees 8")
    assert "10 seeds and batches of 20 rows have no such equal shares" in found["unequal"]
