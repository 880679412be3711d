"""CallEvents: what observers get, and what their failures do."""

import asyncio
import logging
import time
from typing import Any

import pytest

from openrouter_async.config import Retries, SizeLimits, Timeouts
from openrouter_async.errors import APIError, ClosedError
from openrouter_async.protocol.base_url import parse_base_url
from openrouter_async.protocol.call import Call, CallAccount, CallRecord
from openrouter_async.protocol.response_objects import read_response
from openrouter_async.transport.call_events import CallEvents
from openrouter_async.transport.usage_meter import OddCall, UsageMeter


def parse_nothing(*_: object) -> None:
    """Return no value."""


def new_call() -> Call[Any]:
    return Call(
        method="POST",
        url="https://openrouter.ai/api/v1/chat/completions",
        headers={},
        body=b"{}",
        api_key="k",
        base_url=parse_base_url("https://openrouter.ai/api/v1", allow_http=False),
        timeouts=Timeouts(),
        retries=Retries(),
        size_limits=SizeLimits(),
        parse=parse_nothing,
        model="m",
    )


@pytest.mark.parametrize(
    ("error", "outcome", "is_recorded"),
    [
        (None, "ok", False),
        (APIError("No.", status_code=500), "error", True),
        (ClosedError("Closed."), "closed", False),
        (asyncio.CancelledError(), "cancelled", False),
        (KeyError("raised by the caller's key function"), "error", False),
    ],
)
def test_record_has_the_outcome_of_the_call(
    error: BaseException | None, outcome: str, is_recorded: bool
) -> None:
    records: list[CallRecord] = []
    report = CallEvents({"on_call": records.append}, time.monotonic).begin(new_call())
    response = read_response({"usage": {"cost": 0.5}})

    report.end(error, lambda: response)

    (record,) = records
    assert (record.outcome, record.model, record.stream) == (outcome, "m", False)
    assert record.error is (error if is_recorded else None)
    assert record.usage is response.usage
    assert record.http is report.http
    assert record.http.timings.total is not None


def test_failed_call_reports_the_usage_of_its_partial_response() -> None:
    records: list[CallRecord] = []
    report = CallEvents({"on_call": records.append}, time.monotonic).begin(new_call())
    partial = read_response({"usage": {"cost": 0.5}})

    report.fail(APIError("No.", status_code=500, partial=partial))

    assert records[0].usage is partial.usage


def test_response_is_not_accumulated_without_an_observer() -> None:
    report = CallEvents({}, time.monotonic).begin(new_call())

    report.end(None, lambda: pytest.fail("it was accumulated"))

    assert report.http.timings.total is not None


def test_failure_of_one_observer_is_logged_and_does_not_reach_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records: list[CallRecord] = []

    def fail(record: CallRecord) -> None:
        raise ValueError(record.model)

    events = CallEvents({"first": fail, "second": records.append}, time.monotonic)

    events.begin(new_call()).end(None, lambda: None)

    assert [record.outcome for record in records] == ["ok"]
    (logged,) = caplog.records
    assert (logged.name, logged.levelno) == ("openrouter_async", logging.ERROR)
    assert logged.getMessage() == "first raised; the call itself is not affected."


class BrokenMeter(UsageMeter):
    """A meter that cannot count."""

    def add(self, call: OddCall) -> None:
        """Raise."""
        raise ValueError(call.model)


def test_failure_of_usage_reaches_neither_the_call_nor_the_observers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records: list[CallRecord] = []
    call = new_call()
    call.account = CallAccount(None, call.api_key, call.base_url)
    observers = {"on_call": records.append}
    events = CallEvents(observers, time.monotonic, meter=BrokenMeter())

    events.begin(call).end(None, lambda: None)

    assert [record.outcome for record in records] == ["ok"]
    assert "client.usage raised" in caplog.text
