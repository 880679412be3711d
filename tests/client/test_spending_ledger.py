"""The usage of many calls, and budgets in budgets, against the server's own ledger."""

import asyncio
import contextlib
import random
from decimal import Decimal
from typing import Any

import pytest
from support import MakeClient

from openrouter_async import (
    AsyncOpenRouter,
    BudgetExceededError,
    OpenRouterError,
    Retries,
    Timeouts,
    UserMessage,
    tool,
)
from openrouter_async.catalogue import UsageSnapshot
from openrouter_async.chat import SendOptions
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    SeenRequest,
    StreamError,
    completion,
    error_reply,
    tool_call,
)

MODELS = ("openai/gpt-4o-mini", "anthropic/claude-haiku-4.5", "openai/gpt-5-nano")


def exact_sum(costs: list[float]) -> Decimal:
    """Return the sum of costs, with the digits that they are printed with."""
    return sum((Decimal(repr(cost)) for cost in costs), Decimal(0))


def chats(server: LocalOpenRouter) -> list[SeenRequest]:
    """Return the chat requests that the server received."""
    return [seen for seen in server.requests if seen.path.endswith("/completions")]


# --- usage ---------------------------------------------------------------------------


class Calls:
    """Makes calls of all kinds, each with a prompt of its own, and notes the left."""

    def __init__(self, client: AsyncOpenRouter, generator: random.Random) -> None:
        self.client = client
        self.random = generator
        self.cancelled: set[str] = set()

    async def make(self, number: int) -> None:
        """Make one call; what goes wrong is part of the test."""
        kind = self.random.choices(
            ("plain", "stream", "leave", "cancel", "ambiguous"), (5, 3, 1, 1, 1)
        )[0]
        prompt = f"{kind} {number}."
        options: SendOptions = {
            "model": self.random.choice(MODELS),
            "messages": [UserMessage(prompt)],
            "usage_tag": self.random.choice(("a", "b", None)),
        }
        with contextlib.suppress(OpenRouterError):
            if kind == "plain":
                await self.client.chat.send(**options)
            elif kind == "stream":
                async with self.client.chat.send(**options, stream=True) as stream:
                    await stream.collect()
            elif kind == "ambiguous":
                options["retries"] = Retries(ambiguous=True, max_attempts=4)
                await self.client.chat.send(**options)
            elif kind == "leave":
                async with self.client.chat.send(**options, stream=True) as stream:
                    await anext(stream)
            else:
                await self._cancel(prompt, options)

    async def _cancel(self, prompt: str, options: SendOptions) -> None:
        call = asyncio.create_task(self.client.chat.send(**options))
        await asyncio.sleep(self.random.random() * 0.02)
        call.cancel()
        await asyncio.wait([call])
        if call.cancelled():
            self.cancelled.add(prompt)


def script(server: LocalOpenRouter, generator: random.Random) -> None:
    """Let the server answer with delays, errors that are retried, and faults."""

    def reply(seen: SeenRequest) -> Reply:
        kind = seen.prompt.split()[0]
        chance = generator.random()
        found = Reply()
        if chance < 0.1:
            found = error_reply(generator.choice((429, 500, 503)))
        elif chance < 0.13:
            found = error_reply(400)
        elif kind == "stream" and chance < 0.2:
            found = Reply(error=StreamError(code=400), error_after=2)
        elif kind in ("stream", "ambiguous") and chance < 0.3:
            found = Reply(stop="close", stop_after=0 if chance < 0.25 else 1)
        elif kind == "leave":
            found = Reply(chunk_delay=0.05)
        elif kind == "cancel":
            found = Reply(delay=0.05)
        return found

    server.reply(reply, times=None)


@pytest.mark.parametrize("seed", [1])
async def test_known_cost_and_that_of_unknown_calls_is_the_ledger(
    make_client: MakeClient, request: pytest.FixtureRequest, seed: int
) -> None:
    count = 5000 if request.config.getoption("--long") else 200
    generator = random.Random(seed)
    with LocalOpenRouter(generation_lag=1, keep=100_000, seed=seed) as server:
        script(server, generator)
        client = make_client(base_url=server.url, retries=Retries(budget=10.0))
        calls = Calls(client, generator)
        slots = asyncio.Semaphore(50)

        async def call(number: int) -> None:
            async with slots:
                await calls.make(number)

        await asyncio.gather(*(call(number) for number in range(count)))
        await until_idle(server)
        usage = client.usage.snapshot()
        without_id = check_against_ledger(server, usage, calls.cancelled)
        assert usage.calls == count
        assert usage.unknown > count // 20

        await client.usage.reconcile(wait=60)
        found = client.usage.snapshot()

        assert found.unknown_ids == ()
        assert found.unknown == usage.unknown - len(usage.unknown_ids)
        ledger = exact_sum([seen.cost for seen in chats(server)])
        assert found.cost + without_id == ledger
        assert sum(each.cost for each in found.by_model.values()) == found.cost


