"""
OpenTelemetry: spans, metrics and events of calls and tools.

    client = AsyncOpenRouter(observer=OpenTelemetry())

Without a configured SDK it does nothing. Names follow the semantic conventions for
generative AI, which are still in development: all of them are in `NAMES`.
"""

from .names import NAMES
from .spans import CaptureMode, OpenTelemetry

__all__ = ["NAMES", "CaptureMode", "OpenTelemetry"]
