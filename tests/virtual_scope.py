"""A scope of calls in virtual time, whose tests play the transport."""

# The test plays the transport, whose parts are private.
# pyright: reportPrivateUsage=false

import asyncio
from types import SimpleNamespace
from typing import Any

from support import VirtualTime

from openrouter_async import RateLimitError, Retries, Timeouts
from openrouter_async.protocol.settings import Concurrency, ConcurrencyOption
from openrouter_async.transport.admission import LimiterScope
from openrouter_async.transport.call_limiter import CallLimiter
from openrouter_async.transport.timer import SharedTimer
from openrouter_async.transport.watchdog import Stage, Watchdog


async def settle() -> None:
    """Let all tasks run that can."""
    for _ in range(8):
        await asyncio.sleep(0)


def refused(seconds: float | None = None, **more: Any) -> RateLimitError:
    error = RateLimitError("busy", status_code=429, retry_after=seconds, retryable=True)
    error.provider_name = more.get("provider")
    return error


class VirtualScope:
    """A scope in virtual time, and calls of it."""

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.start = self.time.time
        loop = asyncio.get_running_loop()
        self.timer = SharedTimer(loop, self.time.clock)
        self.scope = LimiterScope(loop, self.time.clock)
        self.options: dict[Concurrency | None, ConcurrencyOption] = {}
        # Names of the calls, in the order in which they started, with the time.
        self.started: list[tuple[str, float]] = []
        self.limiters: dict[str, CallLimiter] = {}

    def limiter(
        self,
        concurrency: Concurrency | None = None,
        *,
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
        provider: Any = None,
    ) -> CallLimiter:
        """Return the limiter of a call that the current task makes."""
        option = self.options.setdefault(concurrency, ConcurrencyOption(concurrency))
        call: Any = SimpleNamespace(
            timeouts=timeouts or Timeouts(),
            retries=retries or Retries(),
            provider=provider,
        )
        watchdog = Watchdog(self.timer, call.timeouts)
        return CallLimiter(self.scope.admission(option), call, watchdog)

    def call(self, name: str, **options: Any) -> "asyncio.Task[CallLimiter]":
        """Start a task that acquires and sends; its limiter is in `limiters`."""

        async def run() -> CallLimiter:
            attempts = options.pop("attempts", 0)
            limiter = self.limiters[name] = self.limiter(**options)
            limiter.attempts = attempts
            watchdog = limiter._watchdog
            watchdog.stage = Stage.LIMITER
            try:
                await limiter.acquire()
            except asyncio.CancelledError:
                if watchdog.caught() and watchdog.failure is not None:
                    raise watchdog.failure from None
                raise
            finally:
                watchdog.stop()
            assert limiter.may_send()
            self.started.append((name, round(self.time.time - self.start, 3)))
            return limiter

        return asyncio.ensure_future(run())

    async def refuse(
        self, seconds: float | None, concurrency: Concurrency | None = None, **more: Any
    ) -> CallLimiter:
        """Make a call that is refused."""
        limiter = await self.call("refused", concurrency=concurrency, **more)
        self.started.clear()
        limiter.ended(refused(seconds))
        limiter.release()
        return limiter

    async def advance(self, seconds: float) -> None:
        """Let time pass, from one function that is due to the next."""
        await settle()
        end = self.time.time + seconds
        while (due := min(self.time.scheduled, default=end)) < end:
            await self.time.advance(max(0.0, due - self.time.time))
            await settle()
        await self.time.advance(end - self.time.time)
        await settle()

    def names(self) -> list[str]:
        """Return the names of the calls that have started."""
        return [name for name, _ in self.started]


def finish(limiter: CallLimiter, error: BaseException | None = None) -> None:
    limiter.ended(error)
    limiter.release()
