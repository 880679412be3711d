"""The tool loop: turns, requests, limits, and messages that are sent back."""

import json
from typing import Any

import pytest
from attrs import define
from tool_runs import (
    MESSAGES,
    TOOLS,
    add,
    both,
    calls,
    finish,
    sent_messages,
    sent_results,
)

from openrouter_async import (
    AsyncOpenRouter,
    BadRequestError,
    ChatGenerationParams,
    ConfigurationError,
    FunctionTool,
    MaxTurnsError,
    OutputValidationError,
    ParsedResponse,
    ToolCallTruncatedError,
    ToolRunError,
    UserMessage,
    tool,
)
from openrouter_async.testing import LocalOpenRouter, completion


@both
async def test_run_sends_results_until_the_final_response(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    server.reply(calls(("add", {"a": 1, "b": 2}), ("shout", {"word": "hey"}))).then(
        "3!"
    )

    run = await finish(
        client.chat.run_tools(messages=MESSAGES, tools=TOOLS, model="m", stream=stream)
    )

    sent = sent_messages(server)
    assert run.response.text == "3!"
    assert [each["role"] for each in sent] == ["user", "assistant", "tool", "tool"]
    assert sent_results(server) == ["3", "HEY"]
    assert [each["tool_call_id"] for each in sent[2:]] == ["call_add_0", "call_shout_1"]
    assert [len(request.json["tools"]) for request in server.requests] == [3, 3]
    assert len(run.messages) == 5
    assert run.messages[-1] == run.response.message
    assert [turn.finish_reason for turn in run.turns] == ["tool_calls", "stop"]
    assert {str(result.content) for result in run.results} == {"3", "HEY"}
    assert run.cost == pytest.approx(sum(turn.usage.cost or 0 for turn in run.turns))
    assert "2 turns" in repr(run)


@define
class Sum:
    """The output type of a run."""

    total: int


async def test_local_server_calls_tools_and_fills_the_output_type(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    messages = [UserMessage("Please add, and shout.")]

    run = await client.chat.run_tools(messages=messages, tools=TOOLS, output=Sum)

    assert isinstance(run.response, ParsedResponse)
    assert run.response.output == Sum(1)
    assert [result.error for result in run.results] == [None, None]
    assert server.requests[0].json["response_format"]["type"] == "json_schema"
    assert server.requests[0].json["provider"] == {"require_parameters": True}


@both
async def test_invalid_output_raises_and_keeps_the_conversation(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    server.reply(calls(("add", {"a": 1}))).then("not a number")
    run = client.chat.run_tools(
        messages=MESSAGES, tools=TOOLS, output=int, stream=stream
    )

    with pytest.raises(OutputValidationError) as caught:
        await finish(run)

    assert caught.value.response.text == "not a number"
    assert len(run.messages) == 4
    with pytest.raises(ConfigurationError, match="no final response"):
        _ = run.response


async def test_failed_request_keeps_the_conversation(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply(calls(("add", {"a": 1}))).then(status=400)
    run = client.chat.run_tools(messages=MESSAGES, tools=TOOLS)

    with pytest.raises(BadRequestError):
        await run

    assert len(run.messages) == 3
    assert len(run.turns) == 1
    server.reply("ok")
    second = await client.chat.run_tools(messages=run.messages, tools=TOOLS)
    assert second.response.text == "ok"


async def test_request_is_a_class_or_a_mapping_with_keywords(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    params = ChatGenerationParams(model="m", messages=MESSAGES, tools=[add])
    server.reply(calls(("add", {"a": 1}))).then("one")
    first = await client.chat.run_tools(params, temperature=0.5, api_key=server.api_key)
    server.reply(calls(("add", {"a": 1}))).then("two")
    second = await client.chat.run_tools({"messages": MESSAGES, "tools": [add]})

    temperatures = [request.json.get("temperature") for request in server.requests]
    assert (first.response.text, second.response.text) == ("one", "two")
    assert temperatures == [0.5, 0.5, None, None]
    assert [UserMessage("hi")] == MESSAGES


async def test_forced_call_is_forced_in_the_first_turn_only(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    forced = {"type": "function", "function": {"name": "add"}}
    for choice in (forced, "required", "none", None):
        server.reply(calls(("add", {"a": 1}))).then("ok")
        await client.chat.run_tools(messages=MESSAGES, tools=TOOLS, tool_choice=choice)

    sent = [request.json.get("tool_choice") for request in server.requests]
    assert sent == [forced, "auto", "required", "auto", "none", "none", None, None]


async def test_server_tools_are_passed_on(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    server.reply("ok")

    await client.chat.run_tools(
        messages=MESSAGES, tools=[add, {"type": "openrouter:web_search"}]
    )

    assert server.requests[0].json["tools"][1] == {"type": "openrouter:web_search"}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "no function"),
        ({"tools": [FunctionTool({"name": "f"})]}, "no function"),
        ({"tools": [len]}, "Decorate it with @tool"),
        ({"tools": [add, add]}, "Two tools are named 'add'"),
        ({"max_turns": 0}, "max_turns=0"),
        ({"max_parallel_tools": 0}, "max_parallel_tools=0"),
        ({"messages": []}, "nothing to send"),
    ],
)
async def test_invalid_option_is_rejected_before_sending(
    server: LocalOpenRouter, client: AsyncOpenRouter, options: Any, match: str
) -> None:
    arguments: dict[str, Any] = {"messages": MESSAGES, **options}

    with pytest.raises(ConfigurationError, match=match):
        await client.chat.run_tools(**arguments)

    assert len(server.requests) == 0


async def test_messages_that_are_not_a_list_are_rejected(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    with pytest.raises(TypeError, match="type str"):
        await client.chat.run_tools(messages="hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert len(server.requests) == 0


# --- limits ------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("reason", "message", "hint"),
    [
        ("length", "at the token limit", "Raise max_completion_tokens."),
        ("content_filter", "by a content filter", None),
    ],
)
async def test_call_that_was_cut_off_is_not_executed(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    reason: str,
    message: str,
    hint: str | None,
    *,
    stream: bool,
) -> None:
    """Its arguments may be valid JSON by chance."""
    executed: list[int] = []

    @tool
    def count(a: int) -> None:
        executed.append(a)

    server.reply(calls(("count", {"a": 1}))).then(
        calls(("count", {"a": 22}), finish_reason=reason)
    )
    run = client.chat.run_tools(messages=MESSAGES, tools=[count], stream=stream)

    with pytest.raises(ToolCallTruncatedError) as caught:
        await finish(run)

    assert executed == [1]
    assert caught.value.message.startswith(f"A tool call was cut off {message};")
    assert caught.value.hint == hint
    assert caught.value.response.finish_reason == reason
    assert len(caught.value.messages) == len(run.messages) == 3
    assert len(run.turns) == 2


async def test_calls_of_the_last_turn_are_not_executed(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    call = calls(("add", {"a": 1}))
    server.reply(call).then(call).then(call)

    with pytest.raises(MaxTurnsError, match="max_turns=3") as caught:
        await client.chat.run_tools(messages=MESSAGES, tools=TOOLS, max_turns=3)

    error = caught.value
    assert len(server.requests) == 3
    assert len(error.messages) == 5
    assert error.response.tool_calls
    server.reply("done")
    run = await client.chat.run_tools(messages=error.messages, tools=TOOLS)
    assert run.response.text == "done"


# --- messages that are sent back ---------------------------------------------------


async def test_assistant_message_is_sent_back_unchanged(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    details = [{"type": "reasoning.encrypted", "data": "X", "id": "r", "odd": [None]}]
    body = calls(("add", {"a": 1}), reasoning_details=details)
    message = body["choices"][0]["message"]
    message["tool_calls"][0]["extra_content"] = {"g": "s"}
    server.reply(body).then("ok")

    await client.chat.run_tools(messages=MESSAGES, tools=TOOLS)

    assert sent_messages(server)[1] == message


async def test_missing_and_repeated_call_ids_are_replaced(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Every result refers to exactly one call, across all turns."""
    first = calls(("add", {"a": 1}), ("add", {"a": 2}), ("add", '"{\\"a\\": 3}"'))
    for call, call_id in zip(
        first["choices"][0]["message"]["tool_calls"], ["x", "x", None], strict=True
    ):
        call["id"] = call_id
    second = calls(("add", {"a": 4}))
    second["choices"][0]["message"]["tool_calls"][0]["id"] = "x"
    third = completion(tool_calls=[{"id": "y", "function": {"name": "fail"}}])
    server.reply(first).then(second).then(third).then("ok")

    await client.chat.run_tools(messages=MESSAGES, tools=TOOLS)

    sent = sent_messages(server)
    sent_calls = [call for each in sent for call in each.get("tool_calls", ())]
    call_ids = [call["id"] for call in sent_calls]
    assert [m["tool_call_id"] for m in sent if m["role"] == "tool"] == call_ids
    assert len(set(call_ids)) == 5
    assert [json.loads(call["function"]["arguments"]) for call in sent_calls] == [
        *({"a": number} for number in (1, 2, 3, 4)),
        {},
    ]
    assert sent_results(server)[:4] == ["1", "2", "3", "4"]


async def test_valid_arguments_are_sent_back_digit_by_digit(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """Control characters are escaped, because providers reject them."""
    number = "680564733841876926926749214863536422912.10"
    received = [
        f'{{"word": "a\tb", "more": {number}}}',
        f'"{{\\"word\\": \\"a\\", \\"more\\": {number}}}"',
    ]
    server.reply(calls(*(("shout", each) for each in received))).then("ok")

    await client.chat.run_tools(messages=MESSAGES, tools=TOOLS)

    sent = [
        call["function"]["arguments"] for call in sent_messages(server)[1]["tool_calls"]
    ]
    assert sent == [
        f'{{"word": "a\\u0009b", "more": {number}}}',
        f'{{"word": "a", "more": {number}}}',
    ]


@both
async def test_id_that_is_a_number_is_sent_back_as_its_digits(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    body = calls(("add", {"a": 1}))
    body["choices"][0]["message"]["tool_calls"][0]["id"] = 3001
    server.reply(body).then("ok")

    run = await finish(
        client.chat.run_tools(messages=MESSAGES, tools=TOOLS, stream=stream)
    )

    sent = sent_messages(server)
    assert (
        sent[1]["tool_calls"][0]["id"]
        == sent[2]["tool_call_id"]
        == run.results[0].call.id
    )
    assert stream or sent[2]["tool_call_id"] == "3001"


@pytest.mark.parametrize("blank", [{}, {"id": "b"}, {"function": {"arguments": " "}}])
@both
async def test_blank_call_is_not_sent_back(
    server: LocalOpenRouter, client: AsyncOpenRouter, blank: Any, *, stream: bool
) -> None:
    body = calls(("add", {"a": 1}))
    body["choices"][0]["message"]["tool_calls"].append({**blank, "index": 1})
    last = completion("ok", tool_calls=[blank])
    server.reply(body).then(last)

    run = await finish(
        client.chat.run_tools(messages=MESSAGES, tools=TOOLS, stream=stream)
    )

    assert run.response.text == "ok"
    assert len(run.results) == 1
    (call,) = sent_messages(server)[1]["tool_calls"]
    assert call["function"]["name"] == "add"
    server.reply("fine")
    await client.chat.send(messages=[*run.messages, UserMessage("Go on.")])
    assert "tool_calls" not in sent_messages(server)[-2]


@both
async def test_call_with_arguments_and_no_name_ends_the_run(
    server: LocalOpenRouter, client: AsyncOpenRouter, *, stream: bool
) -> None:
    """Its arguments may be those of the other call, which has none."""
    body = calls(("add", ""), ("add", {"a": 1}))
    body["choices"][0]["message"]["tool_calls"][1]["function"]["name"] = ""
    body["choices"][0]["message"]["tool_calls"][1]["id"] = "other"
    server.reply(body)
    run = client.chat.run_tools(messages=MESSAGES, tools=TOOLS, stream=stream)

    with pytest.raises(ToolRunError, match="arguments and no name") as caught:
        await finish(run)

    assert len(caught.value.response.tool_calls) == 2
    assert (run.results, run.messages) == ([], MESSAGES)
