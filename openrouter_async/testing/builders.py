"""Completions and chunks as OpenRouter writes them, as plain dicts."""

import json
import math
import random
import string
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from .catalogue import DEFAULT_MODEL, provider_of, tokens
from .catalogue import usage as bill
from .reply import UsageForm
from .seen_requests import a_list, an_object

# A stream of more chunks than this tells a test nothing new, but takes its time.
_MOST_PIECES = 2000
_ALPHABET = string.ascii_letters + string.digits
_NATIVE = {"stop": "stop", "tool_calls": "tool_calls", "length": "max_tokens"}


def generation_id(chance: random.Random | None = None) -> str:
    """Make an id of OpenRouter's form, `gen-<unix time>-<20 letters and digits>`."""
    pick = (chance or random).choices
    return f"gen-{int(time.time())}-{''.join(pick(_ALPHABET, k=20))}"


def tool_call(
    name: str,
    arguments: Mapping[str, Any] | str = "{}",
    *,
    id: str | None = None,  # noqa: A002 - the wire's name
    index: int = 0,
) -> dict[str, Any]:
    """
    Make a tool call for `completion()`.

    Args:
        name: Of the function.
        arguments: A mapping, or JSON text that is sent as it is, broken or not.
        id: Made of the name and index unless given.
        index: Its place among the calls of the message, from 0.
    """
    text = arguments if isinstance(arguments, str) else json.dumps(dict(arguments))
    return {
        "type": "function",
        "index": index,
        "id": f"call_{name}_{index}" if id is None else id,
        "function": {"name": name, "arguments": text},
    }


