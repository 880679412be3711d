"""Observers of tools, and the report of one call of a tool to them."""

import logging
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self

from ..errors import ClosedError
from ..transport.call_events import CallObserver, LoggedContext
from ..types import ToolCall
from .events import ToolResult

logger = logging.getLogger("openrouter_async")

_RAISED: Final = "observer.%s raised; the tool itself is not affected."


class ToolObservation(Protocol):
    """The part of an observer that is about one call of a tool."""

    def active(self) -> AbstractContextManager[object]:
        """
        Return the context in which the function runs, in a task of its own.

        A plain function runs in a thread, which inherits the context.
        """
        ...

    def finished(self, result: ToolResult) -> None:
        """
        Note the end of the call. It is called once.

        Args:
            result: The result or the error. The error is a `ClosedError` if the run was
                cancelled or closed meanwhile.
        """
        ...


class Observer(CallObserver, Protocol):
    """
    An observer of calls and tools: `AsyncOpenRouter(observer=...)`.

    An exception that it raises is logged, and affects nothing else. Its methods must
    not block.
    """

    def tool_started(self, call: ToolCall, turn: int) -> ToolObservation | None:
        """
        Note the start of a tool, in the task in which its function will run.

        Args:
            call: The call; the tool may be unknown and the arguments invalid.
            turn: The number of the turn, from 1.

        Returns:
            The observation of this tool; None if the observer ignores it.
        """
        ...


class ToolReport:
    """
    One call of a tool in progress, as its observer sees it.

    Attributes:
        result: The result; to be set before this is left without an exception.
    """

    __slots__ = ("_call", "_context", "_observation", "_turn", "result")

    def __init__(self, observer: Observer, call: ToolCall, turn: int) -> None:
        self._call = call
        self._turn = turn
        self.result: ToolResult | None = None
        self._observation: ToolObservation | None = None
        try:
            self._observation = observer.tool_started(call, turn)
        except Exception:
            logger.exception(_RAISED, "tool_started")
        self._context = LoggedContext(self._observation, "observer.active")

    def __enter__(self) -> Self:
        self._context.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._context.__exit__(kind, error, trace)
        if self._observation is None:
            return
        try:
            self._observation.finished(self.result or self._result_of(error))
        except Exception:
            logger.exception(_RAISED, "finished")

    def _result_of(self, error: BaseException | None) -> ToolResult:
        """Return the result to report for an exception that ends the run."""
        if not isinstance(error, Exception):
            error = ClosedError("The run ended while the tool was running.")
        return ToolResult(self._call, "", None, error, self._turn)
