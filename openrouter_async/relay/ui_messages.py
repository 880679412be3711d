"""Messages of a front end -> messages of a request. Pure, and suspicious."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, cast

from ..errors import ConfigurationError
from ..protocol.encode import encode
from ..types import (
    AssistantMessage,
    AudioPart,
    FilePart,
    ImagePart,
    MessageLike,
    PartLike,
    SystemMessage,
    TextPart,
    ToolResponseMessage,
    UserMessage,
    VideoPart,
)
from ..types.messages import DeveloperMessage

# The size of a request that OpenRouter accepts for a file.
_LIMIT_BYTES: Final = 20 * 1024 * 1024

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FINISHED: Final = ("output-available", "output-error")
_AUDIO_FORMATS: Final = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "mp4": "m4a"}


def read_ui_messages(
    body: Any,
    *,
    roles: Sequence[str] = ("user", "assistant"),
    url_schemes: Sequence[str] = ("data",),
    limit_bytes: int = _LIMIT_BYTES,
) -> list[MessageLike]:
    """
    Return the messages of a request body that `useChat` of Vercel's AI SDK posts.

    Texts, files and finished tool calls are read. A tool call without a result is left
    out, because providers reject it, and so are reasoning and sources. Nothing but the
    messages is read: not the model, tools or limits, which the backend decides.

    The body comes from a browser, which may send anything, also invented messages of
    the assistant and invented results of tools.

    Args:
        body: The body, decoded: `{"messages": [{"role": ..., "parts": [...]}]}`.
        roles: Roles to read; messages of other roles are ignored. Add "system" or
            "developer" only if your users may write instructions.
        url_schemes: Schemes of the URLs of files; the provider would fetch the others
            from its network.
        limit_bytes: Maximum size of all texts and files; the default is 20 MiB.

    Raises:
        ValueError: If the body is malformed; the message has the path of the problem.
            Respond with status 400.
    """
    reader = _Reader(roles, url_schemes, limit_bytes)
    messages: list[MessageLike] = []
    for path, message in reader.objects(reader.object(body, "$"), "messages", "$"):
        role = reader.text(message, "role", path)
        if role in roles:
            messages += reader.message(role, message, path)
    if not messages:
        _fail("$.messages", "no message with content of a role that is read")
    return messages


class _Reader:
    """Reads one body and counts its bytes."""

    def __init__(
        self, roles: Sequence[str], url_schemes: Sequence[str], limit_bytes: int
    ) -> None:
        self._roles = roles
        self._url_schemes = [scheme.lower() for scheme in url_schemes]
        self._limit_bytes = limit_bytes
        self._bytes = 0

    # JSON values.

    def object(self, value: Any, path: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            _fail(path, "expected an object")
        return cast("Mapping[str, Any]", value)

    def objects(
        self, parent: Mapping[str, Any], key: str, path: str
    ) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the members of an array of objects, each with its path."""
        members = parent.get(key)
        if not isinstance(members, list):
            _fail(f"{path}.{key}", "expected an array")
        paths = [f"{path}.{key}[{number}]" for number in range(len(members))]  # pyright: ignore[reportUnknownArgumentType]
        return [
            (at, self.object(member, at))
            for at, member in zip(paths, members, strict=True)  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
        ]

    def text(self, parent: Mapping[str, Any], key: str, path: str) -> str:
        value = parent.get(key)
        if not isinstance(value, str):
            _fail(f"{path}.{key}", "expected a string")
        self._count(value, f"{path}.{key}")
        return value

    def _count(self, text: str, path: str) -> None:
        # Without encoding it again: a character is at least one byte, and most are one.
        self._bytes += len(text)
        if self._bytes > self._limit_bytes:
            _fail(path, f"more than {self._limit_bytes} bytes in total")

    # Messages.

    def message(
        self, role: str, message: Mapping[str, Any], path: str
    ) -> list[MessageLike]:
        parts = self.objects(message, "parts", path)
        if role == "assistant":
            return self._assistant(parts)
        content: list[PartLike] = []
        for at, part in parts:
            kind = self.text(part, "type", at)
            if kind == "text":
                content.append(TextPart(self.text(part, "text", at)))
            elif kind == "file" and role == "user":
                content.append(self._file(part, at))
        if not content:
            return []
        if role == "user":
            return [UserMessage(_shortened(content))]
        texts = "".join(part.text for part in content if isinstance(part, TextPart))
        if role == "system":
            return [SystemMessage(texts)]
        if role == "developer":
            return [DeveloperMessage(texts)]
        return _fail(f"{path}.role", "unknown role")

    def _assistant(
        self, parts: list[tuple[str, Mapping[str, Any]]]
    ) -> list[MessageLike]:
        """Return the messages of an answer: for each step, its text and its calls."""
        messages: list[MessageLike] = []
        step = _Step()
        for at, part in parts:
            kind = self.text(part, "type", at)
            if kind == "step-start":
                messages += step.messages()
                step = _Step()
            elif kind == "text":
                step.texts.append(TextPart(self.text(part, "text", at)))
            elif kind == "file":
                url, media_type = self._url(part, at)
                if media_type.startswith("image/"):
                    image = {"type": "image_url", "image_url": {"url": url}}
                    step.images.append(image)
            elif kind == "dynamic-tool":
                self._call(step, part, self.text(part, "toolName", at), at)
            elif kind.startswith("tool-"):
                self._call(step, part, kind.removeprefix("tool-"), at)
        return messages + step.messages()

    def _call(
        self, step: "_Step", part: Mapping[str, Any], name: str, path: str
    ) -> None:
        if self.text(part, "state", path) not in _FINISHED:
            return
        if not _TOOL_NAME.fullmatch(name):
            _fail(path, "the name of a tool has 1 to 64 letters, digits, '_' or '-'")
        call_id = self.text(part, "toolCallId", path)
        if not call_id or any(call["id"] == call_id for call in step.calls):
            _fail(f"{path}.toolCallId", "expected an id that no other call has")
        arguments = part.get("input")
        if not isinstance(arguments, Mapping):
            # Invalid arguments are sent back as an empty object: providers reject them.
            arguments = {}
        if part["state"] == "output-available":
            output = part.get("output")
            is_text = isinstance(output, str)
            content = (
                self.text(part, "output", path) if is_text else self._json(output, path)
            )
        else:
            content = self._json({"error": self.text(part, "errorText", path)}, path)
        function = {"name": name, "arguments": self._json(arguments, path)}
        step.calls.append({"id": call_id, "type": "function", "function": function})
        step.results.append(ToolResponseMessage(content, tool_call_id=call_id))

    def _json(self, value: Any, path: str) -> str:
        try:
            text = encode(value).decode()
        except ConfigurationError:
            _fail(path, "nested too deeply, or not JSON")
        self._count(text, path)
        return text

    # Files.

    def _url(self, part: Mapping[str, Any], path: str) -> tuple[str, str]:
        """Return the URL and the media type of a file."""
        media_type = self.text(part, "mediaType", path).lower()
        url = self.text(part, "url", path)
        scheme = _SCHEME.match(url)
        if scheme is None or scheme[1].lower() not in self._url_schemes:
            allowed = ", ".join(self._url_schemes)
            _fail(f"{path}.url", f"expected a URL of one of these schemes: {allowed}")
        return url, media_type

    def _file(self, part: Mapping[str, Any], path: str) -> PartLike:
        url, media_type = self._url(part, path)
        kind, _, subtype = media_type.partition("/")
        if kind == "image":
            return ImagePart(url)
        if kind == "video":
            return VideoPart(url)
        if kind == "audio":
            head, comma, data = url.partition(",")
            if not comma or not head.lower().endswith(";base64"):
                _fail(f"{path}.url", "expected a data URL in base64")
            subtype = subtype.partition(";")[0]
            return AudioPart(
                {"data": data, "format": _AUDIO_FORMATS.get(subtype, subtype)}
            )
        filename = part.get("filename")
        if filename is not None and not isinstance(filename, str):
            _fail(f"{path}.filename", "expected a string")
        return FilePart.from_url(url, filename=filename)


class _Step:
    """The parts of an answer between two tool runs."""

    def __init__(self) -> None:
        self.texts: list[PartLike] = []
        self.images: list[Mapping[str, Any]] = []
        self.calls: list[Mapping[str, Any]] = []
        self.results: list[MessageLike] = []

    def messages(self) -> list[MessageLike]:
        """Return the message of the assistant, if it says anything, and the results."""
        if not (self.texts or self.images or self.calls):
            return []
        message = AssistantMessage(
            _shortened(self.texts) if self.texts else None,
            tool_calls=self.calls or None,
            images=self.images or None,
        )
        return [message, *self.results]


def _shortened(content: list[PartLike]) -> str | list[PartLike]:
    """Return a single text as a string, which every provider accepts."""
    (first, *others) = content
    return first.text if isinstance(first, TextPart) and not others else content


def _fail(path: str, problem: str) -> NoReturn:
    raise ValueError(f"Invalid request at {path}: {problem}.")
