"""
Relays of streamed responses to browsers and other clients of a web backend.

`Relay` turns a stream into the body of a web framework's response: it opens the stream,
sends comments while nothing arrives, closes the stream if the client disconnects, and
reports a failure as a last event that contains nothing private. `read_ui_messages`
reads the messages that a front end posts, and trusts none of them.
"""

from .ai_sdk import AISDKFormat
from .public_errors import PublicError, public_error
from .pump import RelayResult
from .relay import Relay
from .relay_formats import OpenAIFormat, PlainTextFormat, RelayFormat, SSEFormat
from .ui_messages import read_ui_messages

__all__ = [
    "AISDKFormat",
    "OpenAIFormat",
    "PlainTextFormat",
    "PublicError",
    "Relay",
    "RelayFormat",
    "RelayResult",
    "SSEFormat",
    "public_error",
    "read_ui_messages",
]
