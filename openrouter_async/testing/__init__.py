"""
A local OpenRouter for tests and demos: a real HTTP server, with scripts and faults.

`LocalOpenRouter` is the server. `Reply` is one scripted response; `completion()`,
`chunks()`, `tool_call()`, `error_reply()` and `error_in_200()` make its content.
Nothing is mocked: clients connect to the server over a socket, and any client of
OpenRouter's chat API can use it.
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
from .hosted_batches import HostedBatches
from .reply import Reply, StreamError
from .scripts import Script
from .seen_requests import SeenRequest
from .server import LocalOpenRouter
from .stored_batch import BatchScript

__all__ = [
    "BatchScript",
    "Capacity",
    "Clock",
    "HostedBatches",
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