def completion(
    text: str | None = "",
    *,
    tool_calls: Sequence[Mapping[str, Any]] = (),
    reasoning: str | None = None,
    reasoning_details: Sequence[Mapping[str, Any]] | None = None,
    refusal: str | None = None,
    finish_reason: str | None = None,
    native_finish_reason: str | None = None,
    model: str = DEFAULT_MODEL,
    provider: str | None = None,
    id: str | None = None,  # noqa: A002 - the wire's name
    created: int | None = None,
    usage: Mapping[str, Any] | None = None,
    prompt_tokens: int = 12,
    message: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """
    Make the body of a plain reply.

    Args:
        text: The content. With tool calls, "" becomes null, as it mostly does.
        tool_calls: As `tool_call()` makes them; their `index` is set in order.
        reasoning: Comes in `reasoning_details` too, unless those are given.
        reasoning_details: As they are to be on the wire.
        refusal: Beside the content.
        finish_reason: "tool_calls" where there are any, else "stop".
        native_finish_reason: The provider's own word; OpenRouter's unless given.
        model: The model that answered.
        provider: The model's own provider unless given.
        id: A fresh one unless given.
        created: Unix seconds; now, unless given.
        usage: Counted from the text unless given.
        prompt_tokens: For that count.
        message: Members added to the message: `annotations`, `images`, `audio`.
        more: Members added at the top: `service_tier`, `error`.
    """
    calls = [{**call, "index": index} for index, call in enumerate(tool_calls)]
    finish = finish_reason or ("tool_calls" if calls else "stop")
    said: dict[str, Any] = {
        "role": "assistant",
        "content": None if calls and text == "" else text,
        "refusal": refusal,
        "reasoning": reasoning,
    }
    if reasoning_details is not None:
        said["reasoning_details"] = list(reasoning_details)
    elif reasoning is not None:
        said["reasoning_details"] = [_reasoning_detail(reasoning, model)]
    if calls:
        said["tool_calls"] = calls
    thought = len(tokens(reasoning or ""))
    written = (text or "") + "".join(_arguments(call) for call in calls)
    count = len(tokens(written)) + thought
    return {
        "id": id or generation_id(),
        "object": "chat.completion",
        "created": int(time.time()) if created is None else created,
        "model": model,
        "provider": provider or provider_of(model),
        "system_fingerprint": None,
        "service_tier": None,
        "choices": [
            {
                "index": 0,
                "logprobs": None,
                "finish_reason": finish,
                "native_finish_reason": native_finish_reason or _NATIVE.get(finish),
                "message": {**said, **(message or {})},
            }
        ],
        "usage": bill(model, prompt_tokens, count, thought) if usage is None else usage,
        **more,
    }


def _arguments(call: Mapping[str, Any]) -> str:
    return str(call.get("function", {}).get("arguments") or "")


def _reasoning_detail(text: str, model: str) -> dict[str, Any]:
    detail = {"type": "reasoning.text", "text": text, "index": 0}
    if model.startswith("anthropic/"):
        return {**detail, "signature": "c2lnbmVk", "format": "anthropic-claude-v1"}
    return {**detail, "format": "unknown"}


def chunks(
    answer: str | Sequence[str] | Mapping[str, Any],
    *,
    pieces: Sequence[str] | None = None,
    usage: UsageForm = "repeated",
    finish: bool = True,
) -> list[dict[str, Any]]:
    """
    Make the chunks of a stream, without `[DONE]`.

    Args:
        answer: A text, cut at about a token a chunk; a list of texts, a chunk each;
            or a plain reply's body.
        pieces: The deltas of that body's content, where it matters how it is cut.
        usage: Where the usage comes; `Reply.usage` tells the forms.
        finish: Whether the finishing chunks come.
    """
    if isinstance(answer, str):
        answer = completion(answer)
    elif not isinstance(answer, Mapping):
        pieces = list(answer)
        answer = completion("".join(pieces))
    body = answer
    head = head_of(body)
    made = [
        {**head, "choices": [_choice(index, delta, **rest)]}
        for index, choice in _choices(body)
        for delta, rest in _deltas(choice, pieces)
    ]
    if finish:
        made += _endings(head, body, usage)
    return made


def head_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Take what every chunk of a reply begins with."""
    return {
        "id": body.get("id"),
        "object": "chat.completion.chunk",
        "created": body.get("created"),
        "model": body.get("model"),
        "provider": body.get("provider"),
    }


def _choices(body: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    listed = cast("list[Mapping[str, Any]]", body.get("choices") or [])
    return [(choice.get("index", place), choice) for place, choice in enumerate(listed)]


def _choice(index: int, delta: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
    return {
        "index": index,
        "delta": delta,
        "finish_reason": None,
        "native_finish_reason": None,
        **rest,
    }


def _deltas(
    choice: Mapping[str, Any], pieces: Sequence[str] | None
) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    """Cut a message into deltas, in the order in which providers send the parts."""
    message = cast("Mapping[str, Any]", choice.get("message") or {})
    for note in message.get("annotations") or ():
        yield _delta(annotations=[note]), {}
    for fields in _thoughts(message):
        yield _delta(**fields), {}
    content = message.get("content")
    parts = _cut(content if isinstance(content, str) else "")
    parts = list(pieces) if pieces is not None else parts
    odds = a_list(an_object(choice.get("logprobs")).get("content"))
    for place, part in enumerate(parts):
        share = list(odds[place : place + 1]) if len(odds) == len(parts) else []
        rest = {"logprobs": {"content": share, "refusal": None}} if share else {}
        yield _delta(content=part), rest
    for part in _cut(message.get("refusal") or ""):
        yield _delta(refusal=part), {}
    for call in message.get("tool_calls") or ():
        for fragment in _fragments(call):
            yield _delta(content=None, tool_calls=[fragment]), {}
    for kind in ("images", "audio"):
        if message.get(kind):
            yield _delta(**{kind: message[kind]}), {}


def _delta(content: str | None = "", **fields: Any) -> dict[str, Any]:
    # The role is on every chunk, not only on the first (protocol, Oct 2026).
    return {"content": content, "role": "assistant", **fields}


def _thoughts(message: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Cut reasoning: its text piece by piece, a signature behind, the rest whole."""
    details = cast("list[dict[str, Any]]", message.get("reasoning_details") or [])
    if not details and message.get("reasoning"):
        yield from ({"reasoning": part} for part in _cut(message["reasoning"]))
    for detail in details:
        key = {"reasoning.text": "text", "reasoning.summary": "summary"}.get(
            detail.get("type", "")
        )
        text = detail.get(key) if key is not None else None
        if key is None or not isinstance(text, str):
            yield {"reasoning": None, "reasoning_details": [detail]}
            continue
        rest = {k: v for k, v in detail.items() if k not in (key, "signature")}
        for part in _cut(text):
            yield {"reasoning": part, "reasoning_details": [{**rest, key: part}]}
        if "signature" in detail:
            signed = {**rest, "signature": detail["signature"]}
            yield {"reasoning": None, "reasoning_details": [signed]}


def _fragments(call: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Cut a tool call: its name, an empty fragment, then its arguments."""
    index = call.get("index", 0)
    function = cast("Mapping[str, Any]", call.get("function") or {})
    yield {
        "index": index,
        "id": call.get("id"),
        "type": call.get("type", "function"),
        "function": {"name": function.get("name"), "arguments": ""},
    }
    for part in ("", *_cut(_arguments(call))):
        yield {"index": index, "function": {"arguments": part}}


def _cut(text: str) -> list[str]:
    parts = tokens(text)
    step = math.ceil(len(parts) / _MOST_PIECES) or 1
    return ["".join(parts[at : at + step]) for at in range(0, len(parts), step)]


def _endings(
    head: Mapping[str, Any], body: Mapping[str, Any], usage: UsageForm
) -> list[dict[str, Any]]:
    def closing(*, finished: bool) -> list[dict[str, Any]]:
        return [
            _choice(
                index,
                _delta(),
                finish_reason=choice.get("finish_reason") if finished else None,
                native_finish_reason=(
                    choice.get("native_finish_reason") if finished else None
                ),
            )
            for index, choice in _choices(body)
        ]

    last: dict[str, Any] = {**head, "choices": closing(finished=True)}
    if usage == "none" or "usage" not in body:
        return [last]
    paid: dict[str, Any] = {"usage": body["usage"]}
    if usage == "with_finish":
        return [{**last, **paid}]
    if usage == "repeated":
        tier = {"service_tier": body.get("service_tier")}
        return [last, {**head, **tier, "choices": last["choices"], **paid}]
    left = [] if usage == "no_choices" else closing(finished=False)
    return [last, {**head, "choices": left, **paid}]
