"""
The event-stream rules of WHATWG HTML 9.2.6, written down as plainly as they read.

It takes the whole stream at once and is slow; the real decoder is held against it.
"""

import re

from openrouter_async.sse import ServerSentEvent


def decode(stream: bytes) -> tuple[list[ServerSentEvent], int]:
    """Return the events of a whole stream, and how many comment lines it has."""
    text = stream.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    *lines, _unfinished = re.split("\r\n|\n|\r", text)
    events: list[ServerSentEvent] = []
    comments = 0
    data, kind, last_id = "", "", ""
    retry: int | None = None
    for line in lines:
        if line == "":
            if data != "":
                event = ServerSentEvent(kind or "message", data[:-1], last_id, retry)
                events.append(event)
            data, kind, retry = "", "", None
        elif line.startswith(":"):
            comments += 1
        else:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data += value + "\n"
            elif name == "event":
                kind = value
            elif name == "id" and "\0" not in value:
                last_id = value
            elif name == "retry" and re.fullmatch("[0-9]{1,18}", value):
                retry = int(value)
    return events, comments
