"""One Ray and one server for all tests; skipped where Ray is not installed."""

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_nodes import Nodes

from openrouter_async.testing import Capacity, LocalOpenRouter

ray: Any = pytest.importorskip(
    "ray", reason="ray is not installed, or has no wheel for this Python"
)
if not hasattr(ray, "init"):
    # Without Ray, this folder is found by its name.
    pytest.skip("ray is not installed", allow_module_level=True)


@pytest.fixture(scope="session")
def session_server() -> Iterator[LocalOpenRouter]:
    """A server for all tests, whose URL the workers inherit."""
    with LocalOpenRouter(keep=100) as server:
        yield server


@pytest.fixture(scope="session")
def session_nodes(session_server: LocalOpenRouter) -> Iterator[Nodes]:
    """Ray on this machine, started once: it takes seconds."""
    nodes = Nodes(session_server)
    yield nodes
    nodes.close()


@pytest.fixture
def nodes(session_nodes: Nodes, cluster: Any) -> Iterator[Nodes]:
    """The nodes; those that a test adds are removed after it."""
    yield session_nodes
    session_nodes.remove_added()


@pytest.fixture(scope="session")
def cluster(session_nodes: Nodes) -> Iterator[Any]:
    """Ray, with this process as a driver."""
    ray.init(address=session_nodes.address, log_to_driver=False, logging_level="error")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # The messages of Ray Data are longer than any other output of a failed test.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    yield ray
    ray.shutdown()


@pytest.fixture
def ray_server(cluster: Any, session_server: LocalOpenRouter) -> LocalOpenRouter:
    """The server, as it is before any test."""
    session_server.clear()
    session_server.capacity = Capacity(latency=0.05)
    return session_server


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / f"{uuid.uuid4().hex}.jsonl"
