"""`AsyncOpenRouter(max_cost=, budgets=)`: calls that wait, and calls that are refused."""

import asyncio
import copy
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hosted_runs import FAST
from support import (
    MakeClient,
    VirtualTime,
    prompts,
    read_results,
    until,
)

from openrouter_async import (
    AsyncOpenRouter,
    BudgetExceededError,
    ChatGenerationParams,
    ConfigurationError,
    Retries,
    Timeouts,
    UserMessage,
)
from openrouter_async.testing import LocalOpenRouter, completion, error_reply

MINI = "openai/gpt-4o-mini"
# With the price of the local server: at most (bytes + 8) x 1.5e-7 + 40 x 6e-7 dollars.
CALL = ChatGenerationParams(model=MINI, messages=[UserMessage("hi")], max_tokens=40)
HIGHEST = 5e-5


def chats(server: LocalOpenRouter) -> int:
    """Return the number of chat requests that the server received."""
    return sum(seen.path.endswith("/completions") for seen in server.requests)


def spent(client: AsyncOpenRouter, tag: str | None = None) -> float:
    """Return the amount that a budget counts as spent; nothing may be reserved."""
    found = client.usage.snapshot().budgets[tag]
    assert found.reserved == 0
    return float(found.spent)


async def test_call_within_the_budgets_is_sent(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=1, budgets={"a": Decimal("0.5"), "b": 0.25})
    await client.chat.send(CALL, usage_tag="a")
    await client.chat.send(CALL)
    async with client.chat.send(CALL, stream=True, usage_tag="other") as stream:
        await stream.collect()
    budgets = client.usage.snapshot().budgets

    assert {tag: float(found.limit) for tag, found in budgets.items()} == {
        None: 1.0,
        "a": 0.5,
        "b": 0.25,
    }
    assert {found.kind for found in budgets.values()} == {"guaranteed"}
    assert spent(client) == server.stats.cost
    assert spent(client, "a") == server.requests[1].cost > 0
    assert spent(client, "b") == 0


