"""UsageMeter: exact sums in bounded memory, from any thread."""

# Tests look at private attributes.
# pyright: reportPrivateUsage=false

import threading
from decimal import Decimal
from typing import Any

import pytest

from openrouter_async.protocol.base_url import parse_base_url
from openrouter_async.protocol.call import CallAccount
from openrouter_async.protocol.usage_snapshot import UsageSnapshot, take_snapshot
from openrouter_async.protocol.usage_sums import UsageSums
from openrouter_async.transport.usage_meter import (
    MAX_PENDING,
    MAX_UNKNOWN,
    OddCall,
    UnknownCall,
    UsageMeter,
)

ACCOUNT = CallAccount(
    None, "k", parse_base_url("https://openrouter.ai/api/v1", allow_http=False)
)
USAGE: dict[str, Any] = {"prompt_tokens": 3, "completion_tokens": 2, "cost": 1e-5}
WHOLE = {
    **USAGE,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def snapshot(meter: UsageMeter) -> UsageSnapshot:
    """Return a snapshot without budgets."""
    return meter.read(lambda table, ids: take_snapshot(table, ids, {}))


def left(generation_id: str) -> OddCall:
    """Return a call that was left."""
    lookup = UnknownCall(generation_id, "m", ACCOUNT, None)
    return OddCall("m", None, 1, {}, unknown=1, lookups=[lookup])


def add(meter: UsageMeter, model: str, tag: str | None, usage: dict[str, Any]) -> None:
    """Count a usual call, as its end does."""
    meter.pending.append((model, tag, usage))
    if len(meter.pending) >= MAX_PENDING:
        meter.add_up()


def test_sums_are_exact_for_costs_of_any_length() -> None:
    meter = UsageMeter()
    costs = [0.1, 0.2, 0.0076509169000000005, 1e-15, 12345.678901234, 999.999999999999]
    for cost in costs * 100:
        add(meter, "m", "a", {"cost": cost})
    found = snapshot(meter)

    expected = 100 * sum(map(Decimal, map(repr, costs)), Decimal(0))
    assert found.cost == found.by_tag["a"].cost == expected


def test_calls_are_added_up_when_there_are_many() -> None:
    meter = UsageMeter()
    for _ in range(2500):
        add(meter, "m", None, USAGE)

        meter.add(OddCall("m", None, 2, USAGE))

    assert max(len(meter.pending), len(meter._odd)) < MAX_PENDING
    assert (snapshot(meter).calls, snapshot(meter).attempts) == (5000, 7500)
    assert snapshot(meter).prompt_tokens == 15_000


def test_calls_are_only_appended_while_another_thread_adds_them_up() -> None:
    meter = UsageMeter()
    with meter._lock:
        for _ in range(1200):
            add(meter, "m", None, USAGE)
        assert len(meter.pending) == 1200

    assert snapshot(meter).calls == 1200


def test_tags_and_models_beyond_1000_are_counted_as_other() -> None:
    meter = UsageMeter()
    for number in range(1500):
        add(meter, f"model {number}", f"tag {number}", USAGE)
    add(meter, "model 1499", "tag 3", USAGE)
    found = snapshot(meter)

    assert len(found.by_tag) == len(found.by_model) == 1001
    assert found.by_tag["other"].calls == 500
    assert found.by_model["other"].calls == 501
    assert found.by_tag["tag 3"].calls == 2
    assert found.calls == 1501


def test_only_10000_generation_ids_are_kept_and_the_others_stay_unknown() -> None:
    meter = UsageMeter()
    for number in range(MAX_UNKNOWN + 5):
        meter.add(left(f"gen-{number}"))
    found = snapshot(meter)

    assert found.unknown == MAX_UNKNOWN + 5
    assert len(found.unknown_ids) == MAX_UNKNOWN == 10_000
    assert found.unknown_ids[0] == "gen-5"


def test_unknown_call_is_found_once() -> None:
    meter = UsageMeter()
    meter.add(left("gen-1"))
    (call,) = meter.unknown()

    assert meter.found(call, USAGE)
    assert not meter.found(call, USAGE)
    assert snapshot(meter).unknown == 0
    assert snapshot(meter).by_model["m"].cost == Decimal("0.00001")


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"prompt_tokens": 7.0},
        {"prompt_tokens": None},
        {"prompt_tokens": "7"},
        {"prompt_tokens_details": None},
        {"prompt_tokens_details": []},
        {"cost": 1e-15},
        {"cost": 5000.0},
        {"cost": 1e300},
        {"cost": -1.0},
    ],
)
def test_sums_of_many_are_those_of_each(odd: dict[str, Any]) -> None:
    usages = [WHOLE, {**WHOLE, **odd}, WHOLE]
    together, apart = UsageSums(), UsageSums()
    together.add_usages(usages)
    for usage in usages:
        apart.add_usage(usage)

    names = list(UsageSums.__slots__)
    assert [getattr(together, n) for n in names] == [getattr(apart, n) for n in names]
    assert together.units >= 20_000_000


def test_token_counts_of_other_types_are_read_as_in_responses() -> None:
    meter = UsageMeter()
    usage: dict[str, Any] = {
        "prompt_tokens": 3.0,
        "completion_tokens": "4",
        "prompt_tokens_details": {"cached_tokens": 2.5},
        "completion_tokens_details": [],
        "cost": 1,
    }
    add(meter, "m", None, usage)
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
            add(meter, "m", "a", USAGE)

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
