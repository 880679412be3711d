import random

import pytest

from openrouter_async import AsyncOpenRouter, RateLimitError, Retries, UserMessage
from openrouter_async.testing import Capacity, LocalOpenRouter, SeenRequest, lognormal


def request() -> SeenRequest:
    return SeenRequest("POST", "/api/v1/chat/completions", 0.0, 1)


def test_requests_above_the_limit_are_rejected_until_one_ends() -> None:
    capacity = Capacity(limit=2)
    first, second, third = request(), request(), request()
    assert capacity.admit(first, 0.0) is None
    assert capacity.admit(second, 0.0) is None
    rejection = capacity.admit(third, 0.0)
    assert rejection is not None
    assert rejection.status == 429
    capacity.release(third)
    assert capacity.in_flight == 2
    capacity.release(first)
    assert capacity.admit(third, 0.0) is None

    assert (capacity.admitted, capacity.refused, capacity.peak) == (3, 1, 2)


def test_token_bucket_refills_evenly_up_to_burst() -> None:
    capacity = Capacity(per_minute=60, burst=2, retry_after=1.0, status=503)

    def passes(now: float) -> bool:
        return capacity.admit(request(), now) is None

    assert [passes(100.0) for _ in range(3)] == [True, True, False]
    assert [passes(100.5), passes(101.0), passes(101.5)] == [False, True, False]
    assert [passes(200.0) for _ in range(3)] == [True, True, False]
    rejection = capacity.admit(request(), 200.0)
    assert rejection is not None
    assert rejection.status == 503
    assert rejection.headers == {"Retry-After": "1.0"}


def test_latency_is_a_constant_or_drawn() -> None:
    """Half of the lognormal values are below the median."""
    generator = random.Random(1)
    assert Capacity(latency=0.2).draw_latency(generator) == 0.2
    drawn = sorted(
        Capacity(latency=lognormal(0.2, 0.3)).draw_latency(generator)
        for _ in range(999)
    )

    assert drawn[499] == pytest.approx(0.2, rel=0.05)
    assert drawn[949] == pytest.approx(0.2 * 1.64, rel=0.1)


async def test_capacity_limits_chat_requests_only(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
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
