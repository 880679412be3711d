"""The nodes of a Ray on this machine."""

import importlib
from typing import Any

import pytest

from openrouter_async.testing import LocalOpenRouter

# As many as `ray.init()` takes on a machine with two cores.
_NODE = {"num_cpus": 2, "object_store_memory": 120 * 1024 * 1024}
_SYSTEM = {
    # A node that does not answer at all is lost after 3 seconds, in place of 15.
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 3,
    # 15 otherwise: other work on the machine would leave the workers almost no time.
    "worker_niceness": 0,
}


class Nodes:
    """
    The nodes of a Ray on this machine: one, and those that a test adds.

    Attributes:
        address: The address, for other drivers.
    """

    def __init__(self, server: LocalOpenRouter) -> None:
        # The processes of Ray inherit them. A runtime_env would do as well, but would
        # have every process started anew.
        self._environment = {
            "OPENROUTER_API_KEY": server.api_key,
            "OPENROUTER_BASE_URL": server.url,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        cluster = importlib.import_module("ray.cluster_utils").Cluster
        head = {**_NODE, "include_dashboard": False, "_system_config": _SYSTEM}
        with pytest.MonkeyPatch.context() as patch:
            self._set(patch)
            self._cluster = cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address
        self._added: list[Any] = []

    def _set(self, patch: pytest.MonkeyPatch) -> None:
        for name, value in self._environment.items():
            patch.setenv(name, value)

    def add(self, count: int) -> None:
        """Add nodes, and wait until they are part of the cluster."""
        with pytest.MonkeyPatch.context() as patch:
            self._set(patch)
            for _ in range(count):
                self._added.append(self._cluster.add_node(**_NODE))

    def processes(self) -> list[int]:
        """The raylet of each node that was added."""
        return [
            node.all_processes["raylet"][0].process.pid
            for node in self._added
            if node.all_processes.get("raylet")
        ]

    def kill(self, process: int) -> None:
        """Kill all processes of a node."""
        number = self.processes().index(process)
        self._cluster.remove_node(self._added.pop(number), allow_graceful=False)

    def remove_added(self) -> None:
        """Remove the nodes that were added."""
        while self._added:
            self._cluster.remove_node(self._added.pop())

    def close(self) -> None:
        """Stop all processes."""
        self._cluster.shutdown()
