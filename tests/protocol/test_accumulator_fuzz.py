"""Random responses and random JSON, split into chunks and accumulated."""

import json
from itertools import pairwise
from random import Random
from typing import Any

from accumulated import Json, body, chunk, delta
from hypothesis import given
from hypothesis import strategies as st

from openrouter_async.protocol.accumulator.accumulator import Accumulator

# --- Responses split_response at random. ---

texts = st.text(max_size=12)
nonempty = st.text(min_size=1, max_size=12)
scalars = st.none() | st.booleans() | st.integers() | texts
anything = st.recursive(
    scalars | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=8,
)


def optional(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=members)


tokens = st.lists(
    st.fixed_dictionaries({"token": texts, "logprob": st.floats(-9, 0)}), max_size=4
)
logprobs = st.none() | st.fixed_dictionaries(
    {"content": st.none() | tokens, "refusal": st.none() | tokens}
)
documents = st.dictionaries(texts, scalars, max_size=3).map(json.dumps)


@st.composite
def calls(draw: st.DrawFn) -> list[Json]:
    count = draw(st.integers(1, 3))
    return [
        {
            "index": number,
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": draw(nonempty), "arguments": draw(documents)},
            **draw(
                optional(extra_content=st.dictionaries(nonempty, scalars, min_size=1))
            ),
        }
        for number in range(count)
    ]


@st.composite
def details(draw: st.DrawFn) -> list[Json]:
    kinds = {
        "reasoning.text": {"text": nonempty, "signature": nonempty},
        "reasoning.summary": {"summary": nonempty},
        "reasoning.encrypted": {"data": nonempty},
        "reasoning.new": {"payload": nonempty},
    }
    items: list[Json] = []
    for index in range(draw(st.integers(0, 3))):
        for kind in draw(
            st.lists(st.sampled_from(sorted(kinds)), unique=True, max_size=3)
        ):
            payload = {name: draw(values) for name, values in kinds[kind].items()}
            item = {"type": kind, **payload, "format": draw(st.none() | nonempty)}
            items.append({**item, "index": index, **draw(optional(id=nonempty))})
    return items


def distinct(values: list[Any]) -> list[Any]:
    """Return the values without repetitions, which a stream has once."""
    return [each for n, each in enumerate(values) if each not in values[:n]]


@st.composite
def messages(draw: st.DrawFn) -> Json:
    result: Json = {"role": "assistant", "content": draw(texts)}
    result |= draw(
        optional(
            refusal=nonempty,
            reasoning=nonempty,
            tool_calls=calls(),
            reasoning_details=details(),
        )
    )
    result |= draw(
        optional(
            annotations=st.lists(
                st.fixed_dictionaries(
                    {"type": st.just("url_citation"), "url_citation": anything}
                ),
                min_size=1,
                max_size=3,
            ).map(distinct),
            images=st.integers(1, 3).map(
                lambda count: [
                    {"type": "image_url", "image_url": {"url": f"data:{n}"}, "index": n}
                    for n in range(count)
                ]
            ),
            audio=st.fixed_dictionaries(
                {
                    "id": nonempty,
                    "data": st.just("QUJDREVGR0g="),
                    "transcript": nonempty,
                }
            ),
            vendor_thing=anything,
        )
    )
    if result["content"] == "" and "tool_calls" in result:
        result["content"] = None
    return result


@st.composite
def responses(draw: st.DrawFn) -> Json:
    choices = [
        {
            "index": index,
            **draw(optional(logprobs=logprobs)),
            "finish_reason": draw(
                st.sampled_from(["stop", "length", "tool_calls", "error", None])
            ),
            "native_finish_reason": draw(st.none() | nonempty),
            "message": draw(messages()),
            **draw(optional(error=anything)),
        }
        for index in range(draw(st.integers(0, 3)))
    ]
    return {
        "id": "gen-1-x",
        "object": "chat.completion",
        "created": 1,
        "model": draw(nonempty),
        "provider": draw(nonempty),
        **draw(optional(system_fingerprint=nonempty, service_tier=nonempty)),
        "choices": choices,
        **draw(optional(usage=anything, openrouter_metadata=anything, error=anything)),
    }


