"""What the local server's "model" answers: always the same to the same request."""

import base64
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, cast

from .builders import completion, tool_call
from .catalogue import DEFAULT_MODEL, tokens
from .schema_examples import fitting
from .seen_requests import (
    SeenRequest,
    a_list,
    an_object,
    last_text,
    text_of,
)

# One transparent dot.
_PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4"
    "2mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def answer(seen: SeenRequest, created: int) -> dict[str, Any]:
    """
    Answer a valid request with the body of a plain reply.

    Function tools are called when the last message is the user's: those that it
    names, else the first, or the one that `tool_choice` names. A JSON Schema is
    answered with JSON that fits it. Anything else is a text that refers to the
    prompt; `max_tokens` and `stop` cut it.

    Args:
        seen: Its `generation_id` becomes the answer's id.
        created: Unix seconds.
    """
    fields = seen.fields
    model = seen.model or DEFAULT_MODEL
    read = count_prompt(fields)
    thought, shown = _reasoning(seen)
    calls = _calls(seen)
    text = "" if calls else _text(seen)
    text, finish = _cut_short(text, fields)
    body = completion(
        text,
        tool_calls=calls,
        reasoning=thought if shown else None,
        finish_reason=finish,
        model=model,
        id=seen.generation_id,
        created=created,
        prompt_tokens=read,
        message=_media(fields, text),
    )
    if thought and not shown:
        hidden = len(tokens(thought))
        body["usage"]["completion_tokens"] += hidden
        body["usage"]["total_tokens"] += hidden
        body["usage"]["completion_tokens_details"]["reasoning_tokens"] = hidden
    if fields.get("logprobs"):
        odds = {"content": [_odds(token) for token in tokens(text)], "refusal": None}
        body["choices"][0]["logprobs"] = odds
    if seen.headers.get("X-OpenRouter-Metadata", "").lower() == "enabled":
        body["openrouter_metadata"] = _routing(model, body["provider"])
    return body


def said(text: str, seen: SeenRequest, created: int) -> dict[str, Any]:
    """Answer a request with a given text."""
    return completion(
        text,
        model=seen.model or DEFAULT_MODEL,
        id=seen.generation_id,
        created=created,
        prompt_tokens=count_prompt(seen.fields),
    )


def count_prompt(fields: Mapping[str, Any]) -> int:
    """Estimate how many tokens a request's prompt is."""
    entries = [an_object(message) for message in a_list(fields.get("messages"))]
    count = 3 + sum(3 + len(tokens(text_of(m.get("content")))) for m in entries)
    if tools := fields.get("tools"):
        count += len(tokens(json.dumps(tools)))
    return count


def _text(seen: SeenRequest) -> str:
    fields = seen.fields
    wanted = an_object(fields.get("response_format"))
    if wanted.get("type") == "json_schema":
        schema = an_object(wanted.get("json_schema")).get("schema", True)
        return json.dumps(fitting(schema), separators=(",", ":"))
    prompt = _short(seen.prompt)
    if wanted.get("type") == "json_object":
        return json.dumps({"answer": f"You wrote: {prompt}"})
    if _last_role(fields) == "tool":
        result = _short(last_text(fields["messages"], "tool"))
        return f'The tool answered: "{result}". That settles it: "{prompt}".'
    if not prompt:
        return "You wrote no text, so here is a greeting from the local server: hello."
    return (
        f'You wrote: "{prompt}". The local server read that and answers without a '
        "model: whoever asks the same again is told the same again."
    )


def _short(text: str) -> str:
    return textwrap.shorten(text, 200, placeholder=" ...")


def _last_role(fields: Mapping[str, Any]) -> object:
    return an_object(fields["messages"][-1]).get("role")


def _calls(seen: SeenRequest) -> list[dict[str, Any]]:
    fields = seen.fields
    choice = fields.get("tool_choice")
    functions = {
        str(tool["function"].get("name", "")): an_object(tool["function"])
        for tool in map(an_object, a_list(fields.get("tools")))
        if tool.get("type") == "function" and an_object(tool.get("function"))
    }
    if not functions or choice == "none" or _last_role(fields) == "tool":
        return []
    if isinstance(choice, dict):
        forced = an_object(cast("dict[str, Any]", choice).get("function"))
        names = [name for name in functions if name == forced.get("name")]
    else:
        prompt = seen.prompt.lower()
        spoken = {name: name.lower().replace("_", " ") for name in functions}
        names = [n for n, s in spoken.items() if n.lower() in prompt or s in prompt]
    names = names or list(functions)[:1]
    if fields.get("parallel_tool_calls") is False:
        names = names[:1]
    return [
        tool_call(name, fitting(functions[name].get("parameters", {"type": "object"})))
        | {"id": f"call_{seen.generation_id[-20:]}_{place}"}
        for place, name in enumerate(names)
    ]


def _reasoning(seen: SeenRequest) -> tuple[str, bool]:
    """Tell what was thought ("" for nothing), and whether it is shown."""
    fields = seen.fields
    options = an_object(fields.get("reasoning"))
    effort = options.get("effort") or fields.get("reasoning_effort")
    asked = bool(options or effort or fields.get("include_reasoning"))
    if not asked or effort == "none" or options.get("enabled") is False:
        return "", False
    prompt = _short(seen.prompt)
    thought = f'The user wrote "{prompt}". A short answer that says so will do.'
    hidden = options.get("exclude") or fields.get("include_reasoning") is False
    return thought, not hidden


def _cut_short(text: str, fields: Mapping[str, Any]) -> tuple[str, str | None]:
    """Obey `stop` and the limit of tokens; tell the finish reason that follows."""
    stop = fields.get("stop") or ()
    for mark in (stop,) if isinstance(stop, str) else cast("Sequence[str]", stop):
        text = text.partition(mark)[0] if mark else text
    limit = fields.get("max_completion_tokens") or fields.get("max_tokens")
    pieces = tokens(text)
    if isinstance(limit, int) and len(pieces) > limit:
        return "".join(pieces[:limit]), "length"
    return text, None


def _media(fields: Mapping[str, Any], text: str) -> dict[str, Any]:
    kinds = fields.get("modalities") or ()
    made: dict[str, Any] = {}
    if "image" in kinds:
        image = {"type": "image_url", "image_url": {"url": _PNG}, "index": 0}
        made["images"] = [image]
    if "audio" in kinds:
        sound = base64.b64encode(bytes(64)).decode()
        made["audio"] = {"id": "audio_local", "data": sound, "transcript": text}
    return made


def _odds(token: str) -> dict[str, Any]:
    return {
        "token": token,
        "logprob": -0.1,
        "bytes": list(token.encode()),
        "top_logprobs": [],
    }


def _routing(model: str, provider: str) -> dict[str, Any]:
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
