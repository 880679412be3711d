"""`client.usage`: what calls used and cost, and what of it is unknown."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from support import HELLO, MakeClient, prompts, read_results

from openrouter_async import (
    APIConnectionError,
    APITimeoutError,
    AsyncOpenRouter,
    CallRecord,
    ChatStream,
    ConfigurationError,
    InternalServerError,
    OutputError,
    Retries,
    StreamInterruptedError,
    tool,
)
from openrouter_async.catalogue import UsageSnapshot
from openrouter_async.errors import APIError, MalformedResponseError
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    StreamError,
    completion,
    error_reply,
    tool_call,
)
from openrouter_async.testing.builders import chunks

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "cost": 0.0076509169000000005,
    "completion_tokens_details": {"reasoning_tokens": 20},
    "prompt_tokens_details": {"cached_tokens": 64},
}
COST = Decimal("0.0076509169000000005")


def counts(snapshot: UsageSnapshot) -> tuple[int, int, int, int]:
    """Return calls, attempts, failures and unknown attempts."""
    return snapshot.calls, snapshot.attempts, snapshot.failures, snapshot.unknown


async def test_calls_are_counted_in_total_per_model_and_per_tag(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(completion("hi", usage=USAGE), times=4)

    await client.chat.send(HELLO, usage_tag="a")
    await client.chat.send(HELLO, model="other", usage_tag="a")
    async with client.chat.send(HELLO, stream=True, usage_tag="b") as stream:
        await stream.collect()
    await client.chat.send(HELLO)
    snapshot = client.usage.snapshot()

    assert counts(snapshot) == (4, 4, 0, 0)
    assert snapshot.cost == 4 * COST
    assert (snapshot.prompt_tokens, snapshot.completion_tokens) == (400, 200)
    assert (snapshot.reasoning_tokens, snapshot.cached_tokens) == (80, 256)
    assert {k: v.calls for k, v in snapshot.by_model.items()} == {"m": 3, "other": 1}
    assert {k: v.cost for k, v in snapshot.by_tag.items()} == {"a": 2 * COST, "b": COST}
    assert snapshot.budgets == {}


async def test_tag_is_never_sent(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    await client.chat.send(HELLO, usage_tag="secret-tag")

    (seen,) = server.requests
    assert b"secret-tag" not in seen.body
    assert "secret-tag" not in str(seen.headers) + str(seen.query)


@tool
def now() -> str:
    """Return the time."""
    return "12:00"


async def test_every_kind_of_call_and_run_takes_a_tag(
    server: LocalOpenRouter, client: AsyncOpenRouter, tmp_path: Path
) -> None:
    server.reply("[1]", when="list")
    server.reply("[1]", when="list")
    await client.chat.send(HELLO, usage_tag="plain")
    await client.chat.send(
        model="m",
        messages=[{"role": "user", "content": "list"}],
        output=list[int],
        usage_tag="parsed",
    )
    async with client.chat.send(
        model="m",
        messages=[{"role": "user", "content": "list"}],
        output=list[int],
        stream=True,
        usage_tag="parsed stream",
    ) as stream:
        await stream.collect()
    await client.chat.run_tools(HELLO, tools=[now], usage_tag="tools")
    async with client.chat.run_tools(
        HELLO, tools=[now], stream=True, usage_tag="tool stream"
    ) as events:
        async for _ in events:
            pass
    await read_results(client.chat.send_many(prompts(3), model="m", usage_tag="rows"))
    await read_results(
        client.batches.run(
            prompts(2),
            model="openai/gpt-4o-mini",
            journal=tmp_path / "out.jsonl",
            usage_tag="hosted",
        )
    )
    snapshot = client.usage.snapshot()

    assert {tag: found.calls for tag, found in snapshot.by_tag.items()} == {
        "plain": 1,
        "parsed": 1,
        "parsed stream": 1,
        "tools": 2,
        "tool stream": 2,
        "rows": 3,
        "hosted": 2,
    }
    assert counts(snapshot) == (12, 12, 0, 0)
    assert float(snapshot.cost) == server.stats.cost > 0
    assert snapshot.by_tag["hosted"].prompt_tokens > 0


async def test_other_endpoints_are_counted_unless_they_are_looked_up(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(json={"data": [], "usage": USAGE}, path="/embeddings", times=2)
    server.reply(json={"data": []}, path="/embeddings")

    await client.request("GET", "/models")
    await client.request("POST", "/embeddings", json={"input": "a"}, usage_tag="e")
    await client.request("post", "/embeddings", json={"input": "a"})
    await client.request("POST", "/embeddings", json={"input": "a"})
    snapshot = client.usage.snapshot()

    assert counts(snapshot) == (3, 3, 0, 0)
    assert (snapshot.cost, snapshot.by_tag["e"].cost) == (2 * COST, COST)


async def test_usage_is_shared_with_other_options_and_not_with_copies(
    client: AsyncOpenRouter, make_client: MakeClient
) -> None:
    other = client.with_options(usage_tag="default")
    await other.chat.send(HELLO)
    await other.chat.send(HELLO, usage_tag="own")

    assert other.usage is client.usage
    assert sorted(client.usage.snapshot().by_tag) == ["default", "own"]
    assert make_client().usage.snapshot().calls == 0
    assert repr(client.usage).startswith("<ClientUsage 2 calls, $")


async def test_failed_calls_and_retries_are_counted(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(500)).then(error_reply(429)).then("hi")
    server.reply(error_reply(500), when="fail", times=2)

    await client.chat.send(HELLO)
    with pytest.raises(InternalServerError):
        await client.chat.send(
            model="m",
            messages=[{"role": "user", "content": "fail"}],
            retries=Retries(max_attempts=2),
        )
    snapshot = client.usage.snapshot()

    assert counts(snapshot) == (2, 5, 1, 0)
    assert float(snapshot.cost) == server.stats.cost


async def send(client: AsyncOpenRouter, *, stream: bool) -> None:
    """Send a call and read its response to the end."""
    found = await client.chat.send(HELLO, stream=stream)
    if isinstance(found, ChatStream):
        await found.collect()


@pytest.mark.parametrize("stream", [False, True])
async def test_cost_of_a_response_that_is_an_error_counts(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    """The plain form has its usage; the stream ends before it, and costs nothing."""
    server.reply("hi", error=StreamError("in_choice", code=400))

    with pytest.raises(APIError):
        await send(client, stream=stream)
    snapshot = client.usage.snapshot()

    assert counts(snapshot) == (1, 1, 1, 0)
    assert float(snapshot.cost) == server.stats.cost
    assert (snapshot.cost > 0) is not stream


@pytest.mark.parametrize("usage", [None, {"cost": None}])
async def test_cost_of_a_failed_attempt_counts_if_it_is_retried(
    server: LocalOpenRouter, make_client: MakeClient, usage: dict[str, Any] | None
) -> None:
    server.reply("a", error=StreamError("in_choice", code=502))
    server.reply(completion("hi", usage=usage))
    client = make_client(max_cost=1.0)
    await client.chat.send(HELLO, max_tokens=5)
    snapshot = client.usage.snapshot()

    assert counts(snapshot) == (1, 2, 0, 0 if usage is None else 1)
    failed, last = server.requests[-2:]
    known = [failed.cost, last.cost if usage is None else 0.0]
    assert failed.cost > 0
    assert snapshot.cost == sum(Decimal(repr(cost)) for cost in known)
    unknown = snapshot.budgets[None].spent - snapshot.cost
    assert unknown == 0 if usage is None else unknown > 0


async def test_output_that_does_not_fit_was_paid_for(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("no JSON")
    with pytest.raises(OutputError):
        await client.chat.send(HELLO, output=list[int])

    assert counts(client.usage.snapshot()) == (1, 1, 0, 0)
    assert float(client.usage.snapshot().cost) == server.stats.cost > 0


@pytest.mark.parametrize("seen", [1, 2])
async def test_stream_that_is_left_is_unknown_with_its_id(
    server: LocalOpenRouter, client: AsyncOpenRouter, seen: int
) -> None:
    server.reply(["a", "b", "c", "d"], chunk_delay=0.01)

    async with client.chat.send(HELLO, stream=True) as stream:
        for _ in range(seen):
            await anext(stream)
    snapshot = client.usage.snapshot()

    assert counts(snapshot) == (1, 1, 0, 1)
    assert snapshot.unknown_ids == (stream.http.generation_id,)
    assert snapshot.cost == 0


async def test_stream_that_is_left_after_its_usage_is_known(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    body = completion("hi", usage=USAGE)
    # A stream that does not end.
    server.reply(chunks=chunks(body), stop="silence", stop_after=len(chunks(body)))

    async with client.chat.send(HELLO, stream=True) as stream:
        async for chunk in stream:
            if chunk.usage is not None:
                break
    snapshot = client.usage.snapshot()

    assert counts(snapshot) == (1, 1, 0, 0)
    assert snapshot.cost == COST


async def test_usage_inside_a_choice_counts(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    body = completion("hi")
    del body["usage"]
    body["choices"][0]["usage"] = USAGE
    server.reply(json=body)
    chunk = {**body, "object": "chat.completion.chunk"}
    chunk["choices"] = [{**body["choices"][0], "delta": {"content": "hi"}}]
    server.reply(chunks=[chunk])

    await client.chat.send(HELLO)
    async with client.chat.send(HELLO, stream=True) as stream:
        await stream.collect()

    assert client.usage.snapshot().cost == 2 * COST


async def test_stream_that_broke_off_is_unknown(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(["a", "b"], stop="end", stop_after=1)
    stream = await client.chat.send(HELLO, stream=True)
    with pytest.raises(StreamInterruptedError):
        await stream.collect()
    snapshot = client.usage.snapshot()

    assert counts(snapshot) == (1, 1, 1, 1)
    assert snapshot.unknown_ids == (stream.http.generation_id,)


async def test_attempts_that_may_have_been_billed_are_unknown(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The first has no headers, the second has no body, the third succeeds."""
    server.reply("a", stop="close").then("b", stop="close", stop_after=0).then("c")
    await client.chat.send(HELLO, retries=Retries(ambiguous=True))
    snapshot = client.usage.snapshot()

    assert counts(snapshot) == (1, 3, 0, 2)
    assert snapshot.unknown_ids == (server.requests[1].generation_id,)
    assert float(snapshot.cost) == server.requests[2].cost


