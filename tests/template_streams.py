"""
Streams for the tests of templates: invented ones, and what a reader gets of them.

A stream is read twice, with and without templates, and both readers must get the same.
"""

# Random JSON has no types, and templates are seen in private slots only.
# pyright: reportPrivateUsage=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import asyncio
import copy
import json
import pickle
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, Final

import attrs

from openrouter_async import ChatResponse, OpenRouterError
from openrouter_async.protocol.event_buffer import EventBuffer
from openrouter_async.protocol.stream_state import StreamState
from openrouter_async.protocol.templates import TemplateLearner
from openrouter_async.stream import ChatStream
from openrouter_async.types import ChatStreamingResponseChunk, Exchange
from openrouter_async.types.lazy import Deferred

END: Final = b"\n\n"


class Pieces:
    """An event stream whose reads return given bytes, without a connection."""

    ended = False
    failure = None

    def __init__(self, pieces: Sequence[bytes], limit_bytes: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.buffer = EventBuffer(limit_bytes)
        self._pieces = list(pieces[::-1])

    async def read(self) -> bool:
        """Feed pieces until an event is complete."""
        while self._pieces:
            if self.buffer.feed(self._pieces.pop()):
                return True
        return self.buffer.end()

    async def finish(self) -> None:
        """End the stream after its last event."""
        self.ended = True

    def end(self, error: BaseException | None) -> None:  # noqa: ARG002 - as declared
        """End the stream."""
        self.ended = True

    close = end


@contextmanager
def templates(*, enabled: bool) -> Generator[None]:
    """Switch templates on or off."""
    before = TemplateLearner.enabled
    TemplateLearner.enabled = enabled
    try:
        yield
    finally:
        TemplateLearner.enabled = before


def open_pieces(
    pieces: Sequence[bytes], limit_bytes: int = 10**6
) -> tuple[ChatStream, StreamState, EventBuffer]:
    """Return a stream that reads these pieces, its state and its buffer."""
    state = StreamState(Exchange(), wall_time=lambda: 0.0)
    source: Any = Pieces(pieces, limit_bytes)
    return ChatStream(source, state), state, source.buffer


def shown(response: ChatResponse | None) -> str | None:
    """Return the JSON of a response, with the order of its keys."""
    return None if response is None else json.dumps(response.raw)


def snapshot(chunk: ChatStreamingResponseChunk, order: Random) -> list[Any]:
    """Return everything that a caller can see of a chunk, looked at in any order."""
    views: list[Callable[[], Any]] = [
        lambda: chunk.text,
        lambda: chunk.reasoning,
        lambda: repr(chunk),
        lambda: json.dumps(chunk.raw),
        lambda: repr(chunk.choices),
        lambda: repr(attrs.asdict(chunk)),
        lambda: repr(pickle.loads(pickle.dumps(chunk))),
        lambda: repr(copy.copy(chunk)),
        lambda: json.dumps(copy.deepcopy(chunk).raw),
        lambda: repr(attrs.evolve(chunk, id="another")),
        lambda: chunk == copy.deepcopy(chunk),
        lambda: [_has_parts_of_raw(chunk)],
    ]
    found: list[Any] = [None] * len(views)
    for number in order.sample(range(len(views)), order.randint(1, len(views))):
        found[number] = views[number]()
    return found


def _has_parts_of_raw(chunk: ChatStreamingResponseChunk) -> list[bool]:
    """Return if details and calls have the objects that `raw` has."""
    found: list[bool] = []
    for choice, raw in zip(chunk.choices, chunk.raw.get("choices") or (), strict=False):
        received: Any = raw
        delta = (received.get("delta") or {}) if received.__class__ is dict else {}
        pairs: list[tuple[Sequence[Any], str]] = [
            (choice.delta.reasoning_details, "reasoning_details"),
            (choice.delta.tool_calls, "tool_calls"),
        ]
        for shapes, key in pairs:
            if isinstance(delta, dict) and isinstance(delta.get(key), list):
                found += [
                    shape.raw is received
                    for shape, received in zip(shapes, delta[key], strict=False)
                ]
    return found


def change(chunk: ChatStreamingResponseChunk, random: Random) -> None:
    """Change a chunk as its receiver may; other chunks must not change."""
    changes: list[Callable[[], Any]] = [
        lambda: setattr(chunk, "id", "changed"),
        lambda: setattr(chunk, "choices", []),
        lambda: chunk.raw.update(changed=1),
        lambda: chunk.raw.pop("id", None),
        lambda: chunk.safeguard_results.append({}),
        lambda: chunk.choices.append(chunk.choices[0]) if chunk.choices else None,
    ]
    if chunk.choices:
        choice = chunk.choices[0]
        changes += [
            lambda: setattr(choice.delta, "content", "changed"),
            lambda: setattr(choice, "index", 7),
            lambda: choice.delta.images.append({}),
            choice.delta.annotations.clear,
            lambda: choice.delta.tool_calls.append(None),  # type: ignore[arg-type]
            choice.delta.reasoning_details.clear,
        ]
    random.choice(changes)()


async def outcome(
    pieces: Sequence[bytes], seed: int, *, limit_bytes: int = 10**6
) -> list[Any]:
    """Return everything that a reader gets of a stream, the same way for each seed."""
    random = Random(seed)
    stream, state, _ = open_pieces(pieces, limit_bytes)
    counted: list[int] = []
    if random.random() < 0.2:
        stream._on_chunk = lambda: counted.append(1)
    how = random.choice(["iterate", "iterate", "available", "collect", "leave"])
    stop = random.randint(0, 30)
    found: list[Any] = []
    number = 0
    try:
        while chunks := await _read(stream, how, number >= stop):
            number += len(chunks)
            for chunk in chunks:
                found += _look_at(chunk, random)
            if random.random() < 0.3:
                found.append(shown(stream.partial))
            if how == "leave" and number >= stop:
                await stream.aclose()
    except OpenRouterError as error:
        found += [type(error), str(error), shown(error.partial)]
    else:
        found.append(shown(stream.response))
    found += [shown(stream.partial), state.finished, state.token_seen, len(counted)]
    if not stream._event_stream.ended:
        await stream.aclose()
    return found


def _look_at(chunk: ChatStreamingResponseChunk, random: Random) -> list[Any]:
    found: list[Any] = [(chunk.text, chunk.reasoning)]
    if random.random() < 0.2:
        found = [snapshot(chunk, random)]
    if random.random() < 0.2:
        change(chunk, random)
        found.append((chunk.text, chunk.reasoning, repr(chunk)))
    return found


async def _read(
    stream: ChatStream, how: str, late: bool
) -> list[ChatStreamingResponseChunk]:
    if how == "available":
        return await stream.read_available()
    if how == "collect" and late:
        await stream.collect()
        return []
    try:
        return [await anext(stream)]
    except StopAsyncIteration:
        return []


# --- Invented streams. ---

TEXTS: Final = (
    *("a", " word", "0", "1", "", "\\", '"', '","', '",["x', 'z"],"w', 'a","b', "c\\"),
    *("x\\\\", ',"z', "\n", "\x00", "\t", "\x7f", "\u00a0", "\u3000", "\u2028", "é"),
    *(
        "😀",
        "👩\u200d🚀",
        "\ufeff",
        "\ud83d",
        "\ude00",
        "\ud83d\ude00",
        "data: ",
        "\n\n",
    ),
    *('{"a": 1}', "{", "}", "[DONE]", '"content":"x"', "content", "text", "a" * 300),
)
BAD_BODIES: Final = (b"\xff", b"\xe2\x82", b'"', b"\\", b"\n", b"\r", b"\\x", b"\\u12")


class Invention:
    """Writes the events of one invented stream."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.ascii = random.random() < 0.3
        self.separators = random.choice([(",", ":"), (", ", ": "), (" , ", " : ")])
        self.shuffle = random.random() < 0.5
        # No template is learnt from some streams.
        odd = random.random() < 0.2
        self.top: dict[str, Any] = {
            "id": "gen-1",
            "object": "chat.completion.chunk",
            "created": random.choice([1, 1.0, 2**70, "1", None]),
            "model": "m",
            "provider": random.choice(["p", None, 5]),
        }
        for key, value in self._extras(
            ("system_fingerprint", "f"),
            ("service_tier", None),
            ("usage", None),
            ("error", None),
            ("user_id", "u"),
            ("unknown", {"content": "x", "n": [1, 2.5, 2**70]}),
            ("safeguard_results", []),
            ("debug", {"echo_upstream_body": {}} if odd else None),
        ):
            self.top[key] = value
        self.choice: dict[str, Any] = dict(
            self._extras(
                ("finish_reason", None),
                ("native_finish_reason", None),
                ("logprobs", {"content": []} if odd else None),
                ("error", None),
                chance=0.6,
            )
        )
        self.delta: dict[str, Any] = dict(
            self._extras(
                ("role", "assistant"),
                ("refusal", random.choice([None, ""])),
                ("annotations", []),
                ("audio", None),
                ("reasoning_content", random.choice([None, ""])),
                ("unknown", random.choice([0, {}] if odd else [None, []])),
            )
        )
        self.empty = random.choice([None, "", "absent"])
        self.padding = odd and random.random() < 0.5
        self.order = random.sample(range(40), 40)

    def _extras(
        self, *members: tuple[str, Any], chance: float = 0.25
    ) -> list[tuple[str, Any]]:
        return [member for member in members if self.random.random() < chance]

    def text(self) -> str:
        """Return a text."""
        return "".join(self.random.choices(TEXTS, k=self.random.randint(0, 2)))

    def event(self, delta: dict[str, Any], **choice: Any) -> bytes:
        """Return the data of a chunk with this delta."""
        members = {**self.delta, **delta}
        if self.empty != "absent" and "content" not in members:
            members["content"] = self.empty
        whole = {"index": 0, "delta": members, **self.choice, **choice}
        value = {**self.top, "choices": [whole]}
        if self.padding:
            value["padding"] = self.random.random()
        return self.encode(value)

    def encode(self, value: Any) -> bytes:
        """Return JSON in the style of this stream."""
        text = json.dumps(
            self.ordered(value) if self.shuffle else value,
            ensure_ascii=self.ascii,
            separators=self.separators,
        )
        # A half of a character has to be escaped.
        return "".join(
            f"\\u{ord(letter):04x}" if "\ud800" <= letter <= "\udfff" else letter
            for letter in text
        ).encode()

    def ordered(self, value: Any) -> Any:
        """Return a value with the members of objects in the order of this stream."""
        if isinstance(value, list):
            return [self.ordered(each) for each in value]
        if not isinstance(value, dict):
            return value
        keys = sorted(value, key=lambda key: self.order[sum(map(ord, key)) % 40])
        return {key: self.ordered(value[key]) for key in keys}

    # The kinds of chunks, each with the text that it is given.

    def content(self, text: str) -> bytes:
        """Return content."""
        return self.event({"content": text})

    def reasoning(self, text: str) -> bytes:
        """Return reasoning."""
        return self.event({"reasoning": text})

    def detail(self, text: str) -> bytes:
        """Return reasoning with its detail."""
        detail = {
            "type": "reasoning.text",
            "text": text,
            "format": "unknown",
            "index": 0,
        }
        return self.event({"reasoning": text, "reasoning_details": [detail]})

    def summary(self, text: str) -> bytes:
        """Return reasoning with a summary."""
        detail = {
            "type": "reasoning.summary",
            "summary": text,
            "format": None,
            "index": 0,
        }
        return self.event({"reasoning": text, "reasoning_details": [detail]})

    def arguments(self, text: str) -> bytes:
        """Return arguments of the call with index 0."""
        call = {"index": 0, "function": {"arguments": text}}
        return self.event({"tool_calls": [call]})

    def other_arguments(self, text: str) -> bytes:
        """Return arguments of the call with index 1, with its type."""
        call = {"index": 1, "type": "function", "function": {"arguments": text}}
        return self.event({"tool_calls": [call]})

    def second_choice(self, text: str) -> bytes:
        """Return content of another choice."""
        return self.event({"content": text}, index=1)

    def rare(self) -> bytes:
        """Return a chunk that no template is learnt from."""
        text = self.text()
        kinds: list[Callable[[], bytes]] = [
            lambda: self.event({"content": text}, message={"content": text}),
            lambda: self.event({}, text=text),
            lambda: self.event({"content": [{"type": "text", "text": text}]}),
            lambda: self.event({"content": text}, usage={"cost": 1}),
            lambda: self.encode({**self.top, "choices": [], "usage": {"cost": 1}}),
            lambda: self.encode({**self.top, "choices": []}),
            lambda: self._call(self.random.choice([0, 1]), self.text()),
            lambda: self.event({"content": text, "reasoning": text}),
            lambda: self.event({"reasoning": text, "reasoning_content": text}),
            lambda: self.event({"content": text}, finish_reason="stop"),
            lambda: self.event({"content": text}, logprobs={"content": [text]}),
            lambda: self._detail(signature="s"),
            lambda: self._detail(index=1),
            lambda: self._detail(type="reasoning.encrypted", data=text),
            lambda: self.event({"tool_calls": [{"index": 0}, {"index": 1}]}),
            lambda: self.event({"refusal": text}),
            lambda: b" ",
        ]
        if self.random.random() < 0.05:
            failure = b'{"error": {"code": 429, "message": "slow"}}'
            return self.random.choice([failure, b"[1]", b"no JSON"])
        return self.random.choice(kinds)()

    def _call(self, index: int, arguments: str) -> bytes:
        function = {"name": self.random.choice("fg"), "arguments": arguments}
        call = {
            "index": index,
            "id": self.random.choice(["c1", "c2"]),
            "type": "function",
            "function": function,
        }
        return self.event({"tool_calls": [call]})

    def _detail(self, **members: Any) -> bytes:
        detail = {"type": "reasoning.text", "text": "", "format": "unknown", "index": 0}
        return self.event({"reasoning_details": [{**detail, **members}]})

    def spoilt(self, data: bytes) -> bytes:
        """Return data with a repeated key, or with bytes that are not allowed."""
        if self.random.random() < 0.5:
            at = data.rfind(b'"')
            return data[:at] + self.random.choice(BAD_BODIES) + data[at:]
        for key in (b'"content"', b'"reasoning"', b'"arguments"', b'"index"'):
            if key in data:
                more = self.random.choice([b'"t"', b"null", b"0", b'"a"'])
                return data.replace(key, key + b":" + more + b"," + key, 1)
        return data


def framed(data: bytes, random: Random) -> bytes:
    """Return an event, mostly with the usual framing."""
    if random.random() < 0.98:
        return b"data: " + data + END
    return random.choice(
        [
            b"data:" + data + END,
            b"data: " + data + b"\r\n\r\n",
            b": comment\n\ndata: " + data + END,
            b"data: " + data + b"\n: comment\n\n",
            b"event: message\ndata: " + data + END,
            b"event: other\ndata: " + data + END,
            b"id: 1\ndata: " + data + END,
            b"retry: 5\ndata: " + data + END,
            b"data: " + data.replace(b",", b",\ndata: ", 1) + END,
            b"data: " + data + b"\n\n\n",
            data + END,
            b"data: " + data + b"\n",
            b"data: " + END + b"data: " + data + END,
        ]
    )


def invent(random: Random) -> bytes:
    """Return an invented stream."""
    invention = Invention(random)
    kinds = [
        invention.content,
        invention.reasoning,
        invention.detail,
        invention.summary,
        invention.arguments,
        invention.other_arguments,
        invention.second_choice,
    ]
    stream = random.choice([b"", b"", b": OPENROUTER PROCESSING\n\n", b"\xef\xbb\xbf"])
    if random.random() < 0.4:
        stream += framed(invention._call(0, ""), random)
    clean = random.random() < 0.5
    for _ in range(random.randint(1, 6)):
        kind = random.choice(kinds)
        plain = random.random() < 0.5
        for _ in range(random.choice([1, 3, 8, 20, 40])):
            data = kind(random.choice("abc") if plain else invention.text())
            if not clean and random.random() < 0.01:
                data = invention.spoilt(data)
            stream += b"data: " + data + END if clean else framed(data, random)
        if random.random() < 0.6:
            stream += framed(invention.rare(), random)
    if random.random() < 0.7:
        stream += framed(invention.event({}, finish_reason="stop"), random)
    if random.random() < 0.7:
        stream += b"data: [DONE]\n\n"
    elif random.random() < 0.5:
        stream = stream[: random.randint(0, len(stream))]
    return stream


def split(stream: bytes, random: Random) -> list[bytes]:
    """Return the pieces of a stream, as a network may deliver it."""
    how = random.choice(["whole", "events", "some events", "size", "anywhere"])
    if how == "whole":
        return [stream]
    if how == "events":
        return [part + END for part in stream.split(END)]
    if how == "some events":
        parts = [part + END for part in stream.split(END)]
        count = random.randint(2, 30)
        return [b"".join(parts[at : at + count]) for at in range(0, len(parts), count)]
    if how == "size":
        size = random.choice([1, 7, 100, 350, 1000, 4000])
        return [stream[at : at + size] for at in range(0, len(stream), size)]
    cuts = sorted(random.randint(0, len(stream)) for _ in range(random.randint(1, 40)))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def piece(delta: dict[str, Any], **members: Any) -> bytes:
    """Return an event as OpenRouter sends it: a delta, null for both finish reasons."""
    choice = {
        "index": 0,
        "delta": delta,
        "finish_reason": None,
        "native_finish_reason": None,
        **members.pop("choice", {}),
    }
    value = {
        "id": "gen-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "provider": "p",
        "choices": [choice],
        **members,
    }
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + END


def content(text: str, **members: Any) -> bytes:
    """Return an event with content."""
    return piece({"content": text, "role": "assistant"}, **members)


def reasoning(text: str, detail: str | None = None, **more: Any) -> bytes:
    """Return an event with reasoning and its detail."""
    details = [
        {
            "type": "reasoning.text",
            "text": text if detail is None else detail,
            "format": "unknown",
            "index": 0,
            **more,
        }
    ]
    return piece({"content": "", "reasoning": text, "reasoning_details": details})


def arguments(text: str, index: int = 0) -> bytes:
    """Return an event with a fragment of the arguments of a call."""
    call = {"index": index, "function": {"arguments": text}}
    return piece({"content": None, "tool_calls": [call]})


def call(name: str, ident: str, index: int = 0) -> bytes:
    """Return an event with the beginning of a call."""
    function = {"name": name, "arguments": ""}
    begun = {"index": index, "id": ident, "type": "function", "function": function}
    return piece({"content": None, "tool_calls": [begun]})


FINISH: Final = piece({"content": ""}, choice={"finish_reason": "stop"})
DONE: Final = b"data: [DONE]\n\n"


def is_lazy(chunk: ChatStreamingResponseChunk) -> bool:
    """Return True if a chunk was created from a template, and not read yet."""
    return isinstance(chunk._raw, Deferred)


async def read_lazily(*pieces: bytes) -> tuple[ChatStream, list[bool]]:
    """Return a stream read to its end, and for each chunk if it is of a template."""
    stream, _, _ = open_pieces(pieces)
    return stream, [is_lazy(chunk) async for chunk in stream]


async def assert_same(*pieces: bytes) -> None:
    """Check that a stream is read the same without templates, in any order."""
    for seed in range(8):
        with templates(enabled=False):
            expected = await outcome(pieces, seed)
        with templates(enabled=True):
            assert await outcome(pieces, seed) == expected
