"""Retries over real sockets: which errors, how often, after which wait."""

# Caches and their limits are private.
# pyright: reportPrivateUsage=false

import asyncio
import math
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import HELLO, ask

from openrouter_async import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AsyncOpenRouter,
    BadGatewayError,
    BadRequestError,
    CallRecord,
    ClosedError,
    EdgeTimeoutError,
    MalformedResponseError,
    OpenRouterError,
    PaymentRequiredError,
    RateLimitError,
    Retries,
    ServiceUnavailableError,
    Timeouts,
)
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    StreamError,
    error_in_200,
    error_reply,
)

IN_FLIGHT = {"limit_source": "openrouter_in_flight_budget"}
DAILY = {"limit_source": "openrouter_free_tier_daily"}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    "first",
    [
        *(
            pytest.param(error_reply(status), id=f"{status}")
            for status in (408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
        ),
        pytest.param(error_reply(502, shape="html"), id="502 from the edge"),
        pytest.param(error_reply(402, metadata=IN_FLIGHT), id="402 in flight"),
        pytest.param(
            error_reply(404, availability={"retryable": True}), id="404, availability"
        ),
        pytest.param(error_in_200("error", 502), id="502 inside a 200"),
        pytest.param(error_in_200("choice", 429), id="429 inside a choice"),
        pytest.param(Reply("x", error=StreamError(), error_after=0), id="first event"),
    ],
)
async def test_error_that_is_not_charged_is_retried(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    slept: list[float],
    first: Reply,
    stream: bool,
) -> None:
    server.reply(first).then("hello")

    text = await ask(client, stream=stream)

    assert text == "hello"
    assert len(server.requests) == 2
    assert slept == [0.5]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    "first",
    [
        *(
            pytest.param(error_reply(status), id=f"{status}")
            for status in (301, 400, 401, 402, 403, 404, 405, 409, 412, 413, 422, 505)
        ),
        *(
            pytest.param(
                error_reply(status, shape="html"), id=f"{status} from the edge"
            )
            for status in (408, 504, 520, 524)
        ),
        pytest.param(error_reply(429, metadata=DAILY), id="429 daily"),
        pytest.param(
            error_reply(502, availability={"retryable": False}), id="502, availability"
        ),
        pytest.param(error_in_200("error", 400), id="400 inside a 200"),
        pytest.param(Reply(text="<html><title>Hi</title>"), id="a page"),
        pytest.param(Reply(body=b""), id="an empty body"),
    ],
)
async def test_error_that_is_permanent_or_may_be_charged_is_not_retried(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    slept: list[float],
    records: list[CallRecord],
    first: Reply,
    stream: bool,
) -> None:
    server.reply(first, times=None)

    with pytest.raises(OpenRouterError) as caught:
        await ask(client, stream=stream)

    assert len(server.requests) == 1
    assert slept == []
    assert not caught.value.retryable
    assert [record.outcome for record in records] == ["error"]
    assert records[0].error is caught.value


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    "first",
    [
        pytest.param(Reply("hello", stop="close"), id="closed"),
        pytest.param(Reply("hello", stop="reset"), id="reset"),
        pytest.param(Reply("hello", stop="close", stop_at=0), id="closed, no body"),
        pytest.param(Reply("hello", stop="reset", stop_at=0), id="reset, no body"),
        pytest.param(Reply("hello", stop="end", stop_at=0), id="an empty body"),
        pytest.param(Reply("hello", stop="silence"), id="silence"),
        pytest.param(Reply("hello", stop="silence", stop_at=0), id="silence, no body"),
        pytest.param(error_reply(504, shape="html"), id="504 from the edge"),
    ],
)
async def test_request_that_may_have_been_accepted_is_retried_only_with_ambiguous(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    first: Reply,
    stream: bool,
) -> None:
    timeouts = Timeouts(first_token=0.3 if first.stop == "silence" else 30)
    server.reply(first)

    with pytest.raises(OpenRouterError) as caught:
        await ask(client, stream=stream, timeouts=timeouts)
    once = len(server.requests)
    server.reply(first).then("hello")
    text = await ask(
        client, stream=stream, timeouts=timeouts, retries=Retries(ambiguous=True)
    )

    assert caught.value.attempts[0].billing == "maybe"
    assert caught.value.partial is None
    assert once == 1
    assert text == "hello"
    assert len(server.requests) == 3


