"""UsageMeter: exact sums in bounded memory, from any thread."""

import threading
from decimal import Decimal
from typing import Any

from openrouter_async.protocol.base_url import parse_base_url
from openrouter_async.protocol.call import CallAccount
from openrouter_async.protocol.usage_snapshot import UsageSnapshot, take_snapshot
from openrouter_async.transport.usage_meter import (
    MAX_UNKNOWN,
    UnknownCall,
    UnusualEnd,
    UsageMeter,
)

ACCOUNT = CallAccount(
    None, "k", parse_base_url("https://openrouter.ai/api/v1", allow_http=False)
)
USAGE: dict[str, Any] = {"prompt_tokens": 3, "completion_tokens": 2, "cost": 1e-5}


def snapshot(meter: UsageMeter) -> UsageSnapshot:
    """Return a snapshot without budgets."""
    return meter.read(lambda table, ids: take_snapshot(table, ids, {}))


def unknown(generation_id: str) -> UnusualEnd:
    """Return the end of a call that was left."""
    return UnusualEnd(1, 1, [UnknownCall(generation_id, "m", ACCOUNT, None)])


def test_sums_are_exact_for_costs_of_any_length() -> None:
    meter = UsageMeter()
    costs = [0.1, 0.2, 0.0076509169000000005, 1e-15, 12345.678901234, 999.999999999999]
    for cost in costs * 100:
        meter.add("m", "a", {"cost": cost}, None)
    found = snapshot(meter)

    expected = 100 * sum(map(Decimal, map(repr, costs)), Decimal(0))
    assert found.cost == found.by_tag["a"].cost == expected


def test_queue_is_added_up_when_it_is_long() -> None:
    meter = UsageMeter()
    for _ in range(1000):
        meter.add("m", None, USAGE, None)

    assert len(meter._pending) < 256
    assert snapshot(meter).calls == 1000
    assert snapshot(meter).prompt_tokens == 3000


def test_queue_is_left_alone_while_another_thread_adds_it_up() -> None:
    meter = UsageMeter()
    with meter._lock:
        for _ in range(300):
            meter.add("m", None, USAGE, None)
        assert len(meter._pending) == 300

    assert snapshot(meter).calls == 300


def test_tags_and_models_beyond_1000_are_counted_as_other() -> None:
    meter = UsageMeter()
    for number in range(1500):
        meter.add(f"model {number}", f"tag {number}", USAGE, None)
    meter.add("model 1499", "tag 3", USAGE, None)
    found = snapshot(meter)

    assert len(found.by_tag) == len(found.by_model) == 1001
    assert found.by_tag["other"].calls == 500
    assert found.by_model["other"].calls == 501
    assert found.by_tag["tag 3"].calls == 2
    assert found.calls == 1501


def test_only_10000_generation_ids_are_kept_and_the_others_stay_unknown() -> None:
    meter = UsageMeter()
    for number in range(MAX_UNKNOWN + 5):
        meter.add("m", None, {}, unknown(f"gen-{number}"))
    found = snapshot(meter)

    assert found.unknown == MAX_UNKNOWN + 5
    assert len(found.unknown_ids) == MAX_UNKNOWN == 10_000
    assert found.unknown_ids[0] == "gen-5"


def test_unknown_call_is_found_once() -> None:
    meter = UsageMeter()
    meter.add("m", None, {}, unknown("gen-1"))
    (call,) = meter.unknown()

    assert meter.found(call, USAGE)
    assert not meter.found(call, USAGE)
    assert snapshot(meter).unknown == 0
    assert snapshot(meter).by_model["m"].cost == Decimal("0.00001")


def test_token_counts_of_other_types_are_read_as_in_responses() -> None:
    meter = UsageMeter()
    usage = {
        "prompt_tokens": 3.0,
        "completion_tokens": "4",
        "prompt_tokens_details": {"cached_tokens": 2.5},
        "completion_tokens_details": [],
        "cost": 1,
    }
    meter.add("m", None, usage, None)
    found = snapshot(meter)

    assert (found.prompt_tokens, found.completion_tokens) == (3, 0)
    assert (found.cached_tokens, found.reasoning_tokens) == (0, 0)
    assert found.cost == 1


def test_threads_share_a_meter() -> None:
    meter = UsageMeter()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            snapshot(meter)

    def work() -> None:
        for _ in range(5000):
            meter.add("m", "a", USAGE, None)

    looking = threading.Thread(target=look)
    looking.start()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    looking.join()

    assert snapshot(meter).by_tag["a"].calls == 20_000
    assert snapshot(meter).cost == Decimal("0.2")
