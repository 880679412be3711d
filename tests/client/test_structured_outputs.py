"""`output=`: what is asked for, what comes back, and what does not fit."""

# ruff: noqa: D101 -- a docstring would become part of the schema

import importlib
import json
import pickle
from itertools import pairwise
from typing import Any, Literal

import pytest
from attrs import define

from openrouter_async import (
    NULL,
    AsyncOpenRouter,
    BadRequestError,
    CallRecord,
    ChatGenerationParams,
    ConfigurationError,
    OutputError,
    OutputRefusedError,
    OutputTruncatedError,
    OutputValidationError,
    ParsedResponse,
    ParsedStream,
    ProviderPreferences,
    StreamInterruptedError,
    UserMessage,
    json_schema_format,
)
from openrouter_async.structured.output_parser import reader_of
from openrouter_async.testing import (
    LocalOpenRouter,
    Reply,
    completion,
    tool_call,
)

MESSAGES = [UserMessage("hi")]


@define
class Line:
    price: float


@define
class Invoice:
    """An invoice."""

    number: str
    lines: list[Line]


GOOD = '{"number": "7", "lines": [{"price": 1}, {"price": 2.5}]}'
BAD = '{"number": "7", "lines": [{"price": 1}, {"price": "much"}]}'
INVOICE = Invoice("7", [Line(1.0), Line(2.5)])


async def whole(client: AsyncOpenRouter, *, stream: bool) -> ParsedResponse[Invoice]:
    """Ask for an invoice, plain or streamed."""
    reply = await client.chat.send(messages=MESSAGES, output=Invoice, stream=stream)
    return await reply.collect() if isinstance(reply, ParsedStream) else reply


