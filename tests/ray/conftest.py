"""One Ray and one server for all tests; skipped where Ray is not installed."""

import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openrouter_async.testing import Capacity, LocalOpenRouter

ray: Any = pytest.importorskip(
    "ray", reason="ray is not installed, or has no wheel for this Python"
)
if not hasattr(ray, "init"):
    # Without Ray, this folder is found by its name.
    pytest.skip("ray is not installed", allow_module_level=True)

_STORE_BYTES = 120 * 1024 * 1024


@pytest.fixture(scope="session")
def session_server() -> Iterator[LocalOpenRouter]:
    """A server for all tests, whose URL the workers inherit."""
    with LocalOpenRouter(keep=100) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(session_server: LocalOpenRouter) -> Iterator[Any]:
    """Ray on this machine, started once: it takes seconds."""
    environment = {
        "OPENROUTER_API_KEY": session_server.api_key,
        "OPENROUTER_BASE_URL": session_server.url,
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    # The processes of Ray inherit them. A runtime_env would do as well, but would have
    # every process started anew.
    os.environ.update(environment)
    ray.init(
        num_cpus=4,
        object_store_memory=_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )
    for name in environment:
        del os.environ[name]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # The messages of Ray Data are longer than any other output of a failed test.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
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
