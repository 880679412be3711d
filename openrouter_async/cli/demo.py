"""`openrouter-async demo`: a completion, a stream, an error and concurrent calls."""

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

from .connect import local_client, require_key
from .console import Terminal, printable
from .demo_server import CONCURRENT_PROMPT, HELLO, WHY_STREAM, run_demo_server
from .exit_codes import ExitCode, exit_code_of, message_of
from .formatting import Step, summary, table
from .signals import run_async

_UNKNOWN_MODEL = "openai/gpt-0"
# Concurrent calls on the local server, and with --live, where they cost money.
_LOCAL_CALLS, _LIVE_CALLS = 200, 5
_INDENT = (0, 0, 0, 2)


@frozen
class DemoArgs:
    """
    Arguments of `demo`.

    Attributes:
        model: Model id.
        live: If True, call OpenRouter; if False, a local server.
    """

    model: str
    live: bool


def demo(args: DemoArgs, terminal: Terminal) -> ExitCode:
    """
    Run the demo.

    Raises:
        CommandError: If the local server does not start, or the API key is missing.
    """
    records: list[CallRecord] = []
    with ExitStack() as stack:
        if args.live:
            require_key()
            client = AsyncOpenRouter(on_call=records.append)
            server = "OpenRouter: the calls are charged to your API key."
        else:
            address = stack.enter_context(run_demo_server())
            client = local_client(address.url, address.key, records.append)
            server = f"Local server: {address.url} (no API key, no cost)."
        terminal.out.print(Text(f"openrouter_async {__version__}", style="bold"))
        terminal.out.print(server, soft_wrap=True)
        return run_async(Demo(args, terminal, client, records).run())


@define
class Demo:
    """
    Makes the calls and prints their results.

    Attributes:
        records: Records of all calls; the client's `on_call` appends to it.
        steps: Measurements of the steps so far.
    """

    args: DemoArgs
    terminal: Terminal
    client: AsyncOpenRouter
    records: list[CallRecord]
    steps: list[Step] = field(factory=list[Step])

    async def run(self) -> ExitCode:
        """Run all steps and print the table of measurements."""
        async with self.client:
            await self._completion()
            await self._stream()
            await self._error()
            code = await self._concurrent_calls()
        out = self.terminal.out
        self._title("Measurements")
        out.print(table(self.steps, plain=not out.is_terminal))
        if not self.args.live:
            self._title("Next steps")
            self._print('openrouter-async chat --local "Hello"')
            self._print("openrouter-async demo --web  (a chat page for the browser)")
            self._print("openrouter-async serve")
            self._print("openrouter-async demo --live  (needs OPENROUTER_API_KEY)")
        return code

    async def _completion(self) -> None:
        self._title("A completion")
        self._code("response = await client.chat.send(model=..., messages=[...])")
        with self._measured("completion"):
            response = await self.client.chat.send(
                model=self.args.model, messages=[UserMessage(HELLO)], max_tokens=64
            )
        self._print(response.text)
        self._print(summary(response, streamed=False), "dim")

    async def _stream(self) -> None:
        self._title("A stream")
        self._code("async with client.chat.send(..., stream=True) as stream:")
        self._code("    async for chunk in stream: ...")
        with self._measured("stream"):
            async with self.client.chat.send(
                model=self.args.model,
                messages=[UserMessage(WHY_STREAM)],
                max_tokens=128,
                stream=True,
            ) as stream:
                await self._print_stream(stream)
        self._print(summary(stream.response, streamed=True), "dim")

    async def _print_stream(self, stream: ChatStream) -> None:
        """Print chunks as they arrive; on a terminal, wrap lines between words."""
        out = self.terminal.out
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
        self._title("An error")
        self._code(f'await client.chat.send(model="{_UNKNOWN_MODEL}", messages=[...])')
        with self._measured("error"):
            try:
                await self.client.chat.send(
                    model=_UNKNOWN_MODEL,
                    messages=[UserMessage("Hello?")],
                    max_tokens=16,
                )
            except OpenRouterError as error:
                self._print(f"{type(error).__name__}: {error}", "yellow")
                retryable = "yes" if error.retryable else "no"
                attempts = len(error.attempts)
                self._print(f"retryable: {retryable} · attempts: {attempts}", "dim")

    async def _concurrent_calls(self) -> ExitCode:
        count = _LIVE_CALLS if self.args.live else _LOCAL_CALLS
        self._title(f"{count} concurrent calls")
        self._code("await asyncio.gather(*(client.chat.send(...) for ...))")
        out = self.terminal.out
        progress = Progress(
            " ",
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=out,
            disable=not out.is_terminal,
        )
        failures: list[OpenRouterError] = []
        with progress, self._measured(f"{count} calls"):
            bar = progress.add_task("", total=count)

            async def call(number: int) -> None:
                prompt = f"{CONCURRENT_PROMPT} {number} of {count}: is it a number?"
                try:
                    await self.client.chat.send(
                        model=self.args.model,
                        messages=[UserMessage(prompt)],
                        max_tokens=16,
                    )
                except OpenRouterError as error:
                    failures.append(error)
                progress.advance(bar)

            await asyncio.gather(*(call(number) for number in range(1, count + 1)))
        self._print_outcome(self.steps[-1], failures)
        return exit_code_of(failures[0]) if failures else ExitCode.OK

    def _print_outcome(self, step: Step, failures: list[OpenRouterError]) -> None:
        self._print(
            f"{step.sequential_seconds:.1f} s one after the other, {step.wall:.1f} s "
            "concurrently",
            "dim",
        )
        retries = step.attempts - len(step.records)
        if retries:
            self._print(f"{retries} retries, after 429 responses", "dim")
        if failures:
            self._print(f"{len(failures)} failed: {message_of(failures[0])}", "red")

    @contextmanager
    def _measured(self, name: str) -> Generator[None]:
        first, started = len(self.records), time.perf_counter()
        yield
        wall = time.perf_counter() - started
        self.steps.append(Step(name, self.records[first:], wall))

    def _title(self, text: str) -> None:
        self.terminal.out.print(Text(f"\n{text}", style="bold"))

    def _code(self, text: str) -> None:
        self._print(text, "cyan")

    def _print(self, text: str, style: str = "") -> None:
        out = self.terminal.out
        if out.is_terminal:
            line = Text(printable(text), style=style)
            out.print(Padding(line, _INDENT, expand=False))
        else:
            out.print(f"  {text}" if text else "", soft_wrap=True)
