"""
The chat operation: `send`, `run_tools` and `send_many`.

Structured outputs, tools and batches are imported by the first call that uses them.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine, Mapping
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

from .pending import PendingResponse
from .protocol.body import chat_body
from .protocol.call import Call
from .protocol.headers import mask
from .protocol.response_parsing import read_chat
from .protocol.settings import CallOptions, Settings
from .stream import ChatStream, PendingStream
from .transport.transport import Transport
from .types import (
    ChatFields,
    ChatGenerationParams,
    ChatResponse,
)

if TYPE_CHECKING:
    from .batch import (
        BatchOptions,
        BatchRun,
        Concurrency,
        Items,
        OnError,
        Progress,
    )
    from .parsed import ParsedResponse, ParsedStream
    from .structured.output_parser import OutputParser
    from .tools import Observer, OnToolError, ToolRun, ToolStream

T = TypeVar("T")

_PATH: Final = "/chat/completions"
_OPTION_NAMES: Final = CallOptions.__optional_keys__


class SendOptions(ChatFields, CallOptions, total=False):
    """The keywords of `send`: the request's fields, and the options of the call."""


class RunToolsOptions(SendOptions, total=False):
    """The keywords of `run_tools`, apart from `output` and `stream`."""

    max_turns: int
    max_parallel_tools: int
    on_tool_error: OnToolError
    deadline: float | None


class SendManyOptions(SendOptions, total=False):
    """The keywords of `send_many`, apart from `output`."""

    concurrency: Concurrency
    ordered: bool
    on_error: OnError
    max_cost: float | None
    journal: str | os.PathLike[str] | None
    progress: Progress | None
    rpm: float | None
    stall_timeout: float


