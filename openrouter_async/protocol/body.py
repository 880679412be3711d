"""Parameters and keywords -> the mapping that becomes the body."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from ..errors import ConfigurationError
from ..types import ChatGenerationParams, Null
from .encode import unstructure

_FIELDS: Final[tuple["attrs.Attribute[Any]", ...]] = attrs.fields(ChatGenerationParams)
_ORDER: Final = {field.name: place for place, field in enumerate(_FIELDS)}


def chat_body(
    params: ChatGenerationParams | Mapping[str, Any] | None,
    fields: Mapping[str, Any],
    *,
    stream: bool,
    extra: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """
    Return the body of a chat request.

    The order of its keys is the class's, whatever the keywords' order: OpenRouter's
    response cache hashes the bytes. A mapping keeps its own order.

    Args:
        params: The request, or None.
        fields: Fields by keyword; they win, and None leaves what `params` says.
        stream: Whether a stream is asked for.
        extra: Merged last over the top-level keys, sent as it is.

    Raises:
        TypeError: An argument that the signature refuses.
        ConfigurationError: Nothing to send, or two answers on streaming.
    """
    try:
        names = sorted(fields, key=_ORDER.__getitem__)
    except KeyError as error:
        raise unexpected_keyword("send", error.args[0]) from None
    given = {name: value for name in names if (value := fields[name]) is not None}
    if params is None:
        body = given
    elif isinstance(params, ChatGenerationParams):
        body = {**unstructure(params), **given}
        if given:
            body = {name: body[name] for name in sorted(body, key=_ORDER.__getitem__)}
    elif isinstance(params, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        body = {**params, **given}
    else:
        raise TypeError(
            f"send() takes ChatGenerationParams or a mapping, not {params!r:.100}."
        )
    if extra:
        body.update(extra)
    if bool(body.pop("stream", stream)) is not stream:
        raise ConfigurationError(
            f"The body says stream={not stream}, the call says stream={stream}. "
            "Give stream= as a keyword of send()."
        )
    _check_messages(body)
    if stream:
        body["stream"] = True
    return body


def unexpected_keyword(caller: str, name: str) -> TypeError:
    """Return the error for a keyword that there is not."""
    from difflib import get_close_matches

    close = get_close_matches(name, _ORDER, n=1)
    more = f" Did you mean {close[0]!r}?" if close else ""
    return TypeError(
        f"{caller}() got an unexpected keyword argument {name!r}.{more} "
        "What this library does not know goes into extra_body."
    )


def _check_messages(body: Mapping[str, Any]) -> None:
    messages = body.get("messages")
    if messages.__class__ is not list and not _is_list(messages):
        raise TypeError(
            f"messages is a list of messages, not a {type(messages).__name__}: "
            "messages=[UserMessage('...')]."
        )
    if not messages:
        if body.get("prompt") is None:
            raise ConfigurationError(
                "There is nothing to send: give messages=[UserMessage('...')]."
            )
        return
    for message in messages:
        if isinstance(message, str):
            raise TypeError(
                "A message is a UserMessage('...') or a mapping with role and "
                f"content, not the string {message!r:.60}."
            )


def _is_list(messages: Any) -> bool:
    """Whether it is one, or none at all."""
    if messages is None or isinstance(messages, Null):
        return True
    return isinstance(messages, Sequence) and not isinstance(messages, str | bytes)