def split_text(text: str, rng: Random) -> list[str]:
    bounds = [
        0,
        *sorted(rng.choices(range(len(text) + 1), k=rng.randint(0, 3))),
        len(text),
    ]
    return [text[a:b] for a, b in pairwise(bounds)]


def split_calls(items: list[Json], rng: Random) -> list[Json]:
    deltas: list[Json] = []
    for item in items:
        head, *rest = split_text(item["function"]["arguments"], rng)
        first = {**item, "function": {**item["function"], "arguments": head}}
        deltas.append({"tool_calls": [first]})
        deltas += [
            {"tool_calls": [{"index": item["index"], "function": {"arguments": part}}]}
            for part in rest
        ]
    return deltas


def split_details(items: list[Json], rng: Random) -> list[Json]:
    deltas: list[Json] = [{"reasoning_details": []}]
    for item in items:
        (field,) = {"text", "summary", "data", "payload"} & item.keys()
        parts = (
            split_text(item[field], rng)
            if field in ("text", "summary")
            else [item[field]]
        )
        start = {key: value for key, value in item.items() if key != "signature"}
        more = [
            {"type": item["type"], "index": item["index"], field: part}
            for part in parts[1:]
        ]
        fragments = [{**start, field: parts[0]}, *more]
        if "signature" in item:
            signed = {"type": item["type"], "index": item["index"]}
            fragments.append({**signed, "signature": item["signature"]})
        deltas += [{"reasoning_details": [fragment]} for fragment in fragments]
    return deltas


def split_message(whole: Json, rng: Random) -> list[Json]:
    """Split a message into deltas, with its members interleaved at random."""
    queues: list[list[Json]] = []
    for key, value in whole.items():
        if key in ("content", "refusal", "reasoning") and value:
            queues.append([{key: part} for part in split_text(value, rng)])
        elif key == "tool_calls":
            queues.append(split_calls(value, rng))
        elif key == "reasoning_details":
            queues.append(split_details(value, rng))
        elif key in ("annotations", "images"):
            queues.append([{key: [item]} for item in value])
        elif key == "audio":
            transcripts = [
                {key: {"transcript": part}}
                for part in split_text(value["transcript"], rng)
            ]
            data = [{key: {"data": part}} for part in split_text(value["data"], rng)]
            queues.append([{key: {"id": value["id"]}}, *transcripts, *data])
        elif key != "role":
            queues.append([{key: value}])
    deltas: list[Json] = []
    while queues:
        queue = rng.choice(queues)
        deltas.append({"role": "assistant", **queue.pop(0)})
        queues = [queue for queue in queues if queue]
    return deltas


def split_choice(whole: Json, rng: Random) -> list[Json]:
    """Split a choice as servers do: deltas first, the finish reason twice."""
    known = ("index", "message", "finish_reason", "native_finish_reason", "logprobs")
    rest = {key: value for key, value in whole.items() if key not in known}
    quiet = {"finish_reason": None, "native_finish_reason": None}
    deltas = split_message(whole["message"], rng)
    parts: list[Json] = [{"delta": part, **quiet} for part in deltas]
    if "logprobs" in whole:
        parts.append({"delta": {}, "logprobs": None})
        lists: dict[str, list[Any] | None] = whole["logprobs"] or {}
        for key, values in lists.items():
            items = values or []
            parts.append({"logprobs": {key: None if values is None else []}})
            parts += [{"delta": {}, "logprobs": {key: [item]}} for item in items]
    end = {key: whole[key] for key in ("finish_reason", "native_finish_reason")}
    parts += [
        {"delta": {"content": ""}, **end},
        {"delta": {"content": ""}, **end, **rest},
    ]
    parts.append({"delta": {}, **quiet})
    return [{"index": whole["index"], **part} for part in parts]


