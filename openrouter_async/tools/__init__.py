"""
Tools: functions that a model can call, and the loop that calls them.

`tool` makes a tool of a function by its annotations. A run sends the conversation,
executes the calls of the model and sends their results, until the model responds
without a call.
"""

from .decorator import make_schema_tool, make_tool, tool
from .events import (
    CitationReceived,
    EventBuilder,
    ImageReceived,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallFinished,
    ToolCallStarted,
    ToolEvent,
    ToolResult,
    TurnFinished,
)
from .execution import OnToolError
from .loop import ToolLoop
from .observation import Observer, ToolObservation
from .tool_run import ToolRun, ToolStream

__all__ = [
    "CitationReceived",
    "EventBuilder",
    "ImageReceived",
    "Observer",
    "OnToolError",
    "ReasoningDelta",
    "TextDelta",
    "ToolCallArguments",
    "ToolCallFinished",
    "ToolCallStarted",
    "ToolEvent",
    "ToolLoop",
    "ToolObservation",
    "ToolResult",
    "ToolRun",
    "ToolStream",
    "TurnFinished",
    "make_schema_tool",
    "make_tool",
    "tool",
]