async def test_last_attempt_without_headers_does_not_get_the_id_before_it(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    end = {"Connection": "close"}
    server.reply(error_reply(500, headers=end)).then("hi", stop="close")
    with pytest.raises(APIConnectionError):
        await client.chat.send(HELLO)

    assert counts(client.usage.snapshot()) == (1, 2, 1, 1)
    assert client.usage.snapshot().unknown_ids == ()


async def test_timeout_is_unknown(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("hi", before_token=9)
    with pytest.raises(APITimeoutError):
        await client.chat.send(HELLO, timeouts=1)

    assert counts(client.usage.snapshot()) == (1, 1, 1, 1)
    assert client.usage.snapshot().unknown_ids == (server.requests[0].generation_id,)


async def test_cancelled_call_is_unknown_without_an_id(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("hi", delay=9)
    call = asyncio.create_task(client.chat.send(HELLO))
    await server.until(requests=1)
    call.cancel()
    await asyncio.wait([call])

    assert counts(client.usage.snapshot()) == (1, 1, 0, 1)
    assert client.usage.snapshot().unknown_ids == ()
    assert await client.usage.reconcile() == 0


async def test_call_that_was_not_sent_is_not_unknown(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(max_connections=1)
    server.reply("hi", delay=9)
    first = asyncio.create_task(client.chat.send(HELLO))
    await server.until(requests=1)
    second = asyncio.create_task(client.chat.send(HELLO))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])

    assert counts(client.usage.snapshot()) == (1, 0, 0, 0)
    first.cancel()
    await asyncio.wait([first])


class HangingConnector(aiohttp.TCPConnector):
    """A connector that never grants a connection."""

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.asked = asyncio.Event()

    async def connect(self, *_: Any, **__: Any) -> Any:
        self.asked.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("stream", [False, True])
async def test_call_that_is_cancelled_while_it_connects_is_not_unknown(
    make_client: MakeClient, *, stream: bool
) -> None:
    records: list[CallRecord] = []
    connector = HangingConnector()
    async with aiohttp.ClientSession(connector=connector) as session:
        client = make_client(session=session, on_call=records.append)
        call = asyncio.create_task(client.chat.send(HELLO, stream=stream))
        await connector.asked.wait()
        call.cancel()
        await asyncio.wait([call])

    assert call.cancelled()
    assert counts(client.usage.snapshot()) == (1, 1, 0, 0)
    assert [attempt.billing for attempt in records[0].http.attempts] == ["not_accepted"]


async def test_response_without_a_cost_is_unknown(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(completion("hi", usage={"prompt_tokens": 3.0, "cost": None}))
    server.reply(completion("hi", usage={"prompt_tokens": True, "cost": -1}))
    await client.chat.send(HELLO)
    await client.chat.send(HELLO)

    assert counts(client.usage.snapshot()) == (2, 2, 0, 2)
    assert client.usage.snapshot().prompt_tokens == 3
    assert len(client.usage.snapshot().unknown_ids) == 2


async def test_id_in_the_body_is_used_where_the_header_is_missing(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    body = completion("hi", id="gen-1-body", usage={"prompt_tokens": 1})
    server.reply(json=body, generation_id=False)
    await client.chat.send(HELLO)

    assert client.usage.snapshot().unknown_ids == ("gen-1-body",)


async def test_reset_sets_all_sums_to_zero(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(completion("hi", usage={"prompt_tokens": 1}))
    await client.chat.send(HELLO, usage_tag="a")
    client.usage.reset()
    snapshot = client.usage.snapshot()

    assert not any(
        value for name, value in attrs.asdict(snapshot).items() if name != "budgets"
    )


async def test_failure_of_on_call_does_not_reach_usage(make_client: MakeClient) -> None:
    def fail(record: CallRecord) -> None:
        raise ValueError(record.model)

    client = make_client(on_call=fail)
    await client.chat.send(HELLO)

    assert client.usage.snapshot().calls == 1


@pytest.mark.parametrize(
    ("tag", "raised", "message"),
    [
        (5, TypeError, "usage_tag must be a string, not 5"),
        (b"a", TypeError, "usage_tag"),
        ("", ConfigurationError, "1 to 256 characters, not 0"),
        ("a" * 257, ConfigurationError, "not 257"),
    ],
)
async def test_invalid_tag_is_rejected_before_anything_is_sent(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    tag: Any,
    raised: type[Exception],
    message: str,
) -> None:
    with pytest.raises(raised, match=message):
        await client.chat.send(HELLO, usage_tag=tag)
    with pytest.raises(raised, match=message):
        client.with_options(usage_tag=tag)
    with pytest.raises(raised, match=message):
        client.chat.send_many(["a"], model="m", usage_tag=tag)

    assert server.requests == []


async def test_html_page_is_unknown_because_it_may_have_been_billed(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(text="<html></html>")
    with pytest.raises(MalformedResponseError):
        await client.chat.send(HELLO)

    assert counts(client.usage.snapshot()) == (1, 1, 1, 1)


def reply_with_call(seen: Any) -> Mapping[str, Any]:
    """Call the tool once, then answer."""
    if seen.fields["messages"][-1]["role"] == "tool":
        return completion("done", usage=USAGE)
    return completion(tool_calls=[tool_call("now")], usage=USAGE)


async def test_each_turn_of_a_tool_run_is_a_call(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(Reply(reply_with_call), times=2)
    run = client.chat.run_tools(HELLO, tools=[now], usage_tag="tools")
    await run

    assert client.usage.snapshot().by_tag["tools"].cost == 2 * COST


async def test_sums_are_exact_when_usage_is_added_up_meanwhile(
    server: LocalOpenRouter, client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openrouter_async.transport.call_events.MAX_PENDING", 3)
    server.reply(completion("hi", usage=USAGE), times=7)

    for _ in range(7):
        await client.chat.send(HELLO)

    assert client.usage.snapshot().calls == 7
    assert client.usage.snapshot().cost == 7 * COST
