"""
A local OpenRouter for demos and tests: a real server, scripts, and faults on demand.

`LocalOpenRouter` is the server, `Reply` all that it can be told to say or to break.
The rest makes what replies are made of. No part of it is a mock: clients talk to it
over a socket, and any client of OpenRouter's chat API can.
"""

from openrouter_async.config import Clock

from .builders import (
    chunks,
    completion,
    generation_id,
    tool_call,
)
from .capacity import Capacity, lognormal
from .counters import ServerStats
from .error_replies import error_in_200, error_reply
from .reply import Reply, StreamError
from .scripts import Script
from .seen_requests import SeenRequest
from .server import LocalOpenRouter

__all__ = [
    "Capacity",
    "Clock",
    "LocalOpenRouter",
    "Reply",
    "Script",
    "SeenRequest",
    "ServerStats",
    "StreamError",
    "chunks",
    "completion",
    "error_in_200",
    "error_reply",
    "generation_id",
    "lognormal",
    "tool_call",
]
