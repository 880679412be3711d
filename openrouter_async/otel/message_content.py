"""
Messages and tool definitions in the structure that the conventions define. Pure.

Source: OpenTelemetry semantic conventions for generative AI, the schemas of
`gen_ai.input.messages`, `gen_ai.output.messages` and `gen_ai.tool.definitions`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from ..errors import MalformedResponseError
from ..protocol.decode import as_object, decode_finite
from ..protocol.encode import encode
from ..types import ChatResponse, Choice

# The types of parts whose content is a medium: the member that has it, and its name in
# the conventions.
_MEDIA: Final[Mapping[str, str]] = {
    "image_url": "image",
    "video_url": "video",
    "input_video": "video",
    "input_audio": "audio",
    "file": "document",
}
_DATA_URL: Final = re.compile(r"data:([^,;]*)[^,]*;base64,", re.IGNORECASE)
# The reasons that the conventions spell in another way.
_FINISH_REASONS: Final[Mapping[str, str]] = {"tool_calls": "tool_call"}


def request_content(body: Mapping[str, Any]) -> dict[str, list[Any]]:
    """
    Return the content of a request, by the word that `NAMES` has for it.

    Args:
        body: The request; its fields may be objects such as `UserMessage`.
    """
    messages = json.loads(encode(body.get("messages") or []))
    found = {"input_messages": [_input(each) for each in messages]}
    if isinstance(body.get("prompt"), str):
        found["input_messages"] = [{"role": "user", "parts": _text(body["prompt"])}]
    if body.get("tools"):
        tools = json.loads(encode(body["tools"]))
        found["tool_definitions"] = [_definition(each) for each in tools]
    return found


def response_content(response: ChatResponse) -> dict[str, list[Any]]:
    """Return the content of a response, by the word that `NAMES` has for it."""
    return {"output_messages": [_output(choice) for choice in response.choices]}


def result_content(content: Any) -> Any:
    """Return the content of a tool's result, without the data of its media."""
    plain = json.loads(encode(content))
    return _parts(plain) if isinstance(plain, list) else _cut(plain)


def _input(message: dict[str, Any]) -> dict[str, Any]:
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        part = {"type": "tool_call_response", "id": message.get("tool_call_id")}
        return {"role": role, "parts": [{**part, "response": result_content(content)}]}
    said: dict[str, Any] = {"role": role}
    if message.get("name"):
        said["name"] = message["name"]
    return {**said, "parts": _message_parts(message)}


def _output(choice: Choice) -> dict[str, Any]:
    # As the next request would have it, which is the same structure as that of inputs.
    message = json.loads(encode(choice.message.as_request()))
    reason = choice.finish_reason or "error"
    return {
        "role": "assistant",
        "parts": _message_parts(message),
        "finish_reason": _FINISH_REASONS.get(reason, reason),
    }


def _message_parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    parts = [{"type": "reasoning", "content": reasoning}] if reasoning else []
    parts += _parts(message.get("content"))
    if message.get("refusal"):
        parts.append({"type": "refusal", "content": message["refusal"]})
    parts += _parts(message.get("images"))
    audio = as_object(message.get("audio"))
    if audio:
        parts.append(_blob("audio", audio.get("data"), None))
        parts += _text(audio.get("transcript"))
    calls: list[Any] = message.get("tool_calls") or []
    return parts + [_call(as_object(call)) for call in calls]


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, list):
        return [_part(part) for part in content]  # pyright: ignore[reportUnknownVariableType]
    return _text(content)


def _part(part: Any) -> dict[str, Any]:
    """Return a part of a message; one whose type is unknown as it is."""
    members = as_object(part)
    kind = str(members.get("type"))
    if kind == "text":
        return {"type": "text", "content": members.get("text") or ""}
    if kind in _MEDIA:
        return _medium(_MEDIA[kind], members.get(kind) or members.get("video_url"))
    return {"type": "unknown", **_cut(members or {"content": part})}


def _medium(modality: str, source: Any) -> dict[str, Any]:
    """
    Return an image, a video, a recording or a file.

    Args:
        modality: "image", "video", "audio" or "document".
        source: The member of the part: a URL, or an object with a URL, with data in
            base64, or with the id of a file.
    """
    members = as_object(source) or {"url": source}
    if "data" in members:
        media = members.get("format")
        return _blob(modality, members["data"], media and f"{modality}/{media}")
    url = str(members.get("url") or members.get("file_data") or "")
    data_url = _DATA_URL.match(url)
    if data_url is not None:
        return _blob(modality, url[data_url.end() :], data_url[1])
    if not url and "file_id" in members:
        return {"type": "file", "modality": modality, "file_id": members["file_id"]}
    return {"type": "uri", "modality": modality, "uri": url}


def _blob(modality: str, data: Any, media_type: str | None) -> dict[str, Any]:
    """Return a part with the media type and the size of data, and not the data."""
    return {
        "type": "blob",
        "modality": modality,
        "mime_type": media_type or None,
        "size_bytes": _decoded_size(data),
    }


def _decoded_size(data: Any) -> int:
    return len(data.rstrip("=")) * 3 // 4 if isinstance(data, str) else 0


def _text(text: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "content": text}] if text else []


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = as_object(call.get("function"))
    return {
        "type": "tool_call",
        "id": call.get("id"),
        "name": function.get("name"),
        "arguments": _arguments(function.get("arguments")),
    }


def _arguments(text: Any) -> Any:
    """Return the decoded arguments; those that are not JSON as they were received."""
    try:
        return decode_finite(text) if isinstance(text, str) else text
    except MalformedResponseError:
        return text


def _definition(tool: Any) -> Any:
    """Return the definition of a function, or of a tool that the server executes."""
    members = as_object(tool)
    function = as_object(members.get("function"))
    return (
        {"type": "function", **function}
        if function
        else _cut({"name": members.get("type"), **members})
    )


def _cut(value: Any) -> Any:
    """Return a JSON value whose data URLs are cut to their media type and size."""
    if isinstance(value, str):
        found = _DATA_URL.match(value)
        if found is None:
            return value
        return f"data:{found[1]} ({_decoded_size(value[found.end() :])} bytes)"
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: _cut(member) for name, member in members.items()}
    if isinstance(value, list):
        return [_cut(member) for member in value]  # pyright: ignore[reportUnknownVariableType]
    return value