async def test_budget_of_a_tag_does_not_limit_other_calls(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(budgets={"a": 1e-9})
    await client.chat.send(CALL)
    await client.chat.send(CALL, usage_tag="b")
    await read_results(client.chat.send_many(["a"], model=MINI, max_tokens=5))

    assert chats(server) == 3
    assert spent(client, "a") == 0


async def test_price_of_a_model_is_read_once(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=1)
    await asyncio.gather(*(client.chat.send(CALL) for _ in range(5)))

    assert len(server.requests) == 6


@pytest.mark.parametrize("stream", [False, True])
async def test_call_that_may_exceed_the_budget_is_refused_before_it_is_sent(
    server: LocalOpenRouter, make_client: MakeClient, *, stream: bool
) -> None:
    client = make_client(max_cost=1, budgets={"a": 1e-5})
    with pytest.raises(BudgetExceededError) as caught:
        await client.chat.send(CALL, usage_tag="a", stream=stream)
    error = caught.value

    assert chats(server) == 0
    assert (error.limit, error.spent) == (1e-5, 0.0)
    assert 1e-5 < error.estimate < HIGHEST
    assert "The budget of the tag 'a' does not allow the call" in str(error)
    assert "$0 of $1e-05 is spent or reserved. Nothing was sent." in str(error)
    snapshot = client.usage.snapshot()
    assert (snapshot.calls, snapshot.attempts, snapshot.failures) == (1, 0, 1)
    assert snapshot.unknown == 0


async def test_call_waits_for_reservations_of_calls_in_flight(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    """The first call reserves nearly all, and costs a part of that."""
    client = make_client(max_cost=HIGHEST)
    server.reply(completion("hi", usage={"cost": 1e-6}), delay=0.1, times=2)
    await asyncio.gather(client.chat.send(CALL), client.chat.send(CALL))

    assert server.stats.in_flight_peak == 1
    assert spent(client) == 2e-6


async def test_wait_is_bounded_by_the_pool_timeout(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    time = VirtualTime()
    client = make_client(max_cost=HIGHEST, clock=time.clock)
    server.reply("hi", delay=60)
    first = asyncio.create_task(client.chat.send(CALL))
    await server.until(requests=2)
    timeouts = Timeouts(pool=3)
    second = asyncio.create_task(client.chat.send(CALL, timeouts=timeouts))
    await until(lambda: time.time + 3 in time.scheduled)

    await time.advance(2.9)
    assert not second.done()
    await time.advance(0.2)
    await asyncio.sleep(0)
    with pytest.raises(BudgetExceededError, match="spent or reserved"):
        await second
    assert chats(server) == 1
    first.cancel()
    await asyncio.wait([first])
    # The cancelled call may be billed, so that its reservation counts.
    assert 0 < spent(client) <= HIGHEST


async def test_call_that_waits_is_refused_once_it_cannot_fit_any_more(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=HIGHEST)
    server.reply(completion("hi", usage={"cost": 2e-5}), delay=0.2)
    first = asyncio.create_task(client.chat.send(CALL))
    await server.until(requests=2)

    with pytest.raises(BudgetExceededError) as caught:
        await client.chat.send(CALL)
    assert caught.value.spent == 2e-5
    await first
    assert chats(server) == 1


async def test_smaller_call_does_not_wait_for_a_larger_one(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=1.2 * HIGHEST)
    server.reply("hi", delay=60)
    first = asyncio.create_task(client.chat.send(CALL))
    await server.until(requests=2)
    large = asyncio.create_task(client.chat.send(CALL))
    await asyncio.sleep(0.01)

    await client.chat.send(CALL, max_tokens=1)
    assert not large.done()
    assert chats(server) == 2
    first.cancel()
    await asyncio.wait([first, large])


async def test_cancelled_call_stops_waiting(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=HIGHEST)
    server.reply("hi", delay=60)
    first = asyncio.create_task(client.chat.send(CALL))
    await server.until(requests=2)
    second = asyncio.create_task(client.chat.send(CALL))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.wait([second])

    assert second.cancelled()
    first.cancel()
    await asyncio.wait([first])
    assert chats(server) == 1


async def test_reservation_of_a_stream_is_held_until_it_ends(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=HIGHEST)
    async with client.chat.send(CALL, stream=True) as stream:
        await anext(stream)
        assert client.usage.snapshot().budgets[None].reserved > 0
        await stream.collect()

    assert spent(client) == server.stats.cost


async def test_stream_that_was_left_counts_as_reserved_until_its_cost_is_found(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=1)
    server.reply(["a", "b"], chunk_delay=60)
    async with client.chat.send(CALL, stream=True):
        pass
    await server.until(closed=1)
    counted = spent(client)
    await client.usage.reconcile()
    await client.usage.reconcile()

    assert spent(client) == server.stats.cost < counted


@pytest.mark.parametrize(
    "change",
    [
        {"extra_body": {"max_tokens": None}},
        {"models": ["other"]},
        {"retries": Retries(ambiguous=True)},
        {"extra_body": {"prompt": "x"}},
        {"model": "unknown/model"},
    ],
)
async def test_call_without_a_bound_makes_the_budget_an_estimate(
    server: LocalOpenRouter, make_client: MakeClient, change: dict[str, Any]
) -> None:
    server.reply(error_reply(404), path="/unknown/model/endpoints")
    client = make_client(max_cost=1, budgets={"a": 0.5, "b": 0.5})
    await client.chat.send(CALL, usage_tag="a", **change)
    budgets = client.usage.snapshot().budgets

    assert {tag: found.kind for tag, found in budgets.items()} == {
        None: "estimated",
        "a": "estimated",
        "b": "guaranteed",
    }
    assert spent(client, "a") == spent(client) == server.stats.cost


async def test_failed_call_returns_its_reservation(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=1)
    server.reply(error_reply(400))
    with pytest.raises(Exception, match="400"):
        await client.chat.send(CALL)

    assert spent(client) == 0


async def test_other_endpoints_need_the_permission_of_the_budget(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=0.01)
    server.reply(json={"usage": {"cost": 0.01}}, path="/embeddings")
    await client.request("POST", "/embeddings", json={})

    with pytest.raises(BudgetExceededError, match=r"may cost \$0.015, and"):
        await client.request("POST", "/embeddings", json={})
    assert spent(client) == 0.01
    await client.request("GET", "/models")


async def test_spent_budget_refuses_a_call_whose_cost_is_unknown(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=0.01, budgets={"a": 0.005})
    server.reply(json={"usage": {"cost": 0.005}}, path="/embeddings")
    await client.request("POST", "/embeddings", json={}, usage_tag="a")
    client.usage.reset()

    with pytest.raises(BudgetExceededError):
        await client.request("POST", "/embeddings", json={}, usage_tag="a")
    assert spent(client, "a") == 0.005


async def test_rows_are_part_of_the_budgets_of_their_tag_and_of_the_client(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=1, budgets={"rows": 0.0005})
    run = client.chat.send_many(
        prompts(100), model=MINI, max_tokens=40, usage_tag="rows"
    )
    results = await read_results(run)
    limited = client.chat.send_many(
        prompts(100), model=MINI, max_tokens=40, max_cost=0.0004
    )
    await read_results(limited)

    assert 5 < len(results) < 100
    assert run.stats.stop_reason == limited.stats.stop_reason == "budget"
    assert run.stats.budget is None
    assert run.stats.spent == pytest.approx(spent(client, "rows"))
    assert spent(client, "rows") <= 0.0005
    assert limited.stats.budget == "guaranteed"
    assert limited.stats.spent <= 0.0004
    assert spent(client) == server.stats.cost


async def test_row_waits_for_a_plain_call_that_holds_the_money(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=1.2 * HIGHEST)
    server.reply(completion("hi", usage={"cost": 1e-6}), delay=0.2)
    first = asyncio.create_task(client.chat.send(CALL))
    await server.until(requests=2)
    server.reply(completion("hi", usage={"cost": 1e-6}), times=3)
    run = client.chat.send_many(prompts(3), model=MINI, max_tokens=40)
    results = await read_results(run)

    assert [result.ok for result in results] == [True] * 3
    await first
    assert spent(client) == 4e-6


async def test_hosted_rows_are_part_of_the_budgets(
    server: LocalOpenRouter, make_client: MakeClient, tmp_path: Path
) -> None:
    client = make_client(max_cost=1, budgets={"rows": 0.0003})
    run = client.batches.run(
        prompts(100),
        model=MINI,
        max_tokens=40,
        journal=tmp_path / "out.jsonl",
        usage_tag="rows",
        intervals=FAST,
    )
    results = await read_results(run)

    assert 5 < len(results) < 100
    assert run.stats.stop_reason == "budget"
    assert run.stats.budget is None
    assert spent(client, "rows") == pytest.approx(server.stats.cost, abs=1e-12)
    assert float(client.usage.snapshot().cost) == server.stats.cost <= 0.0003


def test_budgets_are_shared_by_threads_and_event_loops() -> None:
    """A call that waits on one event loop is woken by one that ends on another."""
    with LocalOpenRouter() as server:
        server.reply(completion("hi", usage={"cost": 1e-6}), times=None, delay=0.01)
        client = AsyncOpenRouter("k", base_url=server.url, max_cost=1.5 * HIGHEST)
        errors: list[BaseException] = []

        async def work() -> None:
            await asyncio.gather(*(client.chat.send(CALL) for _ in range(10)))

        def run() -> None:
            try:
                asyncio.run(work())
            except BaseException as error:  # noqa: BLE001 - the test fails below
                errors.append(error)

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

        # 30 calls of 1e-6 dollars fit; one call at a time has its reservation.
        assert errors == []
        assert spent(client) == pytest.approx(3e-5)
        assert client.usage.snapshot().cost == Decimal("0.00003")


async def test_copy_of_a_client_has_budgets_of_its_own(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_cost=1)
    other = copy.copy(client)
    await client.chat.send(CALL)

    assert spent(client) > 0
    assert spent(other) == 0
    assert other.usage.snapshot().calls == 0


@pytest.mark.parametrize(
    ("options", "raised", "message"),
    [
        ({"max_cost": 0}, ConfigurationError, "max_cost must be greater than 0"),
        ({"max_cost": -1.5}, ConfigurationError, "not -1.5"),
        ({"max_cost": float("nan")}, ConfigurationError, "not nan"),
        ({"max_cost": float("inf")}, ConfigurationError, "finite"),
        ({"max_cost": "5"}, TypeError, "max_cost must be a number of US dollars"),
        ({"max_cost": True}, TypeError, "not True"),
        ({"budgets": 5.0}, TypeError, "budgets must be a mapping"),
        ({"budgets": [("a", 1.0)]}, TypeError, "pass max_cost="),
        ({"budgets": {5: 1.0}}, TypeError, "usage_tag must be a string, not 5"),
        ({"budgets": {"": 1.0}}, ConfigurationError, "1 to 256 characters"),
        ({"budgets": {"a": -1}}, ConfigurationError, "budgets\\['a'\\] must be"),
        ({"budgets": {"a": None}}, TypeError, "budgets\\['a'\\] must be a number"),
    ],
)
def test_invalid_budget_is_rejected(
    options: dict[str, Any], raised: type[Exception], message: str
) -> None:
    with pytest.raises(raised, match=message):
        AsyncOpenRouter("k", **options)


def test_budgets_without_an_entry_limit_nothing() -> None:
    client = AsyncOpenRouter("k", budgets={})

    assert client.usage.snapshot().budgets == {}
