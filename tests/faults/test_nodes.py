"""A cluster of several nodes on this machine: slots on all of them, a node that dies, a node that joins."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from ray._private import ray_constants
from ray.cluster_utils import Cluster

from tests.launching import Launcher, check_states

pytestmark = pytest.mark.slow

TRAIN = """
import os, time
import helper  # a neighbour of this file


def train(config, trial):
    for step in range(1, 6):
        time.sleep(0.4)
        trial.report(step, score=helper.score(config["x"], step), pid=os.getpid())
"""

SWEEP = """
name: nodes
train: code.py:train
space: {x: {low: 0.0, high: 1.0}}
objective: {metric: score, direction: maximize}
budget: {trials: 16}
sampler: random
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that holds the driver and two CPUs on another node."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    yield cluster
    cluster.shutdown()


def test_a_dead_node_costs_no_trial_and_a_new_one_is_used(launcher: Launcher, cluster: Cluster) -> None:
    launcher.write("code.py", TRAIN)
    launcher.write("helper.py", "def score(x, step):\n    return x * step\n")
    launcher.write("nodes.yaml", SWEEP)
    driver = launcher.start("launch", "nodes.yaml", "--address", cluster.address)
    launcher.wait_for_ended("nodes", 3)
    dying = next(iter(cluster.worker_nodes))
    raylet = dying.all_processes[ray_constants.PROCESS_TYPE_RAYLET][0].process
    os.kill(raylet.pid, signal.SIGKILL)
    raylet.wait()
    cluster.add_node(num_cpus=2)
    _, err = driver.communicate(timeout=200)
    assert driver.returncode == 0, err
    trials = launcher.trials("nodes")
    check_states(trials, 16)
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    # the death of a node is held against nobody
    assert not any(trial.user_attrs.get("deaths") for trial in trials)
    assert any(trial.user_attrs["attempt"] > 1 for trial in trials)


def test_a_file_database_is_for_one_machine(launcher: Launcher, cluster: Cluster) -> None:
    launcher.write("code.py", TRAIN)
    launcher.write("helper.py", "def score(x, step):\n    return x * step\n")
    launcher.write("nodes.yaml", SWEEP)
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.2")  # no address of this machine's, though it is heard here
    refused = launcher.run("launch", "nodes.yaml", "--address", cluster.address)
    assert refused.returncode == 2
    assert (
        f"error: storage: {launcher.url} is a file of this machine, and the cluster has nodes on 127.0.0.2; "
        "use postgresql://user@host/database"
    ) in refused.stderr
    assert not (launcher.folder / "hpo.db").exists(), "nothing was written"
