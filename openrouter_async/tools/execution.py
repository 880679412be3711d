"""Execution of a tool call, and tool calls in a form that can be sent back."""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import attrs

from ..errors import ToolArgumentsError, ToolError, ToolTimeoutError
from ..protocol.encode import encode
from ..structured.converter import converter
from ..threads import TOOL_THREADS
from ..types import Message, MessageLike, PartLike, Tool, ToolCall
from ..types.parts import Part
from .arguments import sendable_arguments
from .call_ids import CallIds
from .events import ToolResult
from .observation import Observer, ToolReport

_Prepared = tuple[Tool[..., Any], list[Any], dict[str, Any]]

OnToolError = Literal["report", "raise"] | Callable[[ToolCall, Exception], str]
"""
The treatment of an exception that a tool raises.

"report": send the error to the model; "raise": raise it from the run; or a function
that returns the text for the model, or raises.
"""


async def execute(
    call: ToolCall,
    tools: Mapping[str, Tool[..., Any]],
    *,
    turn: int,
    slots: asyncio.Semaphore,
    executing: list[str],
    on_tool_error: OnToolError,
    observer: Observer | None = None,
) -> ToolResult:
    """
    Execute a call, and return its result or its error.

    Args:
        call: The call.
        tools: The tools, by name.
        turn: The number of the turn, from 1.
        slots: Limits the functions that run at the same time.
        executing: Has the name of the tool while its function runs.
        on_tool_error: The treatment of an exception that the function raises.
        observer: Notified of the call when its function starts, or when it is found
            that there is nothing to execute.

    Raises:
        Exception: If the function raises it, and `on_tool_error` is "raise". A
            `ToolError` is never raised.
    """
    prepared = _prepare(call, tools, turn)
    if isinstance(prepared, ToolResult):
        if observer is not None:
            with ToolReport(observer, call, turn) as report:
                report.result = prepared
        return prepared
    name = call.function.name
    async with slots:
        executing.append(name)
        try:
            if observer is None:
                return await _run(call, prepared, turn, on_tool_error)
            with ToolReport(observer, call, turn) as report:
                report.result = await _run(call, prepared, turn, on_tool_error)
            return report.result
        finally:
            executing.remove(name)


def _prepare(
    call: ToolCall, tools: Mapping[str, Tool[..., Any]], turn: int
) -> _Prepared | ToolResult:
    """Return the tool and its arguments, or the error to report to the model."""
    tool = tools.get(call.function.name)
    if tool is None:
        known = ", ".join(tools) or "none"
        # The name is not quoted: the model wrote it, and errors end up in logs.
        text = f"Unknown tool. Available tools: {known}."
        return ToolResult(call, _error_content(text), None, LookupError(text), turn)
    try:
        args, kwargs = tool.arguments_of(call)
    except ToolArgumentsError as error:
        return ToolResult(call, _error_content(error.message), None, error, turn)
    return tool, args, kwargs


async def _run(
    call: ToolCall, prepared: _Prepared, turn: int, on_tool_error: OnToolError
) -> ToolResult:
    """Call the function, and return its result or its error."""
    try:
        value = await _call_tool(*prepared)
        return ToolResult(call, _content(value), value, None, turn)
    except Exception as error:
        name = call.function.name
        error.add_note(f"Raised by the tool {name!r}, in the call {call.id!r}.")
        if on_tool_error == "raise" and not isinstance(error, ToolError):
            raise
        if isinstance(error, ToolError):
            content = error.content
        elif callable(on_tool_error):
            content = on_tool_error(call, error)
        else:
            content = _error_content(f"{type(error).__name__}: {error}")
        return ToolResult(call, content, None, error, turn)


async def _call_tool(
    tool: Tool[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> Any:
    """
    Call the function of a tool.

    Raises:
        ToolTimeoutError: If the function does not return within the timeout of the
            tool.
    """
    timeout = asyncio.timeout(tool.timeout)
    try:
        async with timeout:
            return await _call_function(tool.wrapped, args, kwargs)
    except TimeoutError:
        if not timeout.expired():
            raise
    raise ToolTimeoutError(
        f"The tool {tool.name!r} did not return within {tool.timeout:g} seconds.",
        tool=tool.name,
        seconds=tool.timeout or 0.0,
    )


async def _call_function(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> Any:
    """Call an async function on the event loop, and a plain one in a thread."""
    try:
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - the method is inspected
        ):
            value = await function(*args, **kwargs)
        else:
            value = await TOOL_THREADS.run(_call_in_thread, function, args, kwargs)
            # A plain function may return a coroutine, as a `partial` or a wrapper does.
            if inspect.isawaitable(value):
                value = await value
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Raised by the function, not by a cancellation of its task: an error like any
        # other, which must not look as if the run had been cancelled.
        raise RuntimeError(
            "The tool raised CancelledError, but the run was not cancelled."
        ) from error
    return value


def _call_in_thread(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> Any:
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        # A future cannot hold StopIteration: the caller would wait forever.
        raise RuntimeError(
            "The tool raised StopIteration, which a thread cannot pass on: raise "
            "another exception."
        ) from error


def _content(value: Any) -> str | Sequence[PartLike]:
    """Return the message content for a return value: parts, or text."""
    if isinstance(value, Part):
        return [value]
    if isinstance(value, list) and value:
        parts = cast("list[PartLike]", value)
        if all(isinstance(part, Part) for part in parts):
            return parts
    return converter.to_text(value)


def _error_content(text: str) -> str:
    return encode({"error": text}).decode()


def without_blank_calls(message: Message) -> Message:
    """
    Return a message without the calls that have neither a name nor arguments.

    Some servers put such blanks beside the calls, or beside a text. They call nothing,
    and providers reject a conversation with a call that has no name.
    """
    calls = [call for call in message.tool_calls if not _is_blank(call)]
    if len(calls) == len(message.tool_calls):
        return message
    raw = {**message.raw, "tool_calls": [call.as_request() for call in calls]}
    if not calls:
        del raw["tool_calls"]
    return attrs.evolve(message, tool_calls=calls, raw=raw)


def _is_blank(call: ToolCall) -> bool:
    arguments = call.function.arguments.strip()
    return not call.function.name and arguments in ("", "{}", "null")


def sendable_calls(
    message: Message, call_ids: CallIds, started: Sequence[str | None] = ()
) -> tuple[MessageLike, list[ToolCall]]:
    """
    Return an assistant message to send back, and its calls with unique ids.

    Providers reject calls without an id, two calls with one id, and arguments that are
    not a JSON object. These ids and arguments are replaced; if there are none of them,
    the message is returned unchanged.

    Args:
        message: The message of the response.
        call_ids: The call ids of the run so far; those of this message are added.
        started: The ids that events have reported, in the order of the calls; None
            for a call without an event.
    """
    calls: list[ToolCall] = []
    sent: list[dict[str, Any]] = []
    for number, call in enumerate(message.tool_calls):
        reported = started[number] if number < len(started) else None
        call_id = call_ids.add(call.id) if reported is None else reported
        arguments = sendable_arguments(call)
        request = call.as_request()
        if call_id != call.id or arguments != call.function.arguments:
            function = {**_function(request), "arguments": arguments}
            request = {
                **request,
                "id": call_id,
                "type": call.type,
                "function": function,
            }
        sent.append(request)
        calls.append(attrs.evolve(call, id=call_id))
    if sent == [call.as_request() for call in message.tool_calls]:
        return message, calls
    return {**message.as_request(), "tool_calls": sent}, calls


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]
