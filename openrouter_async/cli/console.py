"""What is written where: text on stdout, everything about it on stderr."""

import io
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.text import Text

# A reply must not move the cursor or retitle the window: C0, DEL and C1, all but
# the line feed and the tab.
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))


def printable(text: str) -> str:
    """Return the text without characters that a terminal takes as commands."""
    return text.translate(_CONTROLS)


def one_line(text: str) -> str:
    """Return the text as one printable line."""
    return printable(" ".join(text.split()))


class Terminal:
    """
    The two outputs of a command; plain where they are no terminal.

    Attributes:
        out: stdout, for what was asked for.
        err: stderr, for what is told about it.
    """

    def __init__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A half emoji, or a terminal of 1985, is no reason to stop.
                stream.reconfigure(errors="replace")
        self.out = Console(highlight=False, markup=False, emoji=False)
        self.err = Console(stderr=True, highlight=False, markup=False, emoji=False)

    def note(self, text: str, style: str = "dim") -> None:
        """Tell something about what is going on, in one line on stderr."""
        self.err.print(Text(one_line(text), style=style), soft_wrap=True)

    def fail(self, text: str) -> None:
        """Tell why it did not work, in one line on stderr."""
        line = Text.assemble(("error:", "bold red"), " ", one_line(text))
        self.err.print(line, soft_wrap=True)


class Speaker:
    """Writes a reply as it arrives: thoughts dim on stderr, words on stdout."""

    def __init__(self, screen: Terminal) -> None:
        self._screen = screen
        self._last: tuple[TextIO, str] | None = None

    def think(self, text: str | None) -> None:
        """Write a piece of reasoning; None and "" are none."""
        if text:
            thought = Text(printable(text), style="dim italic")
            self._screen.err.print(thought, end="", soft_wrap=True)
            self._last = sys.stderr, text[-1]

    def speak(self, text: str) -> None:
        """Write a piece of the answer; what is piped gets it as it came."""
        if not text:
            return
        if self._last is not None and self._last[0] is not sys.stdout:
            self.end()
            self._screen.err.line()
        shown = printable(text) if self._screen.out.is_terminal else text
        sys.stdout.write(shown)
        sys.stdout.flush()
        self._last = sys.stdout, text[-1]

    def end(self) -> None:
        """End the line, if one was begun."""
        if self._last is not None:
            stream, last = self._last
            self._last = None
            if last != "\n":
                stream.write("\n")
                stream.flush()


class _Notes(logging.Handler):
    def __init__(self, screen: Terminal, level: int) -> None:
        super().__init__(level)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.note(record.getMessage())


@contextmanager
def library_log(screen: Terminal, level: int) -> Generator[None]:
    """Show what the library logs, from a level on."""
    logger = logging.getLogger("openrouter_async")
    handler = _Notes(screen, level)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
