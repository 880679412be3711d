"""What the fault tests share."""

import gc
from collections.abc import Iterator

import pytest
from certificates import Authority


@pytest.fixture(scope="session", autouse=True)
def _fast_collections() -> Iterator[None]:
    """Keep what is there already out of the collections after each fault."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def authority() -> Authority:
    """An authority of this run, with good certificates and bad ones."""
    return Authority()


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the thorough run was asked for."""
    return bool(request.config.getoption("--long", default=False))
