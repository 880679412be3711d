"""The call of one function, and calls that are fit to be sent back."""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import attrs

from ..errors import ToolArgumentsError
from ..protocol.encode import encode
from ..structured.converter import converter
from ..types import Message, MessageLike, PartLike, ToolCall
from ..types.parts import Part
from .arguments import json_arguments


async def call_function(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> Any:
    """
    Await an async function; call a plain one in a thread.

    Raises:
        RuntimeError: If the function is cancelled from inside.
    """
    try:
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 -- an object's own method
        ):
            value = await function(*args, **kwargs)
        else:
            value = await asyncio.to_thread(_in_thread, function, args, kwargs)
            if inspect.isawaitable(value):
                value = await value
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise RuntimeError("The tool was cancelled from inside.") from error
    return value


def _in_thread(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> Any:
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        # A future cannot carry it, and would be waited for for ever.
        raise RuntimeError("StopIteration left the tool.") from error


def result_content(value: Any) -> str | Sequence[PartLike]:
    """Return what a tool gave as what the model is told: text, or parts."""
    if isinstance(value, Part):
        return [value]
    if isinstance(value, list) and value:
        parts = cast("list[PartLike]", value)
        if all(isinstance(part, Part) for part in parts):
            return parts
    return converter.to_text(value)


def error_content(text: str) -> str:
    """Return an error as the content of a tool message."""
    return encode({"error": text}).decode()


def sendable_calls(
    message: Message, used: set[str]
) -> tuple[MessageLike, list[ToolCall]]:
    """
    Return the message to send back, and its calls, each with an id of its own.

    What is in order stays as it came. Ids that are missing or were there before are
    replaced, and arguments that are no JSON object, which providers refuse.

    Args:
        message: The reply's.
        used: The ids of the run so far; those of this message are added.
    """
    calls: list[ToolCall] = []
    sent: list[dict[str, Any]] = []
    for call in message.tool_calls:
        ident, number = call.id or f"call_{len(used)}", 1
        while ident in used:
            number += 1
            ident = f"{call.id or 'call'}_{number}"
        used.add(ident)
        text = _replayable(call)
        one = call.as_request()
        if ident != call.id or text != call.function.arguments:
            function = {**_function(one), "arguments": text}
            one = {**one, "id": ident, "type": call.type, "function": function}
        sent.append(one)
        calls.append(attrs.evolve(call, id=ident))
    echo = message.as_request()
    if sent == [call.as_request() for call in message.tool_calls]:
        return message, calls
    return {**echo, "tool_calls": sent}, calls


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]


def _replayable(call: ToolCall) -> str:
    """Return the arguments as they came if they are a JSON object, else one."""
    text = call.function.arguments
    with suppress(ToolArgumentsError):
        value = json_arguments(call)
        return text if text.lstrip().startswith("{") else encode(value).decode()
    return "{}"