async def until_idle(server: LocalOpenRouter) -> None:
    """Wait until the server has billed every request."""
    async with asyncio.timeout(30):
        while server.stats.in_flight:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)


def check_against_ledger(
    server: LocalOpenRouter, usage: UsageSnapshot, cancelled: set[str]
) -> Decimal:
    """
    Check that each digit of the ledger is known, or of a call that is unknown.

    Returns:
        The cost of the calls that are unknown and have no generation id.
    """
    seen = chats(server)
    ids = set(usage.unknown_ids)
    without_id = usage.unknown - len(ids)
    with_id = [each.cost for each in seen if each.generation_id in ids]
    # Without an id: calls that were cancelled before their headers arrived.
    others = [
        each.cost
        for each in seen
        if each.prompt in cancelled and each.generation_id not in ids and each.cost
    ]
    ledger = exact_sum([each.cost for each in seen])

    assert float(ledger) == server.stats.cost
    assert len(with_id) == len(ids)
    assert usage.cost + exact_sum(with_id) + exact_sum(others) == ledger
    assert len(others) <= without_id
    # Nothing else is unknown: streams that were left or broke off, cancelled calls, and
    # attempts that are billed "maybe".
    kinds = {each.prompt.split()[0] for each in seen if each.generation_id in ids}
    assert kinds <= {"leave", "stream", "cancel", "ambiguous"}
    return exact_sum(others)


# --- budgets -------------------------------------------------------------------------


@tool
def look(word: str) -> str:
    """
    Look a word up.

    Args:
        word: The word.
    """
    return f"{word}: nothing found"


def bounded_reply(seen: SeenRequest) -> Any:
    """Call the tool once if there is one, then answer with a cost of any size."""
    if seen.fields.get("tools") and seen.fields["messages"][-1]["role"] != "tool":
        return completion(tool_calls=[tool_call("look", {"word": "a"})])
    return None


async def spend(client: AsyncOpenRouter, generator: random.Random) -> None:
    """Make calls of all kinds until the budgets are nearly spent."""
    model = generator.choice(MODELS)
    limit = generator.choice((60, 100, 200))

    async def plain(*, stream: bool) -> None:
        options: SendOptions = {
            "model": model,
            "messages": [UserMessage("Hello " * generator.randint(1, 30))],
            "max_tokens": limit,
            "usage_tag": "tag",
            "timeouts": Timeouts(pool=5),
        }
        with contextlib.suppress(BudgetExceededError):
            if not stream:
                await client.chat.send(**options)
                return
            async with client.chat.send(**options, stream=True) as opened:
                if generator.random() < 0.5:
                    await opened.collect()

    async def tools() -> None:
        with contextlib.suppress(BudgetExceededError):
            await client.chat.run_tools(
                model=model,
                messages=[UserMessage("Use look.")],
                tools=[look],
                max_tokens=limit,
                usage_tag="tag",
                timeouts=Timeouts(pool=5),
            )

    async def rows() -> None:
        run = client.chat.send_many(
            [f"Row {number}" for number in range(10)],
            model=model,
            max_tokens=limit,
            usage_tag="tag",
            max_cost=generator.choice((2e-4, 1e-3)),
        )
        async with run:
            async for _ in run:
                pass
        assert run.stats.budget == "guaranteed"
        assert run.stats.spent <= 1e-3

    async def cancelled() -> None:
        call = asyncio.create_task(plain(stream=False))
        await asyncio.sleep(generator.random() * 0.005)
        call.cancel()
        await asyncio.wait([call])

    kinds = [plain(stream=False), plain(stream=True), tools(), rows(), cancelled()]
    kinds += [plain(stream=generator.random() < 0.5) for _ in range(5)]
    generator.shuffle(kinds)
    await asyncio.gather(*kinds)


async def test_no_budget_is_exceeded_and_no_reservation_leaks(
    make_client: MakeClient, request: pytest.FixtureRequest
) -> None:
    seeds = range(1000 if request.config.getoption("--long") else 10)
    loop = asyncio.get_running_loop()
    for seed in seeds:
        generator = random.Random(seed)
        with LocalOpenRouter(seed=seed) as server:
            server.reply(bounded_reply, times=None)
            max_cost = generator.choice((2e-4, 1e-3, 5e-3))
            tag = generator.choice((1e-4, 5e-4, 1e-2))
            client = make_client(
                base_url=server.url, max_cost=max_cost, budgets={"tag": tag}
            )
            started = loop.time()
            await spend(client, generator)
            seconds = loop.time() - started
            await until_idle(server)
            budgets = client.usage.snapshot().budgets
            ledger = exact_sum([seen.cost for seen in chats(server)])
            await client.aclose()

        assert ledger <= budgets[None].spent <= budgets[None].limit, seed
        assert budgets["tag"].spent <= budgets["tag"].limit, seed
        assert {found.kind for found in budgets.values()} == {"guaranteed"}, seed
        assert {float(found.reserved) for found in budgets.values()} == {0.0}, seed
        # `pool`, and the time of a busy machine for the calls themselves.
        assert seconds < 60, seed
