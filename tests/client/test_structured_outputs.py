"""Typed outputs: requests with `output=`, plain and streamed."""

# ruff: noqa: D101 - a docstring would become part of the schema

import json
import pickle
import sys
from itertools import pairwise
from typing import Any

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


VALID = '{"number": "7", "lines": [{"price": 1}, {"price": 2.5}]}'
INVALID = '{"number": "7", "lines": [{"price": 1}, {"price": "much"}]}'
INVOICE = Invoice("7", [Line(1.0), Line(2.5)])


async def request_invoice(
    client: AsyncOpenRouter, *, stream: bool
) -> ParsedResponse[Invoice]:
    sent = await client.chat.send(messages=MESSAGES, output=Invoice, stream=stream)
    return await sent.collect() if isinstance(sent, ParsedStream) else sent


async def test_output_sends_the_schema_and_requires_its_support(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    response = await client.chat.send(messages=MESSAGES, output=Invoice)

    assert isinstance(response, ParsedResponse)
    assert response.output == Invoice("example number", [Line(1.5)])
    assert server.requests[0].json["response_format"] == json_schema_format(Invoice)
    assert server.requests[0].json["provider"] == {"require_parameters": True}


async def test_parsed_response_has_every_field_and_can_be_pickled(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(VALID)

    response = await client.chat.send(messages=MESSAGES, output=Invoice)

    assert response.text == VALID
    assert response.usage.cost is not None
    assert response.http.status == 200
    assert response.raw["object"] == "chat.completion"
    copy = pickle.loads(pickle.dumps(response))
    assert (copy, copy.output, copy.text) == (response, INVOICE, VALID)


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
async def test_fields_of_the_request_are_kept(
    server: LocalOpenRouter, client: AsyncOpenRouter, given: Any, sent: Any
) -> None:
    server.reply(VALID)
    own = {"type": "json_object"}

    params = ChatGenerationParams(messages=MESSAGES, provider=given)
    response = await client.chat.send(params, output=Invoice, response_format=own)

    assert response.output == INVOICE
    assert server.requests[0].json["provider"] == sent
    assert server.requests[0].json["response_format"] == own


async def test_array_is_accepted_with_and_without_its_wrapper(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply('{"value": [{"price": 1}]}').then('[{"price": 2}]')

    first = await client.chat.send(messages=MESSAGES, output=list[Line])
    second = await client.chat.send(messages=MESSAGES, output=list[Line])

    assert first.output == [Line(1)]
    assert second.output == [Line(2)]


@pytest.mark.parametrize("stream", [False, True])
async def test_validation_error_has_paths_and_the_response(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    records: list[CallRecord],
    *,
    stream: bool,
) -> None:
    server.reply(INVALID)

    with pytest.raises(OutputValidationError) as caught:
        await request_invoice(client, stream=stream)

    error = caught.value
    assert error.path == "$.lines[1].price"
    assert error.errors == ["$.lines[1].price: expected a number, got a string"]
    assert error.message == (
        "The response does not match the output type Invoice: "
        "$.lines[1].price: expected a number, got a string"
    )
    assert error.response.text == INVALID
    assert error.response.usage.cost is not None
    assert error.generation_id == error.response.id
    assert error.partial is error.response
    assert not error.retryable
    assert len(server.requests) == 1
    assert [record.outcome for record in records] == ["ok"]


@pytest.mark.parametrize(
    ("body", "cls", "match"),
    [
        (completion("", refusal="I will not."), OutputRefusedError, "refused"),
        (completion("", finish_reason="content_filter"), OutputRefusedError, "filter"),
        (completion('{"num', finish_reason="length"), OutputTruncatedError, "cut off"),
        (completion(VALID, finish_reason="length"), OutputTruncatedError, "cut off"),
        (completion(""), OutputValidationError, "empty"),
        (completion("Sorry, no."), OutputValidationError, "no JSON object"),
        (completion("[]"), OutputValidationError, "expected an object, got an array"),
        (
            completion(tool_calls=[tool_call("f")]),
            OutputValidationError,
            "expected text, got tool calls",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_response_without_a_value_raises_by_its_reason(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    body: dict[str, Any],
    cls: type[OutputError],
    match: str,
    *,
    stream: bool,
) -> None:
    server.reply(body)

    with pytest.raises(cls, match=match) as caught:
        await request_invoice(client, stream=stream)

    assert type(caught.value) is cls
    assert caught.value.response.id == body["id"]


async def test_refusal_is_an_attribute_and_not_in_the_message(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(completion("", refusal="I will not."))

    with pytest.raises(OutputRefusedError) as caught:
        await client.chat.send(messages=MESSAGES, output=Invoice)

    assert caught.value.refusal == "I will not."
    assert "I will not" not in str(caught.value)


async def test_type_without_a_schema_is_rejected_before_sending(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    with pytest.raises(TypeError, match="bytes"):
        await client.chat.send(messages=MESSAGES, output=bytes)
    with pytest.raises(TypeError, match="bytes"):
        await client.chat.run_tools(messages=MESSAGES, output=bytes)

    assert len(server.requests) == 0


async def test_error_status_raises_its_usual_class(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(status=400)

    with pytest.raises(BadRequestError):
        await client.chat.send(messages=MESSAGES, output=Invoice)


# --- streams -----------------------------------------------------------------------


async def test_partials_grow_to_the_whole_value(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(Reply(["```json\n", *VALID, "\n```"]))

    async with client.chat.send(
        messages=MESSAGES, output=Invoice, stream=True
    ) as stream:
        found = [partial async for partial in stream.partials()]

    assert found[0] == {}
    assert found[-1] == json.loads(VALID)
    assert all(first != second for first, second in pairwise(found))
    prices = [line.get("price") for part in found for line in part.get("lines", [])]
    assert {price for price in prices if price is not None} == {1, 2.5}
    assert stream.output == INVOICE


async def test_partials_of_a_wrapped_value_have_no_wrapper(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(Reply(list('{"value": ["one", "two"]}')))

    stream = await client.chat.send(messages=MESSAGES, output=list[str], stream=True)
    await anext(stream)
    found = [partial async for partial in stream.partials()]

    assert found[0] == []
    assert found[-1] == stream.output == ["one", "two"]
    assert ["one", "t"] in found


@pytest.mark.parametrize("stream", [False, True])
async def test_object_is_accepted_without_its_wrapper(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    text = '{"price": 2.5}'
    server.reply(Reply(list(text)))
    send: Any = client.chat.send

    sent = await send(messages=MESSAGES, output=Line | list[int], stream=stream)
    found = [partial async for partial in sent.partials()] if stream else []

    assert sent.output == Line(2.5)
    assert found[-1:] == [json.loads(text)] * stream


async def test_text_without_json_has_no_partials_and_no_output(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(Reply(["Sor", "ry ", "[no]", " and {"]))

    async with client.chat.send(
        messages=MESSAGES, output=Invoice, stream=True
    ) as stream:
        assert [partial async for partial in stream.partials()] == []
        with pytest.raises(OutputValidationError):
            _ = stream.output


async def test_long_text_is_not_parsed_for_every_chunk(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Beyond 32 KiB a partial comes after 1 % more text; the last one is whole."""
    pieces = ["[", *['"abcdefg", '] * 5000, '"end"]']
    server.reply(Reply(pieces))

    async with client.chat.send(
        messages=MESSAGES, output=list[str], stream=True
    ) as stream:
        found = [len(partial) async for partial in stream.partials()]

    assert found[-1] == len(stream.output) == 5001
    assert len(found) < 4500


async def test_only_partials_need_jiter(
    server: LocalOpenRouter, client: AsyncOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply(VALID)

    async with client.chat.send(
        messages=MESSAGES, output=Invoice, stream=True
    ) as stream:
        monkeypatch.setitem(sys.modules, "jiter", None)
        with pytest.raises(ConfigurationError, match=r"openrouter_async\[output\]"):
            await anext(stream.partials())
        await stream.collect()

    assert stream.output == INVOICE


async def test_output_is_available_when_the_stream_has_ended(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(VALID)

    async with client.chat.send(
        messages=MESSAGES, output=Invoice, stream=True
    ) as stream:
        with pytest.raises(ConfigurationError):
            _ = stream.output
        assert (await stream.collect()).output == INVOICE
        assert stream.output is stream.output


async def test_interrupted_stream_has_no_output(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(Reply(VALID, stop="end", stop_after=3))

    with pytest.raises(StreamInterruptedError):
        async with client.chat.send(
            messages=MESSAGES, output=Invoice, stream=True
        ) as stream:
            await stream.collect()
