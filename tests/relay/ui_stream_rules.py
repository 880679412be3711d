"""The rules that the AI SDK's client applies to a UI message stream."""

import json
from typing import Any

_CALL_FIELDS = {
    "tool-input-start": {"toolName", "dynamic"},
    "tool-input-delta": {"inputTextDelta"},
    "tool-input-available": {"toolName", "input", "dynamic"},
    "tool-input-error": {"toolName", "input", "errorText", "dynamic"},
    "tool-output-available": {"output", "dynamic"},
    "tool-output-error": {"errorText", "dynamic"},
}


def read_events(data: bytes) -> list[dict[str, Any]]:
    """Return the JSON objects of a stream that ends with `[DONE]`; skip comments."""
    *events, done, rest = data.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    kept = [event for event in events if event != ": keep-alive"]
    assert all(
        event.startswith("data: {") and "\n" not in event and "\r" not in event
        for event in kept
    )
    return [json.loads(event.removeprefix("data: ")) for event in kept]


class UIStreamRules:
    """An automaton that accepts the streams that the client accepts."""

    def __init__(self) -> None:
        self.open_part: tuple[str, str] | None = None
        self.part_ids: set[str] = set()
        self.in_step = False
        self.calls: dict[str, str] = {}
        self.source_ids: set[str] = set()

    def accept(self, events: list[dict[str, Any]]) -> None:
        """Check a whole stream."""
        first, *middle, last = events
        assert first["type"] == "start"
        assert set(first) <= {"type", "messageId"}
        for event in middle:
            self.step(dict(event))
        assert self.open_part is None
        if last["type"] == "finish":
            assert not self.in_step
            assert last["finishReason"] in {
                *("stop", "length", "content-filter", "tool-calls", "error", "other"),
            }
        else:
            assert set(last) == {"type", "errorText"}
            assert last["type"] == "error"

    def step(self, event: dict[str, Any]) -> None:
        """Check one event between the first and the last one."""
        kind = event.pop("type")
        if kind == "start-step":
            assert not self.in_step
            self.in_step = True
            return
        assert self.in_step
        if kind == "finish-step":
            assert self.open_part is None
            self.in_step = False
        elif kind in _CALL_FIELDS:
            self._call(kind, event)
        elif kind == "source-url":
            assert set(event) - {"title"} == {"sourceId", "url"}
            assert event["sourceId"] not in self.source_ids
            self.source_ids.add(event["sourceId"])
        elif kind == "file":
            assert self.open_part is None
            assert set(event) == {"url", "mediaType"}
        else:
            name, _, stage = kind.partition("-")
            self._part(name, stage, event)

    def _part(self, name: str, stage: str, event: dict[str, Any]) -> None:
        assert name in {"text", "reasoning"}
        part = (name, event["id"])
        if stage == "start":
            assert self.open_part is None
            assert event["id"] not in self.part_ids
            self.part_ids.add(event["id"])
            self.open_part = part
        else:
            assert self.open_part == part
            if stage == "end":
                self.open_part = None
            else:
                assert stage == "delta"
                assert isinstance(event["delta"], str)

    def _call(self, kind: str, event: dict[str, Any]) -> None:
        assert self.open_part is None
        call_id = event.pop("toolCallId")
        state = self.calls.get(call_id, "unknown")
        assert set(event) == _CALL_FIELDS[kind]
        assert event.get("dynamic", True) is True
        if kind == "tool-input-start":
            assert state == "unknown"
            self.calls[call_id] = "streaming"
        elif kind == "tool-input-delta":
            assert state == "streaming"
        elif kind.startswith("tool-input"):
            assert state in {"unknown", "streaming"}
            self.calls[call_id] = "called"
        else:
            assert state == "called"
            self.calls[call_id] = "finished"
