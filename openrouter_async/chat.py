"""
The chat operation: `send`, and what it returns; `run_tools`, `send_many`.

Typed outputs, tools and the fan-out are loaded by the first call that needs them.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    TypeVar,
    Unpack,
    overload,
)

from typing_extensions import TypeForm

from .config import Retries, Timeouts
from .protocol.body import chat_body
from .protocol.call import Call
from .protocol.headers import mask
from .protocol.response_parsing import read_chat
from .protocol.settings import Settings
from .stream import ChatStream, PendingStream
from .transport.answer import Answer
from .transport.transport import Transport
from .types import (
    ChatFields,
    ChatGenerationParams,
    ChatResponse,
)

if TYPE_CHECKING:
    from .batch import (
        BatchRun,
        Concurrency,
        Items,
        OnError,
        Progress,
    )
    from .parsed import ParsedResponse, ParsedStream
    from .structured.output_parser import OutputParser
    from .tools import OnToolError, ToolRun, ToolStream
    from .transport.limiter import LimiterRegistry

T = TypeVar("T")

_PATH: Final = "/chat/completions"


class SendOptions(ChatFields, total=False):
    """
    The keywords of `send`: every field of `ChatGenerationParams`, and the call's own.

    Attributes:
        timeouts: In place of the client's; a number replaces `total` alone, seconds.
        retries: In place of the client's.
        api_key: In place of the client's.
        base_url: In place of the client's; another host needs its own `api_key`.
        extra_headers: Merged last over the headers.
        extra_query: Added to the URL.
        extra_body: Merged last over the top-level keys of the body, sent as it is.
    """

    timeouts: Timeouts | float | None
    retries: Retries | None
    api_key: str | Callable[[], str | Awaitable[str]] | None
    base_url: str | None
    extra_headers: Mapping[str, str] | None
    extra_query: Mapping[str, Any] | None
    extra_body: Mapping[str, Any] | None


_OPTIONS: Final = frozenset(
    {
        "timeouts",
        "retries",
        "api_key",
        "base_url",
        "extra_headers",
        "extra_query",
        "extra_body",
    }
)


_RUN_FIELDS: Final = ("messages", "tools", "tool_choice")


class Chat:
    """The chat operation of a client."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        scopes: Callable[[], LimiterRegistry],
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._scopes = scopes

    @overload
    def send(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: None = None,
        stream: Literal[False] = False,
        **fields: Unpack[SendOptions],
    ) -> Coroutine[Any, Any, ChatResponse]: ...

    @overload
    def send(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: None = None,
        stream: Literal[True],
        **fields: Unpack[SendOptions],
    ) -> PendingStream: ...

    @overload
    def send(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: None = None,
        stream: bool,
        **fields: Unpack[SendOptions],
    ) -> Coroutine[Any, Any, ChatResponse | ChatStream]: ...

    @overload
    def send(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: TypeForm[T],
        stream: Literal[False] = False,
        **fields: Unpack[SendOptions],
    ) -> Coroutine[Any, Any, ParsedResponse[T]]: ...

    @overload
    def send(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: TypeForm[T],
        stream: Literal[True],
        **fields: Unpack[SendOptions],
    ) -> PendingStream[ParsedStream[T]]: ...

    @overload
    def send(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: TypeForm[T],
        stream: bool,
        **fields: Unpack[SendOptions],
    ) -> Coroutine[Any, Any, ParsedResponse[T] | ParsedStream[T]]: ...

    def send(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: Any = None,
        stream: bool = False,
        **fields: Unpack[SendOptions],
    ) -> Coroutine[Any, Any, Any]:
        """
        Ask a model for a reply.

        `await` gives a `ChatResponse`, with `stream=True` a `ChatStream`, which can
        also be entered: `async with client.chat.send(..., stream=True) as stream:`.

        Args:
            params: The request as a class or a mapping; None if the fields are
                given as keywords. With both, keywords win, and a keyword None
                leaves what `params` says.
            output: The type of the answer: an attrs class, a dataclass, a TypedDict, a
                pydantic model, a union, a list, ... JSON of it is asked for, and the
                reply has it as `output`. What the request itself says of
                `response_format` and `provider` wins.
            stream: Whether chunks are wanted as they arrive.
            **fields: Every field of `ChatGenerationParams`, and `timeouts`,
                `retries`, `api_key`, `base_url`, `extra_headers`, `extra_query`,
                `extra_body` for this call alone.

        Raises:
            TypeError: An argument that the signature refuses.
            ConfigurationError: Nothing to send, no key, an impossible option.
            ClosedError: The client is closed.
            APIConnectionError: No answer, or it broke; APITimeoutError: too late.
            MalformedResponseError: The answer is no chat reply.
            OutputError: The reply is whole, and not the value asked for.
            APIError: A status outside 2XX, or an error in a 200, by its class.

        Source: `POST /chat/completions` of OpenRouter's API.
        """
        if "api_key" in fields:
            fields["api_key"] = mask(fields["api_key"])
        parser = _parser(output)
        call = self._call(params, dict(fields), stream=stream, parser=parser)
        if stream:
            return PendingStream(self._open(call, parser))
        return self._complete(call, parser)

    @overload
    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: None = None,
        stream: Literal[False] = False,
        max_turns: int = 10,
        concurrency: int = 8,
        on_tool_error: OnToolError = "report",
        **fields: Unpack[SendOptions],
    ) -> ToolRun[ChatResponse]: ...

    @overload
    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: None = None,
        stream: Literal[True],
        max_turns: int = 10,
        concurrency: int = 8,
        on_tool_error: OnToolError = "report",
        **fields: Unpack[SendOptions],
    ) -> ToolStream[ChatResponse]: ...

    @overload
    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: None = None,
        stream: bool,
        max_turns: int = 10,
        concurrency: int = 8,
        on_tool_error: OnToolError = "report",
        **fields: Unpack[SendOptions],
    ) -> ToolRun[ChatResponse] | ToolStream[ChatResponse]: ...

    @overload
    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: TypeForm[T],
        stream: Literal[False] = False,
        max_turns: int = 10,
        concurrency: int = 8,
        on_tool_error: OnToolError = "report",
        **fields: Unpack[SendOptions],
    ) -> ToolRun[ParsedResponse[T]]: ...

    @overload
    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: TypeForm[T],
        stream: Literal[True],
        max_turns: int = 10,
        concurrency: int = 8,
        on_tool_error: OnToolError = "report",
        **fields: Unpack[SendOptions],
    ) -> ToolStream[ParsedResponse[T]]: ...

    @overload
    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: TypeForm[T],
        stream: bool,
        max_turns: int = 10,
        concurrency: int = 8,
        on_tool_error: OnToolError = "report",
        **fields: Unpack[SendOptions],
    ) -> ToolRun[ParsedResponse[T]] | ToolStream[ParsedResponse[T]]: ...

    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: Any = None,
        stream: bool = False,
        max_turns: int = 10,
        concurrency: int = 8,
        on_tool_error: OnToolError = "report",
        **fields: Unpack[SendOptions],
    ) -> Any:
        """
        Ask a model, execute the tools it calls, and tell it, until it answers.

        `await` returns a `ToolRun`: `.response`, `.messages`, `.turns`, `.results`,
        `.cost`.
        With `stream=True` it is a `ToolStream`, to be entered and iterated: text,
        calls and results as they come.

        A call is executed when its turn has ended, and never if it was cut off. A
        `tool_choice` that forces a call does so in the first turn only. The model is
        told of tools that there are not and of arguments that do not fit.

        Args:
            params: As in `send`.
            output: The type of the final answer, as in `send`.
            stream: Whether events are wanted as they happen.
            max_turns: Replies asked for at most, 1 or more.
            concurrency: Calls of one turn executed at once, 1 or more.
            on_tool_error: The treatment of an exception that a tool raises. "report":
                send the error to the model; "raise": raise it from the run; or a
                function of the call and the exception that returns the text for the
                model, or raises.
            **fields: As in `send`. `tools` has what `@tool` made, and server tools.

        Raises:
            ConfigurationError: A function tool that has no function.
            MaxTurnsError: The model still calls tools in its last turn.
            ToolCallTruncatedError: A call is cut off.
            OpenRouterError: As from `send`. The run itself keeps what was said.
        """
        from .tools import ToolLoop, ToolRun, ToolStream

        if "api_key" in fields:
            fields["api_key"] = mask(fields["api_key"])
        parser = _parser(output)
        given: Mapping[str, Any] = (
            {name: getattr(params, name) for name in _RUN_FIELDS}
            if isinstance(params, ChatGenerationParams)
            else params or {}
        )
        request: dict[str, Any] = {
            name: given.get(name) if fields.get(name) is None else fields.get(name)
            for name in _RUN_FIELDS
        }

        def ask(
            *, stream: bool, messages: Any, tool_choice: Any
        ) -> Coroutine[Any, Any, Any]:
            turn = {**fields, "messages": messages, "tool_choice": tool_choice}
            call = self._call(params, turn, stream=stream, parser=parser)
            return self._open(call) if stream else self._complete(call)

        loop = ToolLoop(
            ask,
            request,
            max_turns=max_turns,
            max_parallel_tools=concurrency,
            on_tool_error=on_tool_error,
        )

        def finish(response: ChatResponse) -> ChatResponse:
            return _parsed(response, parser)

        return ToolStream(loop, finish) if stream else ToolRun(loop, finish)

    @overload
    def send_many(
        self,
        items: Items,
        *,
        output: None = None,
        concurrency: Concurrency = "auto",
        ordered: bool = False,
        on_error: OnError = "capture",
        max_cost: float | None = None,
        journal: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        rpm: float | None = None,
        **fields: Unpack[SendOptions],
    ) -> BatchRun[None]: ...

    @overload
    def send_many(
        self,
        items: Items,
        *,
        output: TypeForm[T],
        concurrency: Concurrency = "auto",
        ordered: bool = False,
        on_error: OnError = "capture",
        max_cost: float | None = None,
        journal: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        rpm: float | None = None,
        **fields: Unpack[SendOptions],
    ) -> BatchRun[T]: ...

    def send_many(
        self,
        items: Items,
        *,
        output: Any = None,
        concurrency: Concurrency = "auto",
        ordered: bool = False,
        on_error: OnError = "capture",
        max_cost: float | None = None,
        journal: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        rpm: float | None = None,
        **fields: Unpack[SendOptions],
    ) -> BatchRun[Any]:
        """
        Send many requests, and give back what each comes to.

            async with client.chat.send_many(prompts, model="...") as run:
                async for result in run:
                    print(result.index, result.text if result.ok else result.error)

        Args:
            items: Prompts, lists of messages, requests, or `BatchItem`s: any iterable,
                plain or async, pulled as there is room; or the `Path` of a file of
                JSON lines.
            output: The type of each answer, as in `send`; a result has it as `output`,
                and a reply that does not fit is an error.
            concurrency: Requests in flight; "auto" finds out how many are taken.
            ordered: Give results in the order of their rows, not as they come.
            on_error: "capture": a row that fails is a result with an `error`. "raise":
                the first one ends the run.
            max_cost: US dollars, those of earlier runs with the same journal included.
                A promise where every row has `max_tokens`, nothing but text and a
                known price; else an estimate: `run.stats` tells which.
            journal: The output file, JSON lines. Rows that are in it already are not
                sent again. Needs `openrouter_async[batch]`.
            progress: Called with `run.stats` twice a second; True: a line on stderr.
            rpm: Requests a minute, at the most. Needs `openrouter_async[batch]`.
            **fields: Those of `send`; they fill what a row leaves open, but for
                `extra_body`, which is merged last over every body.

        Raises:
            TypeError: An argument that the signature refuses.
            ConfigurationError: An impossible option.
        """
        from .batch import BatchOptions, BatchRun, RequestBuilder

        if "api_key" in fields:
            fields["api_key"] = mask(fields["api_key"])
        given: dict[str, Any] = dict(fields)
        options = {name: given.pop(name) for name in _OPTIONS & given.keys()}
        options["headers"] = options.get("extra_headers")
        calls = RequestBuilder(
            self._settings.with_options(options),
            self._transport,
            given,
            extra=options.get("extra_body"),
            query=options.get("extra_query"),
            parser=_parser(output),
        )
        plan = BatchOptions(
            items=items,
            concurrency=concurrency,
            ordered=ordered,
            on_error=on_error,
            max_cost=max_cost,
            journal=journal,
            progress=progress,
            rpm=rpm,
        )
        return BatchRun(plan, calls, self._scopes())

    def _call(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None,
        fields: dict[str, Any],
        *,
        stream: bool,
        parser: OutputParser[Any] | None = None,
    ) -> Call[ChatResponse]:
        options: dict[str, Any] = {}
        if not _OPTIONS.isdisjoint(fields):
            options = {name: fields.pop(name) for name in _OPTIONS & fields.keys()}
        extra = options.get("extra_body")
        body = chat_body(params, fields, stream=stream, extra=extra)
        if parser is not None:
            from .structured.response_format import require_schema

            require_schema(body, parser.schema)
        settings = self._settings
        if options:
            options["headers"] = options.get("extra_headers")
            settings = settings.with_options(options)
        return settings.call(
            "POST",
            _PATH,
            read_chat,
            body=body,
            query=options.get("extra_query"),
            stream=stream,
            model=body.get("model"),
        )

    async def _complete(
        self, call: Call[ChatResponse], parser: OutputParser[Any] | None = None
    ) -> ChatResponse:
        answer: Answer[ChatResponse] = await self._transport.send(call)
        assert answer.value is not None
        return _parsed(answer.value, parser)

    async def _open(
        self, call: Call[ChatResponse], parser: OutputParser[Any] | None = None
    ) -> ChatStream:
        answer = await self._transport.send(call)
        assert answer.feed is not None
        if parser is None:
            return ChatStream(answer.feed, answer)
        from .parsed import ParsedStream

        return ParsedStream(answer.feed, answer, parser)


def _parsed(response: ChatResponse, parser: OutputParser[Any] | None) -> ChatResponse:
    if parser is None:
        return response
    from .parsed import parse_response

    return parse_response(response, parser)


def _parser(output: Any) -> OutputParser[Any] | None:
    if output is None:
        return None
    from .structured.output_parser import parser_of

    return parser_of(output)


def new_scopes() -> LimiterRegistry:
    """Return what the runs of one client know of the places that they talk to."""
    from .transport.limiter import LimiterRegistry

    return LimiterRegistry()
