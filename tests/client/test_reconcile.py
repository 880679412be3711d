"""`usage.reconcile` and `client.generation`: lookups of what is not known yet."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Unpack

import pytest
from support import HELLO, MakeClient

from openrouter_async import AsyncOpenRouter, ConfigurationError, NotFoundError
from openrouter_async.chat import SendOptions
from openrouter_async.errors import AuthenticationError, MalformedResponseError
from openrouter_async.testing import LocalOpenRouter, SeenRequest, error_reply
from openrouter_async.types import Generation


async def leave_stream(
    client: AsyncOpenRouter, server: LocalOpenRouter, **options: Unpack[SendOptions]
) -> str | None:
    """Open a stream, leave it before its end, and return its generation id."""
    server.reply(["a", "b"], chunk_delay=60)
    async with client.chat.send(HELLO, stream=True, **options) as stream:
        generation_id: str | None = stream.http.generation_id
    return generation_id


def lookups(server: LocalOpenRouter) -> list[SeenRequest]:
    """Return the lookups of generations that the server received."""
    return [seen for seen in server.requests if seen.path.endswith("/generation")]


async def test_what_was_left_is_found_and_added(
    server: LocalOpenRouter, client: AsyncOpenRouter, slept: list[float]
) -> None:
    """The server knows a generation at the second lookup."""
    for tag in ("a", "b", None):
        await leave_stream(client, server, usage_tag=tag)
    await server.until(closed=3)
    billed = {seen.generation_id: seen.cost for seen in server.requests}
    before = client.usage.snapshot()
    assert (before.calls, before.unknown) == (3, 3)
    assert before.cost == 0
    assert before.unknown_ids == tuple(billed)

    assert await client.usage.reconcile() == 0
    assert await client.usage.reconcile() == 3
    assert await client.usage.reconcile() == 0
    after = client.usage.snapshot()

    assert (after.calls, after.attempts, after.unknown) == (3, 3, 0)
    assert float(after.cost) == server.stats.cost > 0
    assert after.by_model["m"].cost == after.cost
    assert float(after.by_tag["a"].cost) == next(iter(billed.values()))
    assert after.prompt_tokens > 0
    assert after.completion_tokens > 0
    assert after.unknown_ids == ()
    assert len(lookups(server)) == 6
    assert slept == []


async def test_lookups_are_repeated_while_there_is_time(
    make_client: MakeClient, slept: list[float]
) -> None:
    with LocalOpenRouter(generation_lag=6) as server:
        client = make_client(base_url=server.url)
        await leave_stream(client, server)
        await server.until(closed=1)

        assert await client.usage.reconcile(wait=60) == 0
        assert [round(wait) for wait in slept] == [5, 10, 20, 25]
        assert await client.usage.reconcile(wait=600) == 1
    assert [round(wait) for wait in slept[4:]] == [5]


async def test_at_most_four_lookups_run_at_the_same_time(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    for _ in range(9):
        await leave_stream(client, server)
    await server.until(closed=9)
    server.clear()
    server.reply(error_reply(404), path="/generation", times=9, delay=0.05)
    await client.usage.reconcile()

    assert server.stats.in_flight_peak == 4
    assert len(lookups(server)) == 9


async def test_lookup_uses_the_key_and_the_base_url_of_the_call(
    make_client: MakeClient,
) -> None:
    with LocalOpenRouter(generation_lag=0) as first, LocalOpenRouter() as other:
        client = make_client(base_url=first.url, api_key="key-1")
        await leave_stream(client, first, api_key="key-2")
        await leave_stream(client, other, base_url=other.url, api_key="key-3")
        await first.until(closed=1)
        await other.until(closed=1)

        assert await client.usage.reconcile() == 1
    (one,), (two,) = lookups(first), lookups(other)
    assert one.headers["Authorization"] == "Bearer key-2"
    assert two.headers["Authorization"] == "Bearer key-3"


async def test_failed_lookup_is_raised_after_the_others(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    first, second = (
        await leave_stream(client, server),
        await leave_stream(client, server),
    )
    await server.until(closed=2)
    await client.usage.reconcile()
    server.reply(error_reply(401), path="/generation", when=has_id(first))
    with pytest.raises(AuthenticationError):
        await client.usage.reconcile()

    assert client.usage.snapshot().unknown_ids == (first,)
    assert second not in client.usage.snapshot().unknown_ids


def has_id(generation_id: str | None) -> Callable[[SeenRequest], bool]:
    """Return a condition for the lookup of an id."""

    def matches(seen: SeenRequest) -> bool:
        return seen.query.get("id") == generation_id

    return matches


async def test_exception_of_a_key_function_is_raised(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    keys = ["a"]
    await leave_stream(client, server, api_key=keys.pop)
    with pytest.raises(IndexError):
        await client.usage.reconcile()


@pytest.mark.parametrize(
    "record", [{"id": "x"}, {"total_cost": -1}, {"total_cost": None, "usage": None}]
)
async def test_record_without_a_cost_is_not_available_yet(
    server: LocalOpenRouter, client: AsyncOpenRouter, record: dict[str, Any]
) -> None:
    await leave_stream(client, server)
    server.reply(json={"data": record}, path="/generation")

    assert await client.usage.reconcile() == 0
    assert client.usage.snapshot().unknown == 1


async def test_older_name_of_the_cost_is_used(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    await leave_stream(client, server)
    server.reply(json={"data": {"usage": 0.25}}, path="/generation")

    assert await client.usage.reconcile() == 1
    assert client.usage.snapshot().cost == Decimal("0.25")


async def test_two_reconciliations_add_each_cost_once(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    for _ in range(8):
        await leave_stream(client, server)
    await server.until(closed=8)
    await client.usage.reconcile()
    found = await asyncio.gather(client.usage.reconcile(), client.usage.reconcile())

    assert sum(found) == 8
    assert float(client.usage.snapshot().cost) == server.stats.cost


async def test_what_is_found_after_a_reset_is_dropped(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    await leave_stream(client, server)
    await server.until(closed=1)
    await client.usage.reconcile()
    server.reply(path="/generation", delay=0.1)
    task = asyncio.create_task(client.usage.reconcile())
    await server.until(requests=3)
    client.usage.reset()

    assert await task == 0
    assert client.usage.snapshot().cost == client.usage.snapshot().unknown == 0


async def test_generation_waits_until_its_record_is_available(
    make_client: MakeClient, slept: list[float]
) -> None:
    with LocalOpenRouter(generation_lag=5) as server:
        client = make_client(base_url=server.url)
        response = await client.chat.send(HELLO)
        found = await client.generation(response.http.generation_id or "", wait=600)

    assert isinstance(found, Generation)
    assert found.id == response.http.generation_id == found.raw["id"]
    assert found.total_cost == response.usage.cost
    assert found.native_tokens_prompt == response.usage.prompt_tokens
    assert found.http.status == 200
    assert slept == [5, 10, 20, 30, 30]


async def test_generation_is_not_counted_as_a_call(
    client: AsyncOpenRouter, server: LocalOpenRouter
) -> None:
    response = await client.chat.send(HELLO)
    await client.generation(response.http.generation_id or "")

    assert client.usage.snapshot().calls == 1


async def test_generation_that_is_not_available_raises(
    client: AsyncOpenRouter, server: LocalOpenRouter, slept: list[float]
) -> None:
    with pytest.raises(NotFoundError, match="1 to 8 minutes"):
        await client.generation("gen-unknown", wait=0)
    assert slept == []

    with pytest.raises(NotFoundError):
        await client.generation("gen-unknown", wait=12)
    assert [round(wait) for wait in slept] == [5, 7]


async def test_response_without_a_generation_is_malformed(
    client: AsyncOpenRouter, server: LocalOpenRouter
) -> None:
    server.reply(json={"data": None}, path="/generation")
    with pytest.raises(MalformedResponseError, match="no generation"):
        await client.generation("gen-1")


@pytest.mark.parametrize(
    ("arguments", "raised", "message"),
    [
        ((5,), TypeError, "generation_id must be a string, not 5"),
        ((" ",), ConfigurationError, "generation_id is empty"),
        (("gen-1", "5"), TypeError, "wait must be a number of seconds"),
        (("gen-1", True), TypeError, "wait must be a number of seconds"),
        (("gen-1", -1), ConfigurationError, "0 seconds or more, not -1"),
        (("gen-1", float("nan")), ConfigurationError, "0 seconds or more"),
    ],
)
async def test_invalid_argument_is_rejected(
    client: AsyncOpenRouter,
    server: LocalOpenRouter,
    arguments: tuple[Any, ...],
    raised: type[Exception],
    message: str,
) -> None:
    generation_id, *wait = arguments
    with pytest.raises(raised, match=message):
        await client.generation(generation_id, **({"wait": wait[0]} if wait else {}))
    if wait:
        with pytest.raises(raised, match=message):
            await client.usage.reconcile(wait=wait[0])

    assert server.requests == []
