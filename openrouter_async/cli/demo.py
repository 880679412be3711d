"""`openrouter-async demo`: what the library does, on a real socket, in seconds."""

import asyncio
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from attrs import define, field, frozen
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.text import Text

from openrouter_async.client import AsyncOpenRouter
from openrouter_async.errors import OpenRouterError
from openrouter_async.protocol.call import CallRecord
from openrouter_async.stream import ChatStream
from openrouter_async.types import UserMessage
from openrouter_async.version import __version__

from .connect import client_of, require_key
from .console import Terminal, printable
from .demo_server import (
    BURST,
    HELLO,
    WHY_STREAM,
    backdrop,
)
from .exit_codes import ExitCode, code_of, line_of
from .formatting import Step, bill, table
from .signals import run_async

_NO_MODEL = "openai/gpt-0"
_MANY, _FEW = 200, 5
_INDENT = (0, 0, 0, 2)


@frozen
class DemoArgs:
    """
    What is shown.

    Attributes:
        model: Who is asked.
        live: Whether OpenRouter is, rather than a local server.
    """

    model: str
    live: bool


def demo(tour: DemoArgs, screen: Terminal) -> ExitCode:
    """Show it all."""
    records: list[CallRecord] = []
    with ExitStack() as stack:
        if tour.live:
            require_key()
            client = AsyncOpenRouter(on_call=records.append)
            where = "These calls reach OpenRouter, with your key."
        else:
            place = stack.enter_context(backdrop())
            client = client_of(place.url, place.key, records.append)
            where = f"A local OpenRouter answers on {place.url}: no key, no bill."
        screen.out.print(Text(f"openrouter_async {__version__}", style="bold"))
        screen.out.print(where, soft_wrap=True)
        return run_async(Guide(tour, screen, client, records).show())


@define
class Guide:
    """
    Makes the calls and shows them.

    Attributes:
        records: What the client's `on_call` was told.
        steps: What was measured so far.
    """

    tour: DemoArgs
    screen: Terminal
    client: AsyncOpenRouter
    records: list[CallRecord]
    steps: list[Step] = field(factory=list[Step])

    async def show(self) -> ExitCode:
        """Show everything, then the figures."""
        async with self.client:
            await self._completion()
            await self._stream()
            await self._error()
            code = await self._many()
        out = self.screen.out
        self._title("What was measured")
        out.print(table(self.steps, plain=not out.is_terminal))
        if not self.tour.live:
            self._tell("")
            self._tell('Next: openrouter-async chat --local "Hello"', "dim")
            self._tell("      openrouter-async serve", "dim")
            self._tell(
                "      openrouter-async demo --live (with OPENROUTER_API_KEY)", "dim"
            )
        return code

    async def _completion(self) -> None:
        self._title("A completion")
        self._code("reply = await client.chat.send(model=..., messages=[...])")
        with self._measured("completion"):
            reply = await self.client.chat.send(
                model=self.tour.model, messages=[UserMessage(HELLO)], max_tokens=64
            )
        self._tell(reply.text)
        self._tell(bill(reply, streamed=False), "dim")

    async def _stream(self) -> None:
        self._title("A live stream")
        self._code("async with client.chat.send(..., stream=True) as stream:")
        self._code("    async for chunk in stream: ...")
        with self._measured("stream"):
            async with self.client.chat.send(
                model=self.tour.model,
                messages=[UserMessage(WHY_STREAM)],
                max_tokens=128,
                stream=True,
            ) as stream:
                await self._print(stream)
        self._tell(bill(stream.response, streamed=True), "dim")

    async def _print(self, stream: ChatStream) -> None:
        """Print chunks as they arrive; on a terminal, wrapped between words."""
        out = self.screen.out
        if out.is_terminal:
            text = Text()
            shown = Padding(text, _INDENT)
            with Live(
                shown, console=out, auto_refresh=False, vertical_overflow="visible"
            ) as live:
                async for chunk in stream:
                    text.append(printable(chunk.text))
                    live.refresh()
            return
        out.file.write("  ")
        async for chunk in stream:
            out.file.write(printable(chunk.text))
            out.file.flush()
        out.file.write("\n")

    async def _error(self) -> None:
        self._title("An error has a type")
        self._code(f'await client.chat.send(model="{_NO_MODEL}", messages=[...])')
        with self._measured("error"):
            try:
                await self.client.chat.send(
                    model=_NO_MODEL, messages=[UserMessage("Hello?")], max_tokens=16
                )
            except OpenRouterError as error:
                self._tell(f"{type(error).__name__}: {error}", "yellow")
                facts = (
                    f"retryable: {error.retryable} · attempts: {len(error.attempts)}"
                )
                self._tell(facts, "dim")

    async def _many(self) -> ExitCode:
        count = _FEW if self.tour.live else _MANY
        self._title(f"{count} calls at once")
        self._code("await asyncio.gather(*(client.chat.send(...) for ...))")
        out = self.screen.out
        progress = Progress(
            "",
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=out,
            disable=not out.is_terminal,
        )
        failures: list[OpenRouterError] = []
        with progress, self._measured(f"{count} at once"):
            bar = progress.add_task("", total=count)

            async def ask(number: int) -> None:
                prompt = f"{BURST} {number} of {count}: is {number} a number?"
                try:
                    await self.client.chat.send(
                        model=self.tour.model,
                        messages=[UserMessage(prompt)],
                        max_tokens=16,
                    )
                except OpenRouterError as error:
                    failures.append(error)
                progress.advance(bar)

            await asyncio.gather(*(ask(number) for number in range(1, count + 1)))
        self._sum_up(self.steps[-1], failures)
        return code_of(failures[0]) if failures else ExitCode.OK

    def _sum_up(self, step: Step, failures: list[OpenRouterError]) -> None:
        one_by_one, wall = step.one_by_one, step.wall
        self._tell(f"{one_by_one:.1f} s of waiting, done in {wall:.1f} s", "dim")
        again = step.attempts - len(step.records)
        if again:
            self._tell(f"{again} were refused at first (429) and sent again", "dim")
        if failures:
            self._tell(f"{len(failures)} failed: {line_of(failures[0])}", "red")

    @contextmanager
    def _measured(self, name: str) -> Generator[None]:
        start, began = len(self.records), time.perf_counter()
        yield
        wall = time.perf_counter() - began
        self.steps.append(Step(name, self.records[start:], wall))

    def _title(self, text: str) -> None:
        self.screen.out.print(Text(f"\n{text}", style="bold"))

    def _code(self, text: str) -> None:
        self._tell(text, "cyan")

    def _tell(self, text: str, style: str = "") -> None:
        out = self.screen.out
        if out.is_terminal:
            line = Text(printable(text), style=style)
            out.print(Padding(line, _INDENT, expand=False))
        else:
            out.print(f"  {text}" if text else "", soft_wrap=True)
