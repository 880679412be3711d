"""Completions and chunks in OpenRouter's format, as plain dicts."""

import json
import math
import random
import string
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..protocol.decode import as_object
from .catalogue import DEFAULT_MODEL, provider_of, split_tokens, usage_body
from .reply import UsageForm
from .seen_requests import as_list

# More chunks make a test slower without testing more.
_MAX_CHUNKS_PER_TEXT = 2000
_ALPHABET = string.ascii_letters + string.digits
# Finish reason of OpenRouter -> that of the provider.
_NATIVE = {"stop": "stop", "tool_calls": "tool_calls", "length": "max_tokens"}


def generation_id(generator: random.Random | None = None) -> str:
    """
    Return a new generation id: `gen-<unix time>-<20 letters and digits>`.

    Args:
        generator: Source of the random part; None: the global one.
    """
    choices = (generator or random).choices
    return f"gen-{int(time.time())}-{''.join(choices(_ALPHABET, k=20))}"


def tool_call(
    name: str,
    arguments: Mapping[str, Any] | str = "{}",
    *,
    id: str | None = None,  # noqa: A002 - the name in the API
    index: int = 0,
) -> dict[str, Any]:
    """
    Return a tool call for `completion(tool_calls=[...])`.

    Args:
        name: Name of the function.
        arguments: A mapping, or JSON text to be sent unchanged, valid or not.
        id: Id of the call; None: derived from name and index.
        index: Position among the calls of the message, from 0.
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
    id: str | None = None,  # noqa: A002 - the name in the API
    created: int | None = None,
    usage: Mapping[str, Any] | None = None,
    prompt_tokens: int = 12,
    message: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """
    Return the body of a plain response with one choice.

    Args:
        text: Content of the message. With tool calls, "" becomes null, which is what
            most providers send.
        tool_calls: Tool calls, as `tool_call()` makes them; `index` is set in order.
        reasoning: Reasoning text, also sent as `reasoning_details` if that is None.
        reasoning_details: Reasoning details, sent unchanged.
        refusal: Refusal of the message.
        finish_reason: None: "tool_calls" if there are any, else "stop".
        native_finish_reason: The provider's finish reason; None: derived from
            `finish_reason`.
        model: Model id.
        provider: Display name of the provider; None: derived from the model.
        id: Generation id; None: a new one.
        created: Unix time in seconds; None: now.
        usage: Usage object; None: counted from the text, with the model's price.
        prompt_tokens: Input tokens, if the usage is counted.
        message: Further members of the message, such as `annotations`, `images` or
            `audio`.
        more: Further members at the top level, such as `service_tier` or `error`.
    """
    calls = [{**call, "index": index} for index, call in enumerate(tool_calls)]
    finish = finish_reason or ("tool_calls" if calls else "stop")
    made: dict[str, Any] = {
        "role": "assistant",
        "content": None if calls and text == "" else text,
        "refusal": refusal,
        "reasoning": reasoning,
    }
    if reasoning_details is not None:
        made["reasoning_details"] = list(reasoning_details)
    elif reasoning is not None:
        made["reasoning_details"] = [_reasoning_detail(reasoning, model)]
    if calls:
        made["tool_calls"] = calls
    if usage is None:
        output = (text or "") + "".join(_arguments(call) for call in calls)
        reasoning_tokens = len(split_tokens(reasoning or ""))
        completion_tokens = len(split_tokens(output)) + reasoning_tokens
        usage = usage_body(model, prompt_tokens, completion_tokens, reasoning_tokens)
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
                "message": {**made, **(message or {})},
            }
        ],
        "usage": usage,
        **more,
    }


def _arguments(call: Mapping[str, Any]) -> str:
    return str(as_object(call.get("function")).get("arguments") or "")


def _reasoning_detail(text: str, model: str) -> dict[str, Any]:
    detail = {"type": "reasoning.text", "text": text, "index": 0}
    if model.startswith("anthropic/"):
        return {**detail, "signature": "c2lnbmVk", "format": "anthropic-claude-v1"}
    return {**detail, "format": "unknown"}


def chunks(
    content: str | Sequence[str] | Mapping[str, Any],
    *,
    pieces: Sequence[str] | None = None,
    usage: UsageForm = "repeated",
    finish: bool = True,
) -> list[dict[str, Any]]:
    """
    Return the chunks of a stream, without `[DONE]`.

    Args:
        content: A text, which is split at about one token per chunk; a list of texts,
            one for each chunk; or the body of a plain response.
        pieces: Texts of the chunks, if `content` is a body: they replace its content.
        usage: Position of the usage, as for `Reply.usage`.
        finish: If True, add the chunks with the finish reason and the usage.
    """
    if isinstance(content, str):
        body: Mapping[str, Any] = completion(content)
    elif isinstance(content, Mapping):
        body = content
    else:
        pieces = list(content)
        body = completion("".join(pieces))
    head = head_of(body)
    made = [
        {**head, "choices": [_choice(index, delta, **rest)]}
        for index, choice in _choices(body)
        for delta, rest in _deltas(choice, pieces)
    ]
    if finish:
        made += _final_chunks(head, body, usage)
    return made


def head_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a completion that each of its chunks repeats."""
    return {
        "id": body.get("id"),
        "object": "chat.completion.chunk",
        "created": body.get("created"),
        "model": body.get("model"),
        "provider": body.get("provider"),
    }


