"""Accumulator: chunks become the response that a plain call would have returned."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from accumulated import Json, accumulate, body, choice, delta

from openrouter_async.protocol.accumulator.accumulator import has_token
from openrouter_async.sse import SSEDecoder
from openrouter_async.types import (
    ChatResponse,
    ChatStreamingResponseChunk,
    Delta,
    OutputAudio,
    OutputImage,
    ReasoningDetail,
    StreamingChoice,
    ToolCall,
)

# --- The top level. ---


def test_first_value_of_repeated_keys_is_kept() -> None:
    """An empty string is kept only if no other value follows."""
    result = body(
        [
            {
                "id": "",
                "model": None,
                "created": 5,
                "service_tier": None,
                "choices": [],
            },
            {"id": "gen-1", "model": "", "created": 6, "provider": "A", "choices": []},
            {"id": "gen-2", "model": "m", "service_tier": "flex", "choices": []},
            {
                "system_fingerprint": "",
                "service_tier": None,
                "provider": "B",
                "choices": [],
            },
        ]
    )

    assert result == {
        "id": "gen-1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "provider": "A",
        "system_fingerprint": "",
        "service_tier": "flex",
        "choices": [],
    }
    assert list(result)[:5] == ["id", "object", "created", "model", "provider"]


def test_last_value_of_other_keys_is_kept() -> None:
    """Null does not replace a value."""
    result = body(
        [
            {"usage": {"cost": 1}, "error": None, "debug": {"a": 1}},
            {"usage": {"cost": 2}, "error": {"code": 502}, "new": [1]},
            {"usage": None, "debug": {"b": 2}, "new": None, "other": None},
        ]
    )

    assert result["usage"] == {"cost": 2}
    assert result["error"] == {"code": 502}
    assert result["debug"] == {"b": 2}
    assert result["new"] == [1]
    assert result["other"] is None


# --- Choices. ---

FINISHES: dict[str, tuple[list[Json], str | None, Any]] = {
    "repeated": ([{"finish_reason": "stop"}, {"finish_reason": "stop"}], "stop", None),
    "null later": ([{"finish_reason": "stop"}, {"finish_reason": None}], "stop", None),
    "first wins": ([{"finish_reason": "length"}, {"finish_reason": "stop"}], "length", None),
    "error wins": (
        [
            {"finish_reason": "length", "native_finish_reason": "max"},
            {"finish_reason": "error", "native_finish_reason": "MALFORMED"},
        ],
        "error",
        "MALFORMED",
    ),
    "error without a reason": (
        [
            {"finish_reason": "length", "native_finish_reason": "max"},
            {"finish_reason": "error", "native_finish_reason": None},
        ],
        "error",
        "max",
    ),
    "native first wins": (
        [{"native_finish_reason": "a"}, {"native_finish_reason": "b"}, {"native_finish_reason": None}],
        None,
        "a",
    ),
    "empty is ignored": ([{"finish_reason": ""}, {"finish_reason": "stop"}], "stop", None),
    "not a string": ([{"finish_reason": 7}], None, None),
    "never": ([{}], None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", FINISHES)
def test_first_finish_reason_is_kept_unless_an_error_follows(name: str) -> None:
    parts, finish, native = FINISHES[name]
    result = accumulate({"choices": [{"index": 0, **part}]} for part in parts)
    found = result.build()["choices"][0]

    assert found["finish_reason"] == finish
    assert found.get("native_finish_reason") == native


def test_chunks_that_resemble_plain_text_are_read_completely() -> None:
    """The fast path may be used for chunks that contain nothing else."""
    plain = {"index": 0, "finish_reason": None, "native_finish_reason": None}
    text_delta = {"role": "assistant", "content": "a"}
    choices: list[Json] = [
        {**plain, "delta": text_delta},
        {**plain, "delta": text_delta},
        {**plain, "delta": {"role": "assistant", "refusal": "no"}},
        {**plain, "delta": {"content": "b", "refusal": "!"}},
        {**plain, "delta": {"role": "assistant", "content": None}},
        {"index": 0, "finish_reason": None, "error": {"code": 1}, "delta": text_delta},
        {**plain, "delta": None},
        {**plain, "finish_reason": "stop", "delta": text_delta},
    ]

    assert choice({"choices": [part]} for part in choices) == {
        "index": 0,
        "finish_reason": "stop",
        "native_finish_reason": None,
        "message": {"role": "assistant", "content": "aabaa", "refusal": "no!"},
        "error": {"code": 1},
    }


def test_choices_are_identified_by_index_or_position() -> None:
    result = body(
        [
            {"choices": [{"index": 2, "delta": {"content": "c"}}]},
            {
                "choices": [
                    {"index": 0, "delta": {"content": "a"}},
                    {"delta": {"content": "b"}},
                ]
            },
            {"choices": [{"index": 2, "delta": {"content": "C"}}, None, 7]},
        ]
    )

    assert [
        (part["index"], part["message"]["content"]) for part in result["choices"]
    ] == [
        (0, "a"),
        (1, "b"),
        (2, "cC"),
    ]


def test_complete_message_in_a_chunk_is_used_unless_deltas_came() -> None:
    whole = {"role": "assistant", "content": "hi"}

    assert choice([{"choices": [{"message": whole}]}])["message"] == whole
    later = {"choices": [{"message": {**whole, "content": "Hi.", "name": "Ann"}}]}
    assert choice([delta(content="hi"), later])["message"] == {**whole, "name": "Ann"}


def test_logprobs_are_concatenated() -> None:
    parts: list[Any] = [
        None,
        {"content": None, "refusal": None},
        {"content": [1], "odd": "x"},
        {"content": [2], "refusal": [3], "odd": None},
        None,
        {"content": None},
        "garbage",
    ]
    found = choice({"choices": [{"index": 0, "logprobs": part}]} for part in parts)

    assert found["logprobs"] == {"content": [1, 2], "refusal": [3], "odd": "x"}


# --- First token and response. ---

DELTAS: list[tuple[Delta, bool]] = [
    (Delta(), False),
    (Delta(role="assistant", content="", reasoning="", refusal=""), False),
    (Delta(content=" "), True),
    (Delta(reasoning="a"), True),
    (Delta(refusal="no"), True),
    (Delta(reasoning_details=[ReasoningDetail()]), True),
    (Delta(tool_calls=[ToolCall()]), True),
    (Delta(images=[OutputImage()]), True),
    (Delta(audio=OutputAudio(id="a", data="")), False),
    (Delta(audio=OutputAudio(data="QQ==")), True),
    (Delta(audio=OutputAudio(transcript="a")), True),
]


@pytest.mark.parametrize(("tested_delta", "expected"), DELTAS)
def test_has_token_is_true_for_output_of_the_model_only(
    tested_delta: Delta, expected: bool
) -> None:
    empty = StreamingChoice()
    tested = StreamingChoice(delta=tested_delta)

    assert has_token(ChatStreamingResponseChunk(choices=[empty, tested])) is expected
    assert not has_token(ChatStreamingResponseChunk())


def test_response_is_decoded_like_a_plain_one() -> None:
    response = accumulate(
        [delta(role="assistant", content="hel"), delta("stop", content="lo")]
    ).response()

    assert isinstance(response, ChatResponse)
    assert response.text == "hello"
    assert response.raw["object"] == "chat.completion"


# --- Recordings. ---


def recordings() -> list[Any]:
    folder = os.environ.get("OPENROUTER_WIRE")
    if not folder:
        skip = pytest.mark.skip("OPENROUTER_WIRE does not name a folder of recordings")
        return [pytest.param(None, marks=skip)]
    paths = sorted(Path(folder).rglob("stream_*.sse"))
    return [pytest.param(path, id=path.stem) for path in paths]


@pytest.mark.parametrize("path", recordings())
def test_recorded_stream_is_accumulated_completely(path: Path) -> None:
    recorded = path.read_bytes()
    if b"\n\n" not in recorded:
        recorded = recorded.replace(b"\n", b"\n\n")
    events = SSEDecoder().feed(recorded)
    chunks = [json.loads(event.data) for event in events if event.data.startswith("{")]
    found = accumulate(chunks).response()

    deltas = [part["delta"] for raw in chunks for part in raw["choices"]]
    content = "".join(part.get("content") or "" for part in deltas)
    reasoning = "".join(part.get("reasoning") or "" for part in deltas)
    lists: list[list[Json]] = [part.get("tool_calls") or [] for part in deltas]
    calls = [call["id"] for calls in lists for call in calls if "id" in call]
    usages = [raw["usage"] for raw in chunks if raw.get("usage")]
    assert found.text == content
    assert (found.reasoning or "") == reasoning
    assert found.raw.get("usage") == (usages[-1] if usages else None)
    assert [call.id for call in found.tool_calls] == calls
    for call in found.tool_calls:
        json.loads(call.function.arguments)
    if reasoning:
        details = "".join(
            item.get("text", "")
            for item in found.raw["choices"][0]["message"]["reasoning_details"]
        )
        assert details == reasoning
