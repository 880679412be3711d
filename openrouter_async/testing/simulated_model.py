"""The local server's simulated model: the same request gets the same completion."""

import base64
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..protocol.decode import as_object
from .builders import completion, tool_call
from .catalogue import DEFAULT_MODEL, split_tokens
from .schema_examples import example_value
from .seen_requests import SeenRequest, as_list, last_text, messages_of, text_of

# An image of one transparent pixel.
_PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4"
    "2mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def complete(seen: SeenRequest, created: int) -> dict[str, Any]:
    """
    Return the body of a plain response to a valid request.

    The first of these cases that applies decides its content:

    1. The last message is not a tool result, and there are function tools: calls of
       the functions that the prompt names, else of the first one. `tool_choice` and
       `parallel_tool_calls` are respected.
    2. `response_format` is a JSON Schema: JSON that is valid for it.
    3. `response_format` is "json_object": an object with the prompt.
    4. A text that quotes the prompt, and the result of the last tool.

    `stop` and `max_tokens` cut the text. Reasoning, log probabilities, images, audio
    and router metadata are included if the request asks for them.

    Args:
        seen: The request; its `generation_id` becomes the id of the completion.
        created: Unix time in seconds.
    """
    fields = seen.fields
    model = seen.model or DEFAULT_MODEL
    reasoning, is_visible = _reasoning(seen)
    calls = _tool_calls(seen)
    text, finish = _truncate("" if calls else _text(seen), fields)
    body = completion(
        text,
        tool_calls=calls,
        reasoning=reasoning if is_visible else None,
        finish_reason=finish,
        model=model,
        id=seen.generation_id,
        created=created,
        prompt_tokens=count_prompt_tokens(fields),
        message=_media(fields, text),
    )
    if reasoning and not is_visible:
        hidden = len(split_tokens(reasoning))
        body["usage"]["completion_tokens"] += hidden
        body["usage"]["total_tokens"] += hidden
        body["usage"]["completion_tokens_details"]["reasoning_tokens"] = hidden
    if fields.get("logprobs"):
        logprobs = [_logprob(token) for token in split_tokens(text)]
        body["choices"][0]["logprobs"] = {"content": logprobs, "refusal": None}
    if seen.headers.get("X-OpenRouter-Metadata", "").lower() == "enabled":
        body["openrouter_metadata"] = _router_metadata(model, body["provider"])
    return body


def complete_with(text: str, seen: SeenRequest, created: int) -> dict[str, Any]:
    """Return the body of a plain response with a given text."""
    return completion(
        text,
        model=seen.model or DEFAULT_MODEL,
        id=seen.generation_id,
        created=created,
        prompt_tokens=count_prompt_tokens(seen.fields),
    )


def count_prompt_tokens(fields: Mapping[str, Any]) -> int:
    """Estimate the input tokens of a request: its messages and tools."""
    entries = [as_object(message) for message in as_list(messages_of(fields))]
    count = 3 + sum(3 + len(split_tokens(text_of(m.get("content")))) for m in entries)
    if tools := fields.get("tools"):
        count += len(split_tokens(json.dumps(tools)))
    return count


def _text(seen: SeenRequest) -> str:
    fields = seen.fields
    response_format = as_object(fields.get("response_format"))
    if response_format.get("type") == "json_schema":
        schema = as_object(response_format.get("json_schema")).get("schema", True)
        return json.dumps(example_value(schema), separators=(",", ":"))
    prompt = _shorten(seen.prompt)
    if response_format.get("type") == "json_object":
        return json.dumps({"answer": f"You wrote: {prompt}"})
    if _last_role(fields) == "tool":
        result = _shorten(last_text(messages_of(fields), "tool"))
        return f'The tool returned "{result}" for the prompt "{prompt}".'
    if not prompt:
        return "The prompt has no text. Hello from the local server."
    return (
        f'You wrote: "{prompt}". This text comes from a local server without a model, '
        "which sends the same response to the same request."
    )


def _shorten(text: str) -> str:
    return textwrap.shorten(text, 200, placeholder=" ...")


def _last_role(fields: Mapping[str, Any]) -> object:
    return as_object(messages_of(fields)[-1]).get("role")


def _tool_calls(seen: SeenRequest) -> list[dict[str, Any]]:
    fields = seen.fields
    choice = fields.get("tool_choice")
    functions = {
        str(tool["function"].get("name", "")): as_object(tool["function"])
        for tool in map(as_object, as_list(fields.get("tools")))
        if tool.get("type") == "function" and as_object(tool.get("function"))
    }
    if not functions or choice == "none" or _last_role(fields) == "tool":
        return []
    if isinstance(choice, dict):
        forced = as_object(cast("dict[str, Any]", choice).get("function"))
        names = [name for name in functions if name == forced.get("name")]
    else:
        prompt = seen.prompt.lower()
        names = [
            name
            for name in functions
            if name.lower() in prompt or name.lower().replace("_", " ") in prompt
        ]
    names = names or list(functions)[:1]
    if fields.get("parallel_tool_calls") is False:
        names = names[:1]
    return [
        tool_call(
            name,
            example_value(functions[name].get("parameters", {"type": "object"})),
            id=f"call_{seen.generation_id[-20:]}_{index}",
        )
        for index, name in enumerate(names)
    ]


def _reasoning(seen: SeenRequest) -> tuple[str, bool]:
    """Return the reasoning ("" if it is off), and True if it is not hidden."""
    fields = seen.fields
    options = as_object(fields.get("reasoning"))
    effort = options.get("effort") or fields.get("reasoning_effort")
    is_on = bool(options or effort or fields.get("include_reasoning"))
    if not is_on or effort == "none" or options.get("enabled") is False:
        return "", False
    reasoning = f'The user wrote "{_shorten(seen.prompt)}". A short text is enough.'
    is_hidden = options.get("exclude") or fields.get("include_reasoning") is False
    return reasoning, not is_hidden


def _truncate(text: str, fields: Mapping[str, Any]) -> tuple[str, str | None]:
    """
    Apply `stop` and the token limit.

    Returns:
        The text and its finish reason, "length" or None for the default.
    """
    stop = fields.get("stop") or ()
    for sequence in (stop,) if isinstance(stop, str) else cast("Sequence[str]", stop):
        text = text.partition(sequence)[0] if sequence else text
    limit = fields.get("max_completion_tokens") or fields.get("max_tokens")
    pieces = split_tokens(text)
    if isinstance(limit, int) and len(pieces) > limit:
        return "".join(pieces[:limit]), "length"
    return text, None


def _media(fields: Mapping[str, Any], text: str) -> dict[str, Any]:
    modalities = fields.get("modalities") or ()
    made: dict[str, Any] = {}
    if "image" in modalities:
        image = {"type": "image_url", "image_url": {"url": _PNG}, "index": 0}
        made["images"] = [image]
    if "audio" in modalities:
        data = base64.b64encode(bytes(64)).decode()
        made["audio"] = {"id": "audio_local", "data": data, "transcript": text}
    return made


def _logprob(token: str) -> dict[str, Any]:
    return {
        "token": token,
        "logprob": -0.1,
        "bytes": list(token.encode()),
        "top_logprobs": [],
    }


def _router_metadata(model: str, provider: str) -> dict[str, Any]:
    endpoint = {"provider": provider, "model": model, "selected": True}
    return {
        "requested": model,
        "strategy": "direct",
        "region": None,
        "summary": f"Served by {provider}",
        "attempt": 1,
        "is_byok": False,
        "endpoints": {"total": 1, "available": [endpoint]},
        "attempts": [{"provider": provider, "model": model, "status": 200}],
    }
