"""Fixtures of the fault tests."""

import gc
from collections.abc import Iterator

import pytest
from certificates import Authority


@pytest.fixture(scope="session", autouse=True)
def _fast_collections() -> Iterator[None]:
    """Exclude existing objects from the collection after each fault."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def authority() -> Authority:
    """Return a certificate authority with valid and invalid certificates."""
    return Authority()


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Return True if `--long` was given."""
    return bool(request.config.getoption("--long", default=False))
