"""
Arguments -> Call; status, headers and body -> value or exception.

Pure: nothing here is async, waits, or reads a clock.
"""

from .body import chat_body, unexpected_keyword
from .call import (
    ApiKey,
    Call,
    Origin,
    Secret,
    bearer,
    check_header_value,
    check_headers,
    conceal,
    hide,
    is_loopback,
    join_url,
    read_origin,
)
from .reading import (
    DONE,
    attach,
    chunk_of,
    find_error,
    folded,
    is_empty,
    is_event_stream,
    media_type,
    read_chat,
    read_event,
    read_json,
    usage_of,
)

__all__ = [
    "DONE",
    "ApiKey",
    "Call",
    "Origin",
    "Secret",
    "attach",
    "bearer",
    "chat_body",
    "check_header_value",
    "check_headers",
    "chunk_of",
    "conceal",
    "find_error",
    "folded",
    "hide",
    "is_empty",
    "is_event_stream",
    "is_loopback",
    "join_url",
    "media_type",
    "read_chat",
    "read_event",
    "read_json",
    "read_origin",
    "unexpected_keyword",
    "usage_of",
]
