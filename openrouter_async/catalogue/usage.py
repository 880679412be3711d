"""ClientUsage: tokens and cost of the calls of a client."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from attrs import evolve

from ..errors import NotFoundError
from ..protocol.settings import Settings
from ..protocol.usage_snapshot import UsageSnapshot, take_snapshot
from ..transport.transport import Transport
from ..transport.usage_meter import UnknownCall
from ..types.generation import Generation
from .generations import check_wait, delays, look_up

# Lookups at the same time. They must not slow down the calls of the program.
_MAX_AT_ONCE: Final = 4


class ClientUsage:
    """
    Tokens and cost of the calls of a client and of its siblings by `with_options`.

    Threads and event loops may share it.
    """

    def __init__(self, settings: Settings, transport: Transport) -> None:
        """
        Create the handle.

        Args:
            settings: The settings of lookups, but for the key and the base URL.
            transport: Counts the calls, and sends the lookups.
        """
        self._settings = settings
        self._transport = transport

    def snapshot(self) -> UsageSnapshot:
        """Return the sums over all calls that have ended since the last reset."""
        budgets = self._transport.budgets
        stats = {} if budgets is None else budgets.stats()
        return self._transport.meter.read(
            lambda table, unknown_ids: take_snapshot(table, unknown_ids, stats)
        )

    def reset(self) -> None:
        """
        Set all sums to zero, and forget the attempts whose cost is not known.

        Budgets are not changed.
        """
        self._transport.meter.reset()

    async def reconcile(self, wait: float = 0.0) -> int:
        """
        Look up the cost of attempts that may have been billed, and add what is found.

        OpenRouter makes the record of a generation available 1 to 8 minutes after it.
        The rest is left to the next call. An attempt without a generation id stays
        unknown: a plain call that was cancelled before its headers has none.

        Args:
            wait: Seconds during which the rest is looked up again, after 5 seconds at
                first and later every 30; 0 looks up each attempt once.

        Returns:
            The number of attempts that were found.

        Raises:
            OpenRouterError: If a lookup fails for another reason than that there is no
                record yet. All others were made, and what they found is counted.
        """
        check_wait(wait)
        clock, meter = self._transport.clock, self._transport.meter
        end = clock.now() + wait
        found = 0
        pauses = delays()
        while True:
            found += await self._look_up_all(meter.unknown())
            remaining = end - clock.now()
            if remaining <= 0 or not meter.unknown():
                return found
            await clock.sleep(min(next(pauses), remaining))

    async def _look_up_all(self, calls: list[UnknownCall]) -> int:
        results: list[bool] = []
        failures: list[Exception] = []
        rest = iter(calls)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(_MAX_AT_ONCE, len(calls))):
                tasks.create_task(self._look_up(rest, results, failures))
        if failures:
            raise failures[0]
        return sum(results)

    async def _look_up(
        self,
        calls: Iterator[UnknownCall],
        results: list[bool],
        failures: list[Exception],
    ) -> None:
        transport = self._transport
        for call in calls:
            account = call.account
            settings = evolve(
                self._settings, api_key=account.api_key, base_url=account.base_url
            )
            try:
                record = await look_up(settings, transport, call.generation_id)
            except NotFoundError:
                continue
            except Exception as error:  # noqa: BLE001 - raised after the others
                # A key may have been revoked, or its function may raise.
                failures.append(error)
                continue
            usage = _usage_of(record)
            if usage is not None:
                results.append(transport.meter.found(call, usage))

    def __repr__(self) -> str:
        total = self.snapshot()
        return f"<ClientUsage {total.calls} calls, ${total.cost}>"


def _usage_of(record: Generation) -> dict[str, Any] | None:
    """Return a record in the form of a `usage` object; None if it has no cost yet."""
    cost = record.usage if record.total_cost is None else record.total_cost
    if cost is None or cost < 0:
        return None
    return {
        "prompt_tokens": record.native_tokens_prompt,
        "completion_tokens": record.native_tokens_completion,
        "completion_tokens_details": {
            "reasoning_tokens": record.native_tokens_reasoning
        },
        "prompt_tokens_details": {"cached_tokens": record.native_tokens_cached},
        "cost": cost,
    }
