"""Random runs of calls, refusals and cancellations in virtual time."""

# The test plays the transport, whose parts are private.
# pyright: reportPrivateUsage=false

import asyncio
import random

import pytest
from virtual_scope import VirtualScope, refused

from openrouter_async import (
    BadGatewayError,
    OpenRouterError,
    ProviderOverloadedError,
    RateLimitError,
    Retries,
    Timeouts,
)
from openrouter_async.protocol.settings import Concurrency
from openrouter_async.transport.call_limiter import CallLimiter


class SimulatedServer:
    """Responds to calls after a while, or refuses them, by a seeded generator."""

    def __init__(self, generator: random.Random) -> None:
        self.generator = generator
        self.share = generator.choice((0.0, 0.1, 0.5, 1.0))
        self.names_wait = generator.random() < 0.7

    def outcome(self) -> tuple[float, OpenRouterError | None]:
        """Return the seconds until a response, and its error."""
        roll = self.generator.random()
        if roll >= self.share:
            return self.generator.expovariate(5.0), None
        if roll < 0.05:
            return 0.1, BadGatewayError("bad", status_code=502, retryable=True)
        wait = self.generator.choice((0.3, 1.0, 4.0)) if self.names_wait else None
        if roll < 0.1:
            error: OpenRouterError = ProviderOverloadedError(
                "busy", status_code=529, retry_after=wait, retryable=True
            )
        else:
            provider = self.generator.choice((None, None, "p"))
            error = refused(wait, provider=provider)
        return self.generator.uniform(0.0, 0.2), error


class SimulatedCall:
    """A call with random options, which checks its waits."""

    def __init__(self, scope: VirtualScope, generator: random.Random) -> None:
        self.scope = scope
        self.clock = scope.time.clock
        self.generator = generator
        self.mode: Concurrency | None = generator.choice((None, "auto", 2))
        self.timeouts = Timeouts(
            pool=generator.choice((None, 0.5, 3.0)),
            total=generator.choice((None, 2.0, 10.0)),
        )
        self.retries = Retries(max_wait=generator.choice((1.0, 6.0)))

    async def run(self, server: SimulatedServer) -> None:
        """Make attempts until one succeeds, or the call may not wait any longer."""
        limiter = self.scope.limiter(
            self.mode,
            timeouts=self.timeouts,
            retries=self.retries,
            provider=self.generator.choice((None, {"order": ["p"]})),
        )
        watchdog = limiter._watchdog
        try:
            for _ in range(10):
                await self.acquire(limiter)
                if not limiter.may_send():
                    limiter.cancel()
                    continue
                error = await self.send(limiter, server)
                if error is None:
                    return
                delay = limiter.retry_delay(error, self.generator.random())
                if delay == float("inf"):
                    return
                await self.clock.sleep(delay or 0.0)
        except (RateLimitError, ProviderOverloadedError):
            # It may not wait for as long as the cooldown lasts.
            return
        except asyncio.CancelledError:
            if not watchdog.caught():
                raise
            assert isinstance(watchdog.failure, OpenRouterError)
        finally:
            watchdog.stop()

    async def acquire(self, limiter: CallLimiter) -> None:
        """Wait for a start, and check for how long."""
        began = self.clock.now()
        try:
            await limiter.acquire()
        finally:
            permit, cooled = limiter.waits()
            waited = self.clock.now() - began
            assert permit + cooled == pytest.approx(waited, abs=0.02)
            pool, total = self.timeouts.pool, self.timeouts.total
            assert pool is None or waited <= pool + 0.05
            assert total is None or cooled <= total + 0.05
            assert self.mode == "auto" or cooled <= self.retries.max_wait + 0.05

    async def send(
        self, limiter: CallLimiter, server: SimulatedServer
    ) -> OpenRouterError | None:
        """Make an attempt, and return its error."""
        seconds, error = server.outcome()
        outcome: BaseException | None = error
        try:
            await self.clock.sleep(seconds)
        except asyncio.CancelledError as cancelled:
            outcome = cancelled
            raise
        finally:
            limiter.ended(outcome)
            limiter.release()
        return error


async def simulate(seed: int) -> None:
    """Make 30 calls, cancel some of them, and check what is left."""
    generator = random.Random(seed)
    scope, server = VirtualScope(), SimulatedServer(generator)
    tasks = [
        asyncio.ensure_future(SimulatedCall(scope, generator).run(server))
        for _ in range(30)
    ]
    for task in tasks:
        if generator.random() < 0.3:
            assert scope.time.clock.call_later is not None
            scope.time.clock.call_later(generator.uniform(0.0, 3.0), task.cancel)
    for _ in range(200):
        if all(task.done() for task in tasks):
            break
        await scope.advance(1.0)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    scope.timer.stop()

    assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
    adaptive = scope.scope.adaptive
    assert (adaptive.in_flight, adaptive.waiting, scope.scope.waiting) == (0, 0, 0)
    for option in scope.options.values():
        for limiter in scope.scope.admission(option).limiters:
            assert (limiter.in_flight, limiter.waiting) == (0, 0)


async def test_no_permit_is_lost_and_no_wait_exceeds_its_bounds(
    request: pytest.FixtureRequest,
) -> None:
    for seed in range(1000 if request.config.getoption("--long") else 15):
        await simulate(seed)
