"""Chat requests: parameters and keywords to the mapping that is sent as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from ..errors import ConfigurationError
from ..types import ChatGenerationParams, Null
from .encode import unstructure
from .settings import CallOptions

_FIELDS: Final[tuple["attrs.Attribute[Any]", ...]] = attrs.fields(ChatGenerationParams)
_POSITIONS: Final = {field.name: index for index, field in enumerate(_FIELDS)}


def chat_body(
    params: ChatGenerationParams | Mapping[str, Any] | None,
    fields: Mapping[str, Any],
    *,
    stream: bool,
    extra: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """
    Return the body of a chat request.

    Keys are in the order of the fields of `ChatGenerationParams`, whatever the order
    of the keywords: OpenRouter's response cache hashes the bytes. A mapping keeps
    its own order.

    Args:
        params: The request as an object or a mapping; None if `fields` has it all.
        fields: Fields by name. They override `params`; None overrides nothing.
        stream: If True, request a stream.
        extra: Keys to add to the body or to replace in it, sent unchanged.

    Raises:
        TypeError: If a field is unknown, or an argument has the wrong type.
        ConfigurationError: If there are no messages, or if the body's own `stream`
            contradicts the argument.
    """
    try:
        names = sorted(fields, key=_POSITIONS.__getitem__)
    except KeyError as error:
        raise unexpected_keyword("send", error.args[0]) from None
    overrides = {name: value for name in names if (value := fields[name]) is not None}
    if params is None:
        body = overrides
    elif isinstance(params, ChatGenerationParams):
        body = {**unstructure(params), **overrides}
        if overrides:
            body = {
                name: body[name] for name in sorted(body, key=_POSITIONS.__getitem__)
            }
    elif isinstance(params, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        body = {**params, **overrides}
    else:
        raise TypeError(
            "The request must be ChatGenerationParams or a mapping, "
            f"not {params!r:.100}. Pass messages by keyword: messages=[...]."
        )
    if extra:
        body.update(extra)
    if bool(body.pop("stream", stream)) is not stream:
        raise ConfigurationError(
            f"The body has stream={not stream}, but the call has stream={stream}. "
            "Remove it from the body and pass stream= to send()."
        )
    _check_messages(body)
    # Last, so that the bytes before it do not depend on it. False is the default.
    if stream:
        body["stream"] = True
    return body


def unexpected_keyword(caller: str, name: str) -> TypeError:
    """Return the error for an unknown keyword, with the closest known one."""
    # Imported here: only this error needs it, and it would slow down every import.
    from difflib import get_close_matches

    known = (*_POSITIONS, *CallOptions.__optional_keys__)
    close = get_close_matches(name, known, n=1)
    suggestion = f" Did you mean {close[0]!r}?" if close else ""
    return TypeError(
        f"{caller}() got an unexpected keyword argument {name!r}.{suggestion} "
        "Pass fields that this library does not know in extra_body."
    )


def _check_messages(body: Mapping[str, Any]) -> None:
    messages = body.get("messages")
    if messages.__class__ is not list and not _is_list(messages):
        raise TypeError(
            f"messages must be a list, not {type(messages).__name__}: "
            "pass messages=[UserMessage('...')]."
        )
    if not messages:
        # `prompt` is the older form of a request, without messages.
        if body.get("prompt") is None:
            raise ConfigurationError(
                "There is nothing to send: pass messages=[UserMessage('...')]."
            )
        return
    for message in messages:
        if isinstance(message, str):
            raise TypeError(
                "A message must be a UserMessage('...') or a mapping with role and "
                f"content, not the string {message!r:.60}."
            )


def _is_list(messages: Any) -> bool:
    """Return True for a sequence of messages, and if there are none at all."""
    if messages is None or isinstance(messages, Null):
        return True
    return isinstance(messages, Sequence) and not isinstance(messages, str | bytes)