async def test_what_is_asked_for(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The schema, and only providers that know such requests."""
    reply = await client.chat.send(messages=MESSAGES, output=Invoice)

    assert isinstance(reply, ParsedResponse)
    assert reply.output == Invoice("example number", [Line(1.5)])
    assert server.requests[0].json["response_format"] == json_schema_format(Invoice)
    assert server.requests[0].json["provider"] == {"require_parameters": True}


async def test_the_reply_is_still_a_reply(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """All else of it is there, and it travels whole."""
    server.reply(GOOD)

    reply = await client.chat.send(messages=MESSAGES, output=Invoice)

    assert reply.text == GOOD
    assert reply.usage.cost is not None
    assert reply.http.status == 200
    assert reply.raw["object"] == "chat.completion"
    copy = pickle.loads(pickle.dumps(reply))  # noqa: S301
    assert (copy, copy.output, copy.text) == (reply, INVOICE, GOOD)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"sort": "price"}, {"require_parameters": True, "sort": "price"}),
        ({"require_parameters": False}, {"require_parameters": False}),
        (ProviderPreferences(zdr=True), {"require_parameters": True, "zdr": True}),
        (
            ProviderPreferences(require_parameters=False),
            {"require_parameters": False},
        ),
        (NULL, None),
    ],
)
async def test_what_the_request_says_itself_wins(
    server: LocalOpenRouter, client: AsyncOpenRouter, given: Any, sent: Any
) -> None:
    """Preferences are added to, never overridden; a format of one's own is sent."""
    server.reply(GOOD)
    own = {"type": "json_object"}

    params = ChatGenerationParams(messages=MESSAGES, provider=given)
    reply = await client.chat.send(params, output=Invoice, response_format=own)

    assert reply.output == INVOICE
    assert server.requests[0].json["provider"] == sent
    assert server.requests[0].json["response_format"] == own


async def test_what_is_no_object_is_wrapped(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """At the top providers take objects only; the wrapper may be missing too."""
    server.reply('{"value": [{"price": 1}]}').then('[{"price": 2}]')

    first = await client.chat.send(messages=MESSAGES, output=list[Line])
    second = await client.chat.send(messages=MESSAGES, output=list[Line])

    assert first.output == [Line(1)]
    assert second.output == [Line(2)]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_that_does_not_fit_keeps_all(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    records: list[CallRecord],
    *,
    stream: bool,
) -> None:
    """The path, every fault, and the whole reply, which was paid for."""
    server.reply(BAD)

    with pytest.raises(OutputValidationError) as caught:
        await whole(client, stream=stream)

    error = caught.value
    assert error.path == "$.lines[1].price"
    assert error.errors == ["$.lines[1].price: 'much' is not a number"]
    assert "$.lines[1].price" in str(error)
    assert error.response.text == BAD
    assert error.response.usage.cost is not None
    assert error.generation_id == error.response.id
    assert error.partial is error.response
    assert not error.retryable
    assert len(server.requests) == 1
    assert [record.outcome for record in records] == ["ok"]


@pytest.mark.parametrize(
    ("answer", "cls", "match"),
    [
        (completion("", refusal="I will not."), OutputRefusedError, "I will not"),
        (completion("", finish_reason="content_filter"), OutputRefusedError, "filter"),
        (completion('{"num', finish_reason="length"), OutputTruncatedError, "cut off"),
        (completion(GOOD, finish_reason="length"), OutputTruncatedError, "cut off"),
        (completion(""), OutputValidationError, "empty"),
        (completion("Sorry, no."), OutputValidationError, "no JSON"),
        (completion("[]"), OutputValidationError, "an array is not an object"),
        (
            completion(tool_calls=[tool_call("f")]),
            OutputValidationError,
            "called tools",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_answer_has_an_error_of_its_own(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    answer: dict[str, Any],
    cls: type[OutputError],
    match: str,
    *,
    stream: bool,
) -> None:
    """A refusal, a cut, no JSON, a call: each is told, with the reply."""
    server.reply(answer)

    with pytest.raises(cls, match=match) as caught:
        await whole(client, stream=stream)

    assert type(caught.value) is cls
    assert caught.value.response.id == answer["id"]


async def test_an_impossible_type_is_refused_before_anything_is_sent(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """JSON has nothing for it."""
    with pytest.raises(TypeError, match="bytes"):
        await client.chat.send(messages=MESSAGES, output=bytes)
    with pytest.raises(TypeError, match="bytes"):
        await client.chat.run_tools(messages=MESSAGES, output=bytes)

    assert len(server.requests) == 0


async def test_other_errors_are_as_ever(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """A status is a status."""
    server.reply(status=400)

    with pytest.raises(BadRequestError):
        await client.chat.send(messages=MESSAGES, output=Invoice)


# --- Streams. ---


async def test_partials_grow(server: LocalOpenRouter, client: AsyncOpenRouter) -> None:
    """Each is new, none takes anything back, and the last is the whole."""
    server.reply(Reply(["```json\n", *GOOD, "\n```"]))

    async with client.chat.send(
        messages=MESSAGES, output=Invoice, stream=True
    ) as stream:
        found = [partial async for partial in stream.partials()]

    assert found[0] == {}
    assert found[-1] == json.loads(GOOD)
    assert all(first != second for first, second in pairwise(found))
    prices = [line.get("price") for part in found for line in part.get("lines", [])]
    assert {price for price in prices if price is not None} == {1, 2.5}
    assert stream.output == INVOICE


async def test_partials_of_a_wrapped_value(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The wrapper is taken off."""
    server.reply(Reply(list('{"value": ["one", "two"]}')))

    stream = await client.chat.send(messages=MESSAGES, output=list[str], stream=True)
    await anext(stream)
    found = [partial async for partial in stream.partials()]

    assert found[0] == []
    assert found[-1] == stream.output == ["one", "two"]
    assert ["one", "t"] in found


@pytest.mark.parametrize("stream", [False, True])
async def test_the_wrapper_may_be_left_out(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    """Models take an object for the answer as it is; so does whoever reads it."""
    text = '{"price": 2.5}'
    server.reply(Reply(list(text)))
    send: Any = client.chat.send

    reply = await send(messages=MESSAGES, output=Line | list[int], stream=stream)
    found = [partial async for partial in reply.partials()] if stream else []

    assert reply.output == Line(2.5)
    assert found[-1:] == [json.loads(text)] * stream


async def test_partials_of_no_json(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Nothing grows; the end tells what is wrong."""
    server.reply(Reply(["Sor", "ry ", "[no]", " and {"]))

    async with client.chat.send(
        messages=MESSAGES, output=Invoice, stream=True
    ) as stream:
        assert [partial async for partial in stream.partials()] == []
        with pytest.raises(OutputValidationError):
            _ = stream.output


async def test_a_long_answer_is_not_read_for_every_chunk(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Beyond 32 KiB a partial comes only after a hundredth more; the last is whole."""
    pieces = ["[", *['"abcdefg", '] * 5000, '"end"]']
    server.reply(Reply(pieces))

    async with client.chat.send(
        messages=MESSAGES, output=list[str], stream=True
    ) as stream:
        found = [len(partial) async for partial in stream.partials()]

    assert found[-1] == len(stream.output) == 5001
    assert len(found) < 4500


async def test_partials_need_jiter(
    server: LocalOpenRouter, client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is missing, it is told how to get it; the value needs it not."""
    server.reply(GOOD)

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    async with client.chat.send(
        messages=MESSAGES, output=Invoice, stream=True
    ) as stream:
        monkeypatch.setattr(importlib, "import_module", missing)
        with pytest.raises(ConfigurationError, match=r"openrouter_async\[output\]"):
            await anext(stream.partials())
        await stream.collect()

    assert stream.output == INVOICE


async def test_the_value_comes_at_the_end(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Not before; and a cut stream has none."""
    server.reply(GOOD).then(Reply(GOOD, stop="end", stop_after=3))

    async with client.chat.send(
        messages=MESSAGES, output=Invoice, stream=True
    ) as stream:
        with pytest.raises(ConfigurationError):
            _ = stream.output
        assert (await stream.collect()).output == INVOICE
        assert stream.output is stream.output
    with pytest.raises(StreamInterruptedError):
        async with client.chat.send(
            messages=MESSAGES, output=Invoice, stream=True
        ) as stream:
            await stream.collect()


def test_a_type_is_looked_at_once() -> None:
    """Readers are kept."""
    assert reader_of(Invoice) is reader_of(Invoice)
    assert reader_of(Literal["a"]).schema.wrapped