def _choices(body: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    return [
        (as_object(item).get("index", number), as_object(item))
        for number, item in enumerate(as_list(body.get("choices")))
        if isinstance(item, Mapping)
    ]


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
    """
    Split a message into deltas, in the order in which providers send its parts.

    Each comes with further members of its choice, which are the log probabilities.
    """
    message = as_object(choice.get("message"))
    for annotation in as_list(message.get("annotations")):
        yield _delta(annotations=[annotation]), {}
    for fields in _reasoning_deltas(message):
        yield _delta(**fields), {}
    content = message.get("content")
    parts = _split(content if isinstance(content, str) else "")
    parts = list(pieces) if pieces is not None else parts
    logprobs = as_list(as_object(choice.get("logprobs")).get("content"))
    for index, part in enumerate(parts):
        rest: dict[str, Any] = {}
        if len(logprobs) == len(parts):
            rest = {"logprobs": {"content": [logprobs[index]], "refusal": None}}
        yield _delta(content=part), rest
    refusal = message.get("refusal")
    for part in _split(refusal if isinstance(refusal, str) else ""):
        yield _delta(refusal=part), {}
    for call in as_list(message.get("tool_calls")):
        for fragment in _fragments(as_object(call)):
            yield _delta(content=None, tool_calls=[fragment]), {}
    for kind in ("images", "audio"):
        if message.get(kind):
            yield _delta(**{kind: message[kind]}), {}


def _delta(content: str | None = "", **fields: Any) -> dict[str, Any]:
    # The role is on every chunk, not only on the first (protocol, Oct 2026).
    return {"content": content, "role": "assistant", **fields}


def _reasoning_deltas(message: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """
    Split reasoning into the members of deltas.

    Text and summaries are split, a signature comes after its text, and any other
    detail is sent as a whole.
    """
    details = as_list(message.get("reasoning_details"))
    reasoning = message.get("reasoning")
    if not details and isinstance(reasoning, str):
        yield from ({"reasoning": part} for part in _split(reasoning))
    for detail in map(as_object, details):
        key = {"reasoning.text": "text", "reasoning.summary": "summary"}.get(
            detail.get("type", "")
        )
        text = detail.get(key) if key is not None else None
        if key is None or not isinstance(text, str):
            yield {"reasoning": None, "reasoning_details": [detail]}
            continue
        rest = {k: v for k, v in detail.items() if k not in (key, "signature")}
        for part in _split(text):
            yield {"reasoning": part, "reasoning_details": [{**rest, key: part}]}
        if "signature" in detail:
            signed = {**rest, "signature": detail["signature"]}
            yield {"reasoning": None, "reasoning_details": [signed]}


def _fragments(call: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Split a tool call: its name, an empty fragment, then its arguments."""
    index = call.get("index", 0)
    function = as_object(call.get("function"))
    yield {
        "index": index,
        "id": call.get("id"),
        "type": call.get("type", "function"),
        "function": {"name": function.get("name"), "arguments": ""},
    }
    for part in ("", *_split(_arguments(call))):
        yield {"index": index, "function": {"arguments": part}}


def _split(text: str) -> list[str]:
    parts = split_tokens(text)
    step = math.ceil(len(parts) / _MAX_CHUNKS_PER_TEXT) or 1
    return ["".join(parts[at : at + step]) for at in range(0, len(parts), step)]


def _final_chunks(
    head: Mapping[str, Any], body: Mapping[str, Any], usage: UsageForm
) -> list[dict[str, Any]]:
    """Return the chunks with the finish reason and the usage, 1 or 2."""

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
    with_usage: dict[str, Any] = {"usage": body["usage"]}
    if usage == "with_finish":
        return [{**last, **with_usage}]
    if usage == "repeated":
        tier = {"service_tier": body.get("service_tier")}
        return [last, {**head, **tier, "choices": last["choices"], **with_usage}]
    choices = [] if usage == "no_choices" else closing(finished=False)
    return [last, {**head, "choices": choices, **with_usage}]