def split_response(whole: Json, rng: Random) -> list[Json]:
    """Split a plain response into the chunks of a stream."""
    early = ("id", "created", "model", "provider")
    head = {key: whole[key] for key in early} | {"object": "chat.completion.chunk"}
    rest = {
        key: whole[key] for key in whole if key not in (*early, "object", "choices")
    }
    queues: list[list[Json]] = [split_choice(part, rng) for part in whole["choices"]]
    chunks: list[Json] = []
    while queues:
        queue = rng.choice(queues)
        chunks.append({**head, "choices": [queue.pop(0)]})
        queues = [queue for queue in queues if queue]
    position = rng.randint(0, len(chunks))
    return [*chunks[:position], {**head, "choices": [], **rest}, *chunks[position:]]


@given(responses(), st.integers())
def test_response_split_into_chunks_is_restored(whole: Json, seed: int) -> None:
    chunks = split_response(whole, Random(seed))
    before = json.dumps(chunks)

    assert body(chunks) == whole
    assert json.dumps(chunks) == before


@given(responses(), st.integers())
def test_building_a_response_does_not_change_the_accumulator(
    whole: Json, seed: int
) -> None:
    result = Accumulator()
    built: list[tuple[Json, str]] = []
    chunks = split_response(whole, Random(seed))
    for raw in chunks:
        result.add(chunk(raw))
        partial = result.build()
        built.append((partial, json.dumps(partial)))
        copy = result.build()
        modify(copy)

    assert [text for _, text in built] == [json.dumps(m) for m, _ in built]
    assert result.build(ended=True) == body(chunks)


def modify(value: Any) -> None:
    """Modify every list and object in a value."""
    if isinstance(value, dict):
        for member in list(value.values()):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            modify(member)
        value["modified"] = True
    elif isinstance(value, list):
        for member in list(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            modify(member)
        value.append("modified")  # pyright: ignore[reportUnknownMemberType]


# --- Random JSON. ---

KEYS = [
    "id", "choices", "index", "delta", "message", "finish_reason", "native_finish_reason",
    "logprobs", "content", "role", "reasoning", "reasoning_details", "tool_calls", "function",
    "name", "arguments", "type", "text", "data", "signature", "annotations", "images", "audio",
    "transcript", "function_call", "usage", "error", "tool_call_id",
]  # fmt: skip
garbage = st.recursive(
    scalars | st.floats() | st.sampled_from(["stop", "error", "{}", "{", "="]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    ),
    max_leaves=15,
)
garbled_choices = st.fixed_dictionaries(
    {},
    optional={
        "index": garbage,
        "delta": st.dictionaries(st.sampled_from(KEYS), garbage),
    },
)
garbled = st.dictionaries(st.sampled_from(KEYS), garbage) | st.fixed_dictionaries(
    {"choices": st.lists(garbled_choices | garbage, max_size=3)},
    optional={"id": garbage},
)


@given(st.lists(garbled, max_size=5))
def test_random_json_accumulates_to_json(chunks: list[Json]) -> None:
    result = body(chunks)

    json.dumps(result)
    assert result["object"] == "chat.completion"
    assert [type(part["message"]) for part in result["choices"]] == [dict] * len(
        result["choices"]
    )


def test_deeply_nested_json_is_accumulated() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    call = {"index": 0, "function": {"name": "f", "arguments": deep}}
    text = {"index": 1, "function": {"name": "g", "arguments": "[" * 100_000 + " "}}
    result = body([delta("tool_calls", tool_calls=[call, text]), {"debug": deep}])

    first, second = result["choices"][0]["message"]["tool_calls"]
    assert first["function"] == {"name": "f", "arguments": "{}"}
    assert second["function"]["arguments"] == "[" * 100_000 + " "
    assert result["debug"] is not deep


def test_without_chunks_the_response_has_no_choices() -> None:
    assert Accumulator().build() == {"object": "chat.completion", "choices": []}