async def test_plain_body_that_breaks_off_is_retried_only_with_ambiguous(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("hello", stop="close", stop_at=20).then(
        "hello", stop="end", stop_at=20
    )
    with pytest.raises(APIConnectionError) as broken:
        await client.chat.send(HELLO)
    with pytest.raises(MalformedResponseError) as cut:
        await client.chat.send(HELLO)
    server.reply("hello", stop="close", stop_at=20).then("hello")
    response = await client.chat.send(HELLO, retries=Retries(ambiguous=True))

    assert len(server.requests) == 4
    assert [error_reply.value.attempts[0].billing for error_reply in (broken, cut)] == [
        "maybe"
    ] * 2
    assert response.text == "hello"
    assert [attempt.billing for attempt in response.http.attempts] == [
        "maybe",
        "billed",
    ]


async def test_empty_completion_is_returned_unless_ambiguous_allows_a_retry(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    empty = {
        "choices": [{"message": {"content": ""}, "finish_reason": None}],
        "usage": {"completion_tokens": 0},
    }
    server.reply(json=empty)
    first = await client.chat.send(HELLO)
    server.reply(json=empty).then("hello")
    second = await client.chat.send(HELLO, retries=Retries(ambiguous=True))
    server.reply(json=empty, times=2)
    third = await client.chat.send(
        HELLO, retries=Retries(ambiguous=True, max_attempts=2)
    )

    assert (first.text, second.text, third.text) == ("", "hello", "")
    assert len(server.requests) == 5
    assert second.http.attempts[0].billing == "insured"


async def test_retry_after_is_a_lower_bound(
    server: LocalOpenRouter, client: AsyncOpenRouter, slept: list[float]
) -> None:
    server.reply(error_reply(429, retry_after=1)).then("hello")

    response = await client.chat.send(HELLO)

    assert response.text == "hello"
    assert len(server.requests) == 2
    assert slept == [pytest.approx(1.05, abs=0.05)]


@pytest.mark.parametrize(
    "hint",
    [
        "header",
        "header_ms",
        "availability",
        "metadata",
        "metadata_raw",
        "metadata_header",
    ],
)
async def test_retry_after_is_read_from_every_location(
    server: LocalOpenRouter, client: AsyncOpenRouter, slept: list[float], hint: Any
) -> None:
    server.reply(error_reply(503, retry_after=7, hints=hint)).then("hello")

    await client.chat.send(HELLO)

    assert slept == [pytest.approx(7.35, abs=0.05)]


async def test_retry_after_beyond_max_wait_raises_at_once(
    server: LocalOpenRouter, client: AsyncOpenRouter, slept: list[float]
) -> None:
    server.reply(error_reply(429, retry_after=61), times=2)

    with pytest.raises(RateLimitError) as caught:
        await client.chat.send(HELLO)
    with pytest.raises(RateLimitError):
        await client.chat.send(HELLO, model="n", retries=Retries(max_wait=60.9))

    assert caught.value.retry_after == 61
    assert caught.value.retryable
    assert len(server.requests) == 2
    assert slept == []


async def test_backoff_doubles_up_to_the_cap(
    server: LocalOpenRouter, client: AsyncOpenRouter, slept: list[float]
) -> None:
    server.reply(error_reply(500), times=None)

    with pytest.raises(APIError) as caught:
        await client.chat.send(HELLO, retries=Retries(max_attempts=6))

    assert slept == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert [attempt.waited for attempt in caught.value.attempts] == [0.0, *slept]


async def test_error_after_content_is_not_retried(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(["he", "llo"], error=StreamError(code=502), error_after=2)

    async with client.chat.send(HELLO, stream=True) as stream:
        with pytest.raises(BadGatewayError) as caught:
            await stream.collect()

    assert len(server.requests) == 1
    assert caught.value.partial is not None
    assert caught.value.partial.text == "hello"
    assert caught.value.status_code == 502
    assert caught.value.http.status == 200


async def test_each_attempt_is_recorded_with_its_error_and_billing(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(429, retry_after=2)).then(
        error_reply(502, generation_id=False)
    ).then("hello")

    response = await client.chat.send(HELLO)

    ids = [request.generation_id for request in server.requests]
    first, second, third = response.http.attempts
    assert (first.status, first.waited, first.billing) == (429, 0.0, "not_accepted")
    assert first.generation_id == ids[0]
    assert str(first.error).startswith("RateLimitError: ")
    assert (second.status, second.billing) == (502, "insured")
    assert second.waited == pytest.approx(2.1, abs=0.05)
    assert second.generation_id is None
    assert str(second.error).startswith("BadGatewayError: ")
    assert (third.status, third.waited, third.billing) == (200, 1.0, "billed")
    assert (third.error, third.generation_id) == (None, ids[2])
    assert response.http.generation_id == ids[2]


async def test_refused_connection_is_retried(
    make_client: Callable[..., AsyncOpenRouter], slept: list[float]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = make_client(base_url=f"http://127.0.0.1:{port}")

    with pytest.raises(APIConnectionError) as caught:
        await client.chat.send(HELLO)

    assert len(slept) == 2
    assert [attempt.billing for attempt in caught.value.attempts] == [
        "not_accepted"
    ] * 3
    assert all("APIConnectionError" in str(a.error) for a in caught.value.attempts)
    assert caught.value.retryable
    assert "refused" in str(caught.value).lower()
    assert str(caught.value.cause).startswith("ClientConnectorError")


async def test_retry_budget_limits_retries_to_ten_and_a_share_of_the_calls(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    client = client.with_options(retries=Retries(base=0.0, max_attempts=2))
    for _ in range(10):
        await client.chat.send(HELLO)
    server.clear()
    server.reply(error_reply(500), times=None)
    errors: list[APIError] = []

    for _ in range(20):
        with pytest.raises(APIError) as caught:
            await client.chat.send(HELLO)
        errors.append(caught.value)

    assert len(server.requests) == 20 + 10 + 3
    assert "budget" in str(errors[-2])
    assert "budget" not in str(errors[0])


async def test_retry_after_is_not_counted_by_the_retry_budget(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    client = client.with_options(retries=Retries(base=0.0, max_attempts=2))
    server.reply(error_reply(503, retry_after=0), times=None)

    for _ in range(20):
        with pytest.raises(ServiceUnavailableError):
            await client.chat.send(HELLO)

    assert len(server.requests) == 40


async def test_each_key_and_base_url_has_a_retry_budget(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    client = client.with_options(retries=Retries(base=0.0, max_attempts=40))
    server.reply(error_reply(500), times=None)

    with pytest.raises(APIError):
        await client.chat.send(HELLO)
    with pytest.raises(APIError):
        await client.chat.send(HELLO, api_key="another")
    with pytest.raises(APIError):
        await client.chat.send(HELLO, api_key=lambda: "a third")

    # The budget is 10 and a tenth of a retry, and an eleventh does not fit.
    assert len(server.requests) == 3 * 11


async def test_caches_per_key_are_bounded(
    make_client: Callable[..., AsyncOpenRouter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openrouter_async.transport.transport._MAX_KEYS", 2)
    client = make_client()

    for number in (0, 1, 1, 2, 3):
        await client.chat.send(HELLO, api_key=f"key-{number}")

    assert len(client._transport._budgets) == 2
    assert [*client._transport._authorizations] == ["key-2", "key-3"]


async def test_wait_beyond_the_deadline_raises_at_once(
    server: LocalOpenRouter, client: AsyncOpenRouter, slept: list[float]
) -> None:
    server.reply(error_reply(429, retry_after=5), times=None)

    with pytest.raises(RateLimitError):
        await client.chat.send(HELLO, timeouts=4.9)
    with pytest.raises(RateLimitError):
        await client.chat.send(HELLO, model="n", timeouts=9.9)

    assert len(server.requests) == 3
    assert slept == [pytest.approx(5.25, abs=0.05)]


async def test_call_that_waits_after_a_timeout_is_ended_by_closing(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    client = make_client(clock=None, retries=Retries(ambiguous=True, base=50, cap=50))
    server.reply("hello", delay=math.inf)
    task = asyncio.create_task(
        client.chat.send(HELLO, timeouts=Timeouts(first_token=0.05))
    )
    await server.until(closed=1)
    await asyncio.sleep(0.05)
    asked = time.monotonic()

    await client.aclose()
    with pytest.raises(ClosedError):
        await task

    assert time.monotonic() - asked < 2


async def test_last_error_is_raised_with_all_attempts(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(500)).then(error_reply(529)).then(error_reply(400))

    with pytest.raises(BadRequestError) as caught:
        await client.chat.send(HELLO)

    assert [attempt.status for attempt in caught.value.attempts] == [500, 529, 400]


async def test_524_of_the_edge_is_ambiguous_and_in_the_envelope_insured(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    once = client.with_options(retries=Retries(max_attempts=1))
    server.reply(error_reply(524)).then(error_reply(524, shape="html"))

    with pytest.raises(EdgeTimeoutError) as own:
        await once.chat.send(HELLO)
    with pytest.raises(EdgeTimeoutError) as edge:
        await once.chat.send(HELLO)

    assert (own.value.retryable, own.value.attempts[0].billing) == (True, "insured")
    assert (edge.value.retryable, edge.value.attempts[0].billing) == (False, "maybe")


async def test_402_raises_at_once_with_a_hint(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(402))

    with pytest.raises(PaymentRequiredError, match="credits"):
        await client.chat.send(HELLO)


async def test_timeout_before_the_headers_is_not_retried(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(delay=math.inf)

    with pytest.raises(APITimeoutError) as caught:
        await client.chat.send(HELLO, timeouts=Timeouts(first_token=0.05))

    assert caught.value.phase == "first_token"
    assert caught.value.attempts[0].billing == "maybe"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("retries", "sent", "says_not_retried"),
    [
        (Retries(), 1, True),
        (Retries(max_attempts=1), 1, False),
        (Retries(ambiguous=True), 3, False),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_error_says_that_it_was_not_retried_only_if_that_is_true(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    retries: Retries,
    sent: int,
    *,
    says_not_retried: bool,
    stream: bool,
) -> None:
    """The connection breaks before the response; the request may have been accepted."""
    server.reply(stop="close", times=None)

    with pytest.raises(APIConnectionError) as caught:
        await ask(client, stream=stream, retries=retries)

    assert len(server.requests) == sent
    assert ("not retried" in str(caught.value)) is says_not_retried


async def test_retry_budget_is_the_reason_given_when_it_is_used_up(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(error_reply(503), times=None)
    errors: list[OpenRouterError] = []
    for _ in range(12):
        with pytest.raises(ServiceUnavailableError) as caught:
            await client.chat.send(HELLO, retries=Retries(max_attempts=2, budget=0.0))
        errors.append(caught.value)

    assert "the retry budget is used up" in str(errors[-1])
    assert "not retried" not in str(errors[0])
