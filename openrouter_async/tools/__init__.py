"""
Functions that a model calls, and the loop that calls them.

A function becomes a tool by its annotations; a run sends, executes what the model
calls and sends the results, until the model answers.
"""

from .decorator import make_tool, tool
from .events import (
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallFinished,
    ToolCallStarted,
    ToolEvent,
    ToolResult,
    TurnFinished,
)
from .loop import OnToolError, ToolLoop
from .tool_run import ToolRun, ToolStream

__all__ = [
    "OnToolError",
    "ReasoningDelta",
    "TextDelta",
    "ToolCallArguments",
    "ToolCallFinished",
    "ToolCallStarted",
    "ToolEvent",
    "ToolLoop",
    "ToolResult",
    "ToolRun",
    "ToolStream",
    "TurnFinished",
    "make_tool",
    "tool",
]
