"""Fixtures of the tests of runs."""

from pathlib import Path

import pytest

from openrouter_async.testing import LocalOpenRouter


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def quick_batches(server: LocalOpenRouter) -> None:
    """Let hosted batches end almost at once."""
    script = server.batches.script
    script.validating, script.running = 0.0, 0.02
