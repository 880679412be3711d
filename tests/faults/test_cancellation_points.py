"""Calls that are cancelled at each of their suspensions in turn."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from ssl import SSLContext
from types import coroutine
from typing import Any, Final, Literal

import pytest
from calls import call, make_client, open_stream
from certificates import Authority
from covers import covers
from leaks import assert_at_rest, no_leaks
from script import ScriptServer, chunk, http, read, send, silence, sse, wait
from support import send_by_session

from openrouter_async import AsyncOpenRouter, ClosedError, Timeouts
from openrouter_async.testing import Clock

When = Literal["while it waits", "when it goes on"]
Run = Callable[[AsyncOpenRouter], Coroutine[Any, Any, Any]]

_MAX_SUSPENSIONS: Final = 200


class Stepper:
    """
    Runs a coroutine as a task, and cancels the task at its n-th suspension.

    "while it waits": the task is cancelled before the awaited future has a result.
    "when it goes on": the future gets its result at the same moment, so a slot, a
    connection or a response could be lost.
    """

    def __init__(self, coro: Coroutine[Any, Any, Any], at: int, when: When) -> None:
        self._coro = coro
        self._at = at
        self._when = when
        self.passed = 0
        self.task: asyncio.Task[Any] = asyncio.create_task(self._run())

    def _cancel(self, _: object) -> None:
        self.task.cancel()

    async def _run(self) -> Any:
        return await self._step()

    @coroutine
    def _step(self) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                if error is None:
                    waits_for = self._coro.send(value)
                else:
                    waits_for = self._coro.throw(error)
            except StopIteration as stop:
                return stop.value
            self.passed += 1
            if self.passed == self._at:
                if self._when == "while it waits" or waits_for is None:
                    self.task.cancel()
                else:
                    # This runs before the callback of the task, which is added later.
                    waits_for.add_done_callback(self._cancel)
            value, error = None, None
            try:
                value = yield waits_for
            except BaseException as raised:  # noqa: BLE001 - raised in the coroutine
                error = raised


async def plain(client: AsyncOpenRouter) -> None:
    assert (await call(client)).text == "hello"


async def stream(client: AsyncOpenRouter) -> None:
    assert (await call(client, "stream")).text == "hello"


async def stream_without_block(client: AsyncOpenRouter) -> None:
    """Read a stream outside of a block."""
    stream = await open_stream(client)
    try:
        assert (await stream.collect()).text == "hello"
    except asyncio.CancelledError:
        # After [DONE] everything was received: the stream has ended successfully.
        with pytest.raises((ClosedError, StopAsyncIteration)):
            await anext(stream)
        raise


async def key() -> str:
    """Return a key after a suspension."""
    await asyncio.sleep(0)
    return "sk-or-v1-0000"


def no_fault(_server: ScriptServer) -> None:
    """Let the server send valid responses."""


def in_pieces(server: ScriptServer) -> None:
    """Let the server send the stream in three segments."""
    server.script(
        read,
        wait(0.001),
        send(sse()[:80]),
        wait(0.001),
        send(sse()[80:300]),
        wait(0.001),
        send(sse()[300:]),
    )


def stays_open(server: ScriptServer) -> None:
    """Let the body continue after [DONE]."""
    server.script(read, send(sse()[:-5]), silence)


def two_failures(server: ScriptServer) -> None:
    """Let the server send status 503, then 502."""
    server.script(read, send(http(b"{}", "503 Busy")), read, send(http(b"{}", "502 B")))


def slow_error(server: ScriptServer) -> None:
    """Let the body of the first attempt's error arrive late."""
    error = http(b'{"error":{"code":503}}', "503 Busy")
    server.script(read, send(error[:-9]), wait(0.001), send(error[-9:]))


CASES: Sequence[tuple[str, Run, Callable[[ScriptServer], None]]] = (
    ("plain", plain, no_fault),
    ("plain, after two failures", plain, two_failures),
    ("plain, after a slow failure", plain, slow_error),
    ("stream", stream, no_fault),
    ("stream, slow", stream, in_pieces),
    ("stream, after two failures", stream, two_failures),
    ("stream, open after its end", stream, stays_open),
    ("stream without a block", stream_without_block, in_pieces),
    ("stream without a block, open after its end", stream_without_block, stays_open),
)


