"""
The responses and requests of the benchmarks, identical in every run.

This module is not run directly; `tests/project/test_benchmarks.py` checks the claims
made here. The JSON has the shape of OpenRouter traffic recorded in 2026. It does not
represent the mix of real traffic, in which chunks with reasoning details or images are
larger.
"""

import base64
import json
import random
import string
from collections.abc import Sequence
from typing import Any

SEED = 20261101
KIB = 1024
MIB = 1024 * KIB

GENERATION = "gen-1792317422-u5FhVQ7pZq2J0mJmB3kS"
CREATED = 1792317422
MODEL = "anthropic/claude-4.5-haiku-20251001"
PROVIDER = "Amazon Bedrock"

COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"

# Length of an event, including "data: " and the empty line.
EVENT_BYTES = range(320, 341)

QUESTION = "Tell me, in your own words, what a benchmark cannot show."

USAGE: dict[str, Any] = {
    "prompt_tokens": 15,
    "completion_tokens": 998,
    "total_tokens": 1013,
    "cost": 0.005005,
    "is_byok": False,
    "prompt_tokens_details": {
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "audio_tokens": 0,
        "video_tokens": 0,
    },
    "cost_details": {
        "upstream_inference_cost": 0.005005,
        "upstream_inference_prompt_cost": 0.000015,
        "upstream_inference_completions_cost": 0.00499,
    },
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "image_tokens": 0,
        "audio_tokens": 0,
    },
}


def compact(value: Any) -> bytes:
    """Encode JSON without spaces, as OpenRouter sends it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def event(chunk: Any) -> bytes:
    """Return a server-sent event with `chunk` as its data."""
    return b"data: " + compact(chunk) + b"\n\n"


def chunk(
    delta: dict[str, Any],
    finish_reason: str | None = None,
    native_finish_reason: str | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Return a chunk with the keys of OpenRouter, in the same order."""
    choice = {
        "index": 0,
        "delta": delta,
        "finish_reason": finish_reason,
        "native_finish_reason": native_finish_reason,
    }
    return {
        "id": GENERATION,
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": MODEL,
        "provider": PROVIDER,
        "choices": [choice],
        **extra,
    }


def filler(random_: random.Random, length: int) -> str:
    """Return random text of `length` characters, with a space before each word."""
    text = ""
    while len(text) < length:
        letters = random_.choices(string.ascii_lowercase, k=random_.randint(2, 9))
        text += " " + "".join(letters)
    return text[:length].rstrip().ljust(length, ".")


def text_events(count: int) -> list[bytes]:
    """Return `count` events with a few words each, 320 to 340 bytes long."""
    random_ = random.Random(SEED)
    bare = len(event(chunk({"content": "", "role": "assistant"})))
    return [
        event(
            chunk(
                {
                    "content": filler(random_, random_.choice(EVENT_BYTES) - bare),
                    "role": "assistant",
                }
            )
        )
        for _ in range(count)
    ]


def last_events(reason: str = "stop", native: str = "end_turn") -> list[bytes]:
    """Return the last two events: the finish reason, without and with usage."""
    delta = {"content": "", "role": "assistant"}
    return [
        event(chunk(delta, reason, native)),
        event(chunk(delta, reason, native, service_tier=None, usage=USAGE)),
    ]


def text_stream(chunks: int) -> list[bytes]:
    """Return the events of a stream of `chunks` chunks, without `[DONE]`."""
    return [*text_events(chunks - 2), *last_events()]


def fold_stream(chunks: int) -> list[bytes]:
    """
    Return a stream of `chunks` chunks: 10 % reasoning, 10 % tool calls, 80 % text.

    Its response has text, reasoning, reasoning details with a signature, and the
    arguments of 8 tool calls.
    """
    random_ = random.Random(SEED)
    tenth = chunks // 10
    events = [_reasoning(filler(random_, 12)) for _ in range(tenth - 1)]
    events.append(_signature(random_))
    events += text_events(chunks - 2 * tenth - 2)
    per_tool = tenth // 8
    for index in range(8):
        events += _tool_call(index, per_tool)
    events += [_arguments(7, "")] * (tenth - 8 * per_tool)
    return [*events, *last_events("tool_calls", "tool_use")]


