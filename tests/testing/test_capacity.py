"""What the local server can bear."""

import random

import pytest

from openrouter_async import (
    AsyncOpenRouter,
    RateLimitError,
    Retries,
    UserMessage,
)
from openrouter_async.testing import (
    Capacity,
    LocalOpenRouter,
    SeenRequest,
    lognormal,
)


def request() -> SeenRequest:
    return SeenRequest("POST", "/api/v1/chat/completions", 0.0, 1)


def test_more_at_once_are_refused() -> None:
    """Until one has left; what was refused need not leave."""
    capacity = Capacity(limit=2)
    first, second, third = request(), request(), request()
    assert capacity.admit(first, 0.0) is None
    assert capacity.admit(second, 0.0) is None
    refusal = capacity.admit(third, 0.0)
    assert refusal is not None
    assert refusal.status == 429
    capacity.release(third)
    assert capacity.in_flight == 2
    capacity.release(first)
    assert capacity.admit(third, 0.0) is None

    assert (capacity.admitted, capacity.refused, capacity.peak) == (3, 1, 2)


def test_a_bucket_refills() -> None:
    """Evenly, and no fuller than it is."""
    capacity = Capacity(per_minute=60, burst=2, retry_after=1.0, status=503)

    def passes(now: float) -> bool:
        return capacity.admit(request(), now) is None

    assert [passes(100.0) for _ in range(3)] == [True, True, False]
    assert [passes(100.5), passes(101.0), passes(101.5)] == [False, True, False]
    assert [passes(200.0) for _ in range(3)] == [True, True, False]
    refusal = capacity.admit(request(), 200.0)
    assert refusal is not None
    assert refusal.status == 503
    assert refusal.headers == {"Retry-After": "1.0"}


def test_a_latency_is_a_number_or_drawn() -> None:
    """Half of a lognormal's are below its median."""
    chance = random.Random(1)
    assert Capacity(latency=0.2).draw_latency(chance) == 0.2
    drawn = sorted(
        Capacity(latency=lognormal(0.2, 0.3)).draw_latency(chance) for _ in range(999)
    )

    assert drawn[499] == pytest.approx(0.2, rel=0.05)
    assert drawn[949] == pytest.approx(0.2 * 1.64, rel=0.1)


async def test_any_client_meets_it(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """It is there for plain calls too, and not for other endpoints."""
    server.capacity.limit = 0
    with pytest.raises(RateLimitError):
        await client.chat.send(
            model="m",
            messages=[UserMessage("hi")],
            retries=Retries(max_attempts=1),
        )
    listed = await client.request("GET", "/models/openai/gpt-4o-mini/endpoints")

    assert server.capacity.refused == 1
    (endpoint,) = listed["data"]["endpoints"]
    assert float(endpoint["pricing"]["prompt"]) > 0