@covers("F76", "call cancelled at any await", "`CancelledError`; slot is released")
@pytest.mark.parametrize("when", ["while it waits", "when it goes on"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("run", "prepare"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
async def test_call_cancelled_at_any_suspension_leaves_nothing(
    run: Run,
    prepare: Callable[[ScriptServer], None],
    when: When,
    authority: Authority,
    *,
    secure: bool,
) -> None:
    certificate = authority.good() if secure else None
    await _cancel_everywhere(run, prepare, when, authority, certificate)


@pytest.mark.parametrize("when", ["while it waits", "when it goes on"])
@pytest.mark.parametrize(
    ("run", "prepare"),
    [(plain, no_fault), (stream, in_pieces)],
    ids=["plain", "stream"],
)
async def test_call_of_the_session_cancelled_at_any_suspension_leaves_nothing(
    run: Run,
    prepare: Callable[[ScriptServer], None],
    when: When,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send_by_session(monkeypatch)

    await _cancel_everywhere(run, prepare, when, authority, None)


async def _cancel_everywhere(
    run: Run,
    prepare: Callable[[ScriptServer], None],
    when: When,
    authority: Authority,
    certificate: SSLContext | None,
) -> None:
    async with asyncio.timeout(30), no_leaks(), ScriptServer(ssl=certificate) as server:
        for at in range(1, _MAX_SUSPENSIONS):
            async with make_client(
                server,
                ssl=authority.trusting,
                api_key=key,
                clock=Clock(asyncio.get_running_loop().time, _nap, lambda: 0.5),
                max_connections=1,
            ) as client:
                prepare(server)
                ended = await _cancelled(run(client), at, when)
                server.clear_scripts()
                if ended:
                    assert at > 3
                    break
                assert_at_rest(client)
                assert (await call(client)).text == "hello"
                assert_at_rest(client)
        else:
            pytest.fail("The call never ran to its end.")


async def _nap(_seconds: float) -> None:
    await asyncio.sleep(0.001)


async def _cancelled(coro: Coroutine[Any, Any, Any], at: int, when: When) -> bool:
    """Return True if the coroutine ended before its n-th suspension."""
    stepper = Stepper(coro, at, when)
    async with asyncio.timeout(5):
        await asyncio.wait([stepper.task])
    if stepper.passed < at:
        stepper.task.result()
        return True
    assert stepper.task.cancelled(), (at, stepper.task)
    return False


@covers(
    "F76", "call cancelled while queued for a slot", "`CancelledError`; no slot is lost"
)
@pytest.mark.parametrize("when", ["while it waits", "when it goes on"])
async def test_slot_granted_to_a_cancelled_call_goes_to_the_next(when: When) -> None:
    async with no_leaks(), ScriptServer() as server:
        for at in range(1, _MAX_SUSPENSIONS):
            async with make_client(server, max_connections=1) as client:
                first = asyncio.create_task(call(client))
                await asyncio.sleep(0)
                second = Stepper(call(client), at, when)
                third = asyncio.create_task(call(client))
                async with asyncio.timeout(5):
                    await asyncio.wait([first, second.task, third])

                assert first.result().text == "hello"
                assert third.result().text == "hello"
                assert_at_rest(client)
                if second.passed < at:
                    assert second.task.result().text == "hello"
                    break
                assert second.task.cancelled(), at


@covers("F76", "a timeout expires at any moment", "`APITimeoutError` or the response")
@pytest.mark.parametrize("run", [plain, stream, stream_without_block])
async def test_timeout_at_any_moment_leaves_nothing(run: Run, *, long: bool) -> None:
    ended: set[str] = set()
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        for n in range(1, 2000 if long else 60):
            in_pieces(server)
            limited = client.with_options(timeouts=Timeouts(total=n * 1e-4))
            try:
                async with asyncio.timeout(2):
                    await run(limited)
            except TimeoutError as error:
                ended.add(type(error).__name__)
            else:
                ended.add("response")
            server.clear_scripts()
            assert_at_rest(client)
        assert (await call(client)).text == "hello"

    assert ended <= {"APITimeoutError", "response"}
    assert "APITimeoutError" in ended


@covers(
    "F78", "the stream is closed by another task", "`ClosedError` in the reading task"
)
async def test_closing_a_stream_wakes_its_reader() -> None:
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        server.script(read, send(sse(chunk("hel"))[:-5]), silence)
        stream = await open_stream(client)
        await anext(stream)
        reader = asyncio.ensure_future(_next(stream))
        await asyncio.sleep(0.01)

        with pytest.raises(StopIteration):
            stream.aclose().send(None)
        with pytest.raises(ClosedError):
            await reader

        assert_at_rest(client)
        await server.wait_until_closed(0.1)


async def _next(stream: Any) -> Awaitable[Any]:
    return await anext(stream)
