"""
A naive event-stream decoder: the rules of WHATWG HTML 9.2.6, one line per rule.

It takes a complete stream at once. The tests compare the real decoder with it.
"""

import re

from openrouter_async.sse import ServerSentEvent


def decode(stream: bytes) -> tuple[list[ServerSentEvent], int]:
    """Return the events of a complete stream and its number of comment lines."""
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