def _reasoning(text: str) -> bytes:
    detail = {
        "type": "reasoning.text",
        "text": text,
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    return event(
        chunk(
            {
                "content": "",
                "role": "assistant",
                "reasoning": text,
                "reasoning_details": [detail],
            }
        )
    )


def _signature(random_: random.Random) -> bytes:
    detail = {
        "type": "reasoning.text",
        "signature": base64.b64encode(random_.randbytes(240)).decode(),
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    return event(
        chunk({"content": "", "role": "assistant", "reasoning_details": [detail]})
    )


def _tool_call(index: int, fragments: int) -> list[bytes]:
    """Return a tool call in `fragments` chunks; its arguments are valid JSON."""
    opening = {
        "index": index,
        "id": f"toolu_bdrk_{index:024d}",
        "type": "function",
        "function": {"name": "look_up", "arguments": ""},
    }
    first = {"content": None, "role": "assistant", "tool_calls": [opening]}
    return [
        event(chunk(first)),
        _arguments(index, '{"keys": ["k0"'),
        *(_arguments(index, f', "k{n}"') for n in range(1, fragments - 2)),
        _arguments(index, "]}"),
    ]


def _arguments(index: int, text: str) -> bytes:
    call = {"index": index, "function": {"arguments": text}}
    return event(chunk({"content": None, "role": "assistant", "tool_calls": [call]}))


def giant_event(size: int) -> bytes:
    """Return one event of exactly `size` bytes: an image in a data URL."""

    def build(picture: str) -> bytes:
        url = {"url": "data:image/png;base64," + picture}
        image = {"type": "image_url", "image_url": url, "index": 0}
        return event(chunk({"content": "", "role": "assistant", "images": [image]}))

    remaining = size - len(build(""))
    random_ = random.Random(SEED)
    # The same 48 KiB are repeated; the cost of reading does not depend on the content.
    piece = base64.b64encode(random_.randbytes(48 * KIB)).decode()
    return build((piece * (remaining // len(piece) + 1))[:remaining])


def giant_stream(size: int) -> bytes:
    """Return a complete stream with one event of `size` bytes."""
    parts = [COMMENT, giant_event(size), *last_events(), DONE]
    return b"".join(parts)


def completion() -> bytes:
    """Return a completion of exactly 1 KiB."""

    def build(content: str) -> bytes:
        message = {
            "role": "assistant",
            "content": content,
            "refusal": None,
            "reasoning": None,
        }
        choice = {
            "logprobs": None,
            "finish_reason": "stop",
            "native_finish_reason": "end_turn",
            "index": 0,
            "message": message,
        }
        return compact(
            {
                "id": GENERATION,
                "object": "chat.completion",
                "created": CREATED,
                "model": MODEL,
                "provider": PROVIDER,
                "system_fingerprint": None,
                "service_tier": None,
                "choices": [choice],
                "usage": USAGE,
            }
        )

    remaining = KIB - len(build(""))
    return build(filler(random.Random(SEED), remaining))


def completion_text() -> str:
    """Return the text in `completion()`."""
    text: str = json.loads(completion())["choices"][0]["message"]["content"]
    return text


# Contenders build their request of 50 messages from these plain values. None of them
# has a prepared form: each converts the values to its own classes, and those to JSON.
SYSTEM = filler(random.Random(SEED), 2 * KIB)
PICTURE = "https://example.com/pictures/42.png"
LIKED_PROVIDERS = ("anthropic", "amazon-bedrock", "google-vertex")
TURNS = 49


def turns() -> list[tuple[str, str, str]]:
    """Return the 49 turns after the system message: (kind, text, tool call id)."""
    random_ = random.Random(SEED)
    kinds = ("user", "call", "tool", "assistant")
    return [
        (
            kinds[number % 4],
            filler(random_, random_.randint(80, 600)),
            f"toolu_bdrk_{number // 4:024d}",
        )
        for number in range(TURNS)
    ]


def tool_parameters(number: int) -> dict[str, Any]:
    """Return the JSON Schema of tool `number`, as a plain dict."""
    return {
        "type": "object",
        "properties": {
            "key": {"type": "string", "description": f"Key of table {number}"},
            "limit": {"type": "integer", "minimum": 1, "maximum": 100},
        },
        "required": ["key"],
        "additionalProperties": False,
    }


TOOL_PARAMETERS = [tool_parameters(number) for number in range(8)]


def arguments(text: str) -> str:
    """Return the arguments of the tool call in a turn, as JSON text."""
    return '{"key": "' + text[1:20] + '", "limit": 10}'


def text_length(events: Sequence[bytes]) -> int:
    """Return the length of the content of all `events`."""
    total = 0
    for one in events:
        for choice in json.loads(one[len(b"data: ") :])["choices"]:
            total += len(choice["delta"]["content"] or "")
    return total


def fold_lengths(events: Sequence[bytes]) -> tuple[int, int, int]:
    """Return the lengths of content, reasoning and arguments of all `events`."""
    reasoning = called = 0
    for one in events:
        for choice in json.loads(one[len(b"data: ") :])["choices"]:
            delta = choice["delta"]
            reasoning += len(delta.get("reasoning") or "")
            for call in delta.get("tool_calls") or ():
                called += len(call["function"]["arguments"])
    return text_length(events), reasoning, called
