"""Several devices give the same results as one device. A separate process simulates the devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def results():
    """The results that eight_devices.py prints."""
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
    results = json.loads(ended.stdout)
    assert results["devices"] == 8
    return results


@pytest.mark.parametrize("check", ["adapt by seeds", "pretrain by seeds"])
def test_seeds_on_eight_devices_have_the_bits_that_they_have_on_one(results, check):
    assert results[check]


def test_a_batch_on_eight_devices_has_the_gradients_that_it_has_on_one(results):
    assert results["gradients by users"] < 1e-6


@pytest.mark.parametrize("check", ["pretrain by users", "a2c by both", "dqn by users"])
def test_ten_updates_on_shared_batches_end_at_the_same_parameters(results, check):
    # Adam may divide a rounding error by an equally small number. So 1 % of the change is allowed as error.
    assert results["learned"] > 1e-2
    assert results[check] < 1e-2 * results["learned"]


def test_shared_users_see_the_same_items(results):
    assert min(results["shown"]) > 0.99


def test_devices_that_share_users_choose_the_same_items_from_huge_catalogues(results):
    assert results["streamed"] == [True, True]


def test_devices_that_share_users_keep_the_same_block_numbers(results):
    difference, kept = results["remembered"]
    assert kept
    assert difference < 1e-4


def test_each_device_keeps_its_part_of_the_rows(results):
    assert results["split"] == [2, 3]


@pytest.mark.parametrize("agent", ["a2c", "pg", "mixture", "gate"])
def test_an_update_on_shared_users_exchanges_only_sums(results, agent):
    assert results["exchanged"][agent] == ["all-reduce"]


def test_there_are_as_many_equal_shares_as_possible(results):
    assert results["shares"] == [[5, 1], [2, 4], [1, 7], []]


def test_impossible_shares_are_refused(results):
    assert results["too many"].endswith("devices.users=4: 16 devices, but jax sees 8")
    assert "10 seeds and batches of 20 rows have no such equal shares" in results["unequal"]