class Chat:
    """The chat operation of a client."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        observer: Observer | None,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._observer = observer

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
        **fields: Any,
    ) -> Coroutine[Any, Any, Any]:
        """
        Send a chat request.

        Await the call for a `ChatResponse`. With `stream=True` await it for a
        `ChatStream`, or enter it:
        `async with client.chat.send(..., stream=True) as stream:`.

        Args:
            params: The request as an object or a mapping. Keywords override its
                fields; a keyword that is None overrides nothing.
            output: The type of the model's answer: an attrs class, a dataclass, a
                TypedDict, a pydantic model, a union, a list and so on. The request
                asks for JSON that matches the type, and the response has the value
                as `output`. A `response_format` or `provider` in the request
                overrides what `output` would set.
            stream: If True, return a `ChatStream` that yields chunks as they arrive.
            **fields: Fields of `ChatGenerationParams`, and options of this call:
                `timeouts`, `retries`, `api_key`, `base_url`, `extra_headers`,
                `extra_query`, `extra_body` and `usage_tag`.

        Raises:
            TypeError: If an argument is unknown or has the wrong type.
            ConfigurationError: If there are no messages, no key, or an option is
                invalid.
            ClosedError: If the client is closed.
            BudgetExceededError: If a budget of the client does not allow the call;
                nothing was sent.
            APIConnectionError: If no response arrived, or it broke off.
            APITimeoutError: If a timeout expired.
            MalformedResponseError: If the response is not a chat completion.
            OutputError: If the response is complete but is not a value of `output`.
            APIError: If the status is outside 2XX, or a response with status 200
                contains an error; the subclass depends on the status.

        Source: `POST /chat/completions` of OpenRouter's API.
        """
        options = _take_options(fields)
        parser = _output_parser(output)
        call = self._call(params, fields, options, stream=stream, parser=parser)
        if stream:
            return PendingStream(self._open(call, parser))
        return PendingResponse(self._complete(call, parser))

    @overload
    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: None = None,
        stream: Literal[False] = False,
        **options: Unpack[RunToolsOptions],
    ) -> ToolRun[ChatResponse]: ...

    @overload
    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: None = None,
        stream: Literal[True],
        **options: Unpack[RunToolsOptions],
    ) -> ToolStream[ChatResponse]: ...

    @overload
    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: None = None,
        stream: bool,
        **options: Unpack[RunToolsOptions],
    ) -> ToolRun[ChatResponse] | ToolStream[ChatResponse]: ...

    @overload
    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: TypeForm[T],
        stream: Literal[False] = False,
        **options: Unpack[RunToolsOptions],
    ) -> ToolRun[ParsedResponse[T]]: ...

    @overload
    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: TypeForm[T],
        stream: Literal[True],
        **options: Unpack[RunToolsOptions],
    ) -> ToolStream[ParsedResponse[T]]: ...

    @overload
    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: TypeForm[T],
        stream: bool,
        **options: Unpack[RunToolsOptions],
    ) -> ToolRun[ParsedResponse[T]] | ToolStream[ParsedResponse[T]]: ...

    def run_tools(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None = None,
        /,
        *,
        output: Any = None,
        stream: bool = False,
        max_turns: int = 10,
        max_parallel_tools: int = 8,
        on_tool_error: OnToolError = "report",
        deadline: float | None = None,
        **fields: Any,
    ) -> Any:
        """
        Send requests and execute the tools that the model calls until it answers.

        Await the call for a `ToolRun` with the final response, the conversation, the
        results of the tools and the cost. With `stream=True` the call returns a
        `ToolStream`: enter it, and iterate over text, tool calls and results as they
        arrive.

        Tools are executed when the turn that calls them is complete, and never if it
        was truncated. A `tool_choice` that forces a call applies to the first turn
        only. Calls of unknown tools and invalid arguments are reported to the model.

        Args:
            params: The request, as in `send`.
            output: The type of the final answer, as in `send`.
            stream: If True, return a `ToolStream` that yields events as they happen.
            max_turns: Maximum number of requests, 1 or more.
            max_parallel_tools: Maximum number of tools of one turn that run at the
                same time, 1 or more.
            on_tool_error: The treatment of an exception that a tool raises. "report":
                send the error to the model; "raise": raise it from the run; or a
                function of the call and the exception that returns the text for the
                model, or raises. The content of a `ToolError` is always sent.
            deadline: Maximum seconds of the whole run, including the tools; None for no
                limit. `timeouts` apply to each request of the run, and
                `@tool(timeout=)` to each call of a tool.
            **fields: Fields and options, as in `send`. `tools` contains functions
                decorated with `@tool`, and server tools.

        Raises:
            ConfigurationError: If a function tool has no function to execute.
            MaxTurnsError: If the model calls tools in its last turn.
            ToolCallTruncatedError: If a tool call was cut off.
            ToolRunTimeoutError: If the deadline passes; the error names the tools that
                had not returned.
            OpenRouterError: If a request fails, as in `send`; the run keeps the
                conversation so far.
        """
        from .tools import ToolLoop, ToolRun, ToolStream

        options = _take_options(fields)
        parser = _output_parser(output)
        request = {
            name: _get(params, name) if fields.get(name) is None else fields[name]
            for name in ("messages", "tools", "tool_choice")
        }

        def ask(
            *, stream: bool, messages: Any, tool_choice: Any
        ) -> Coroutine[Any, Any, Any]:
            turn = {**fields, "messages": messages, "tool_choice": tool_choice}
            call = self._call(params, turn, options, stream=stream, parser=parser)
            return self._open(call) if stream else self._complete(call)

        loop = ToolLoop(
            ask,
            request,
            max_turns=max_turns,
            max_parallel_tools=max_parallel_tools,
            on_tool_error=on_tool_error,
            deadline=deadline,
            observer=self._observer,
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
        **options: Unpack[SendManyOptions],
    ) -> BatchRun[None]: ...

    @overload
    def send_many(
        self,
        items: Items,
        *,
        output: TypeForm[T],
        **options: Unpack[SendManyOptions],
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
        stall_timeout: float = 900.0,
        **fields: Any,
    ) -> BatchRun[Any]:
        """
        Send many requests and return a run that yields their results.

            async with client.chat.send_many(prompts, model="...") as run:
                async for result in run:
                    print(result.index, result.text if result.ok else result.error)

        Args:
            items: Prompts, lists of messages, requests or `BatchItem`s, in any plain
                or async iterable, which is read as requests are sent; or the `Path`
                of a JSON-lines file.
            output: The type of each answer, as in `send`. A result has the value as
                `output`; an answer that does not fit is an error.
            concurrency: Maximum number of requests in flight; "auto" adapts it to the
                capacity of the model.
            ordered: If True, yield results in the order of the items instead of the
                order of completion.
            on_error: "capture": a request that fails yields a result with `error`.
                "raise": the first failure ends the run.
            max_cost: Maximum cost in US dollars, including earlier runs with the same
                journal. The limit is guaranteed if every request has `max_tokens`,
                contains only text and function tools, and has a known price; otherwise
                it is estimated. `run.stats.budget` says which. The client's own budgets
                hold in addition; a run that one of them stops ends in the same way.
            journal: Output file in JSON lines. Requests whose results are in the file
                are not sent again. Needs `openrouter_async[batch]`.
            progress: A function that is called with `run.stats` twice a second; if
                True, write a line to stderr.
            rpm: Maximum number of requests per minute. Needs `openrouter_async[batch]`.
            stall_timeout: Seconds without success after which a run whose requests
                are all refused ends with `BatchStoppedError`. 900: the server is
                asked again every two minutes during that time.
            **fields: Fields and options, as in `send`. They apply to every item that
                does not set them itself; `extra_body` overrides the items.

        Raises:
            TypeError: If an argument is unknown or has the wrong type.
            ConfigurationError: If an option is invalid.
        """
        from .batch import BatchOptions

        call_options = _take_options(fields)
        options = BatchOptions(
            items=items,
            concurrency=concurrency,
            ordered=ordered,
            on_error=on_error,
            max_cost=max_cost,
            journal=journal,
            progress=progress,
            rpm=rpm,
            stall_timeout=stall_timeout,
        )
        return self.run_of(options, output, {**fields, **call_options})

    def run_of(
        self, options: BatchOptions, output: Any, fields: dict[str, Any]
    ) -> BatchRun[Any]:
        """
        Return a run with options that `send_many` does not have.

        Engines with several processes use it: each process has such a run.

        Args:
            options: The options of the run.
            output: The type of each answer, as in `send`; None for none.
            fields: Fields and options, as in `send`.

        Raises:
            TypeError: If an argument is unknown or has the wrong type.
            ConfigurationError: If an option is invalid.
        """
        from .batch import BatchRun, RequestBuilder

        call_options = _take_options(fields)
        builder = RequestBuilder(
            self._settings.with_options(call_options),
            self._transport,
            fields,
            extra=call_options.get("extra_body"),
            query=call_options.get("extra_query"),
            parser=_output_parser(output),
        )
        return BatchRun(options, builder, self._transport.limiters)

    def _call(
        self,
        params: ChatGenerationParams | Mapping[str, Any] | None,
        fields: Mapping[str, Any],
        options: Mapping[str, Any],
        *,
        stream: bool,
        parser: OutputParser[Any] | None,
    ) -> Call[ChatResponse]:
        body = chat_body(params, fields, stream=stream, extra=options.get("extra_body"))
        if parser is not None:
            from .structured.response_format import require_schema

            require_schema(body, parser.schema)
        settings = self._settings.with_options(options) if options else self._settings
        call = settings.call(
            "POST",
            _PATH,
            read_chat,
            body=body,
            query=options.get("extra_query"),
            stream=stream,
            model=body.get("model"),
            account=settings.account,
            provider=body.get("provider"),
        )
        budgets = self._transport.budgets
        if budgets is not None:
            budgets.attach(call, settings, body)
        return call

    async def _complete(
        self, call: Call[ChatResponse], parser: OutputParser[Any] | None = None
    ) -> ChatResponse:
        return _parsed(
            await self._transport.fetch(call, concurrency=self._settings.concurrency),
            parser,
        )

    async def _open(
        self, call: Call[ChatResponse], parser: OutputParser[Any] | None = None
    ) -> ChatStream:
        concurrency = self._settings.concurrency
        event_stream, state = await self._transport.open(call, concurrency=concurrency)
        if parser is None:
            return ChatStream(event_stream, state)
        from .parsed import ParsedStream

        return ParsedStream(event_stream, state, parser)

    # Python's warning about a coroutine that was never awaited names `send`.
    _complete.__qualname__ = _open.__qualname__ = "Chat.send"


def _take_options(fields: dict[str, Any]) -> dict[str, Any]:
    """
    Remove the options of the call from the keywords, and return them.

    The key is masked: tracebacks that show locals would show it.
    """
    if _OPTION_NAMES.isdisjoint(fields):
        return {}
    options = {name: fields.pop(name) for name in _OPTION_NAMES & fields.keys()}
    options["api_key"] = mask(options.get("api_key"))
    return options


def _get(params: ChatGenerationParams | Mapping[str, Any] | None, name: str) -> Any:
    if isinstance(params, Mapping):
        return params.get(name)
    return getattr(params, name, None)


def _parsed(response: ChatResponse, parser: OutputParser[Any] | None) -> ChatResponse:
    if parser is None:
        return response
    from .parsed import parse_response

    return parse_response(response, parser)


def _output_parser(output: Any) -> OutputParser[Any] | None:
    if output is None:
        return None
    from .structured.output_parser import parser_of

    return parser_of(output)
