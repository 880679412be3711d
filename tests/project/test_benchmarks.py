"""The inputs of the benchmarks are what the benchmarks say they are."""

import json
import sys
from pathlib import Path

import pytest

# `benchmarks` is no part of what is installed; plain `pytest` must find it as well.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import inputs, server
from benchmarks.handwritten import Hand


def test_the_inputs_are_the_same_in_every_run() -> None:
    """Whoever makes them again gets the same bytes."""
    assert inputs.text_stream(50) == inputs.text_stream(50)
    assert inputs.fold_stream(200) == inputs.fold_stream(200)
    assert inputs.reply() == inputs.reply()
    assert inputs.turns() == inputs.turns()


def test_a_text_event_is_as_long_as_on_the_wire() -> None:
    """Every event that brings text is 320 to 340 bytes long."""
    events = inputs.text_events(1000)

    assert len(events) == 1000
    assert {len(event) for event in events} == set(range(320, 341))


def test_a_chunk_has_the_keys_of_2026() -> None:
    """Keys and their order are those of recorded traffic."""
    chunk = json.loads(inputs.text_events(1)[0].removeprefix(b"data: "))

    assert list(chunk) == [
        "id",
        "object",
        "created",
        "model",
        "provider",
        "choices",
    ]
    assert list(chunk["choices"][0]) == [
        "index",
        "delta",
        "finish_reason",
        "native_finish_reason",
    ]
    assert chunk["choices"][0]["delta"].keys() == {"role", "content"}


def test_a_stream_ends_with_its_finish_and_its_usage() -> None:
    """The last two of its chunks are the finish, once bare and once with usage."""
    events = inputs.text_stream(1000)
    *_, text, finish, usage = (json.loads(event[6:]) for event in events)

    assert len(events) == 1000
    assert text["choices"][0]["finish_reason"] is None
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"]["total_tokens"] == 1013


def test_the_stream_to_fold_has_text_reasoning_and_tools() -> None:
    """What it comes to is whole: a signed reasoning and eight calls with valid JSON."""
    events = inputs.fold_stream(1000)
    signatures = 0
    arguments: dict[int, str] = {}
    for event in events:
        delta = json.loads(event[6:])["choices"][0]["delta"]
        for detail in delta.get("reasoning_details", []):
            signatures += "signature" in detail
        for call in delta.get("tool_calls", []):
            index = call["index"]
            arguments[index] = arguments.get(index, "") + call["function"]["arguments"]

    assert len(events) == 1000
    assert signatures == 1
    assert [len(json.loads(text)["keys"]) for text in arguments.values()] == [10] * 8
    assert all(length > 0 for length in inputs.fold_lengths(events))


def test_sizes_are_exact() -> None:
    """The giant event and the reply are as large as they are called."""
    assert len(inputs.giant_event(inputs.MIB)) == inputs.MIB
    assert len(inputs.reply()) == inputs.KIB
    assert len(inputs.reply_text()) > 100


def test_the_request_has_fifty_messages() -> None:
    """With parts, tool calls and their results, tools and routing."""
    body = json.loads(Hand.encoder()())

    roles = [message["role"] for message in body["messages"]]
    assert len(roles) == 50
    assert set(roles) == {"system", "user", "assistant", "tool"}
    assert len(body["tools"]) == 8
    assert body["provider"]["allow_fallbacks"] is False


@pytest.mark.parametrize(
    "scenario", ["reply", "text-100-20-1000", "fold-100", "giant-4096-1024-60", "hold"]
)
def test_what_the_server_writes_is_well_framed(scenario: str) -> None:
    """Headers, then a chunked body that ends with the last of it."""
    plan = server.plan(scenario)
    sent = b"".join(plan.writes) + plan.held
    head, _, rest = sent.partition(b"\r\n\r\n")
    body = b""
    length = -1
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]

    assert length == 0
    assert b"Transfer-Encoding: chunked" in head
    assert json.loads(body) if scenario == "reply" else body.endswith(inputs.DONE)


def test_twenty_events_go_out_by_one_write() -> None:
    """The number in the scenario is the number of events in each write."""
    plan = server.plan("text-100-20-1000")

    assert [write.count(b"\ndata: {") for write in plan.writes] == [20] * 5
    assert plan.pause_us == 1000
