"""Terminal output: results go to stdout, everything else goes to stderr."""

import io
import logging
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.text import Text

from .exit_codes import CommandError, ExitCode

# Control characters, with which a response could move the cursor or set the window's
# title: C0, DEL and C1, except for line feed and tab.
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))


def printable(text: str) -> str:
    """Remove the control characters that a terminal would interpret."""
    return text.translate(_CONTROLS)


def one_line(text: str) -> str:
    """Replace white space by single spaces, and remove control characters."""
    return printable(" ".join(text.split()))


@contextmanager
def blocking_streams() -> Generator[None]:
    """
    Make stdin, stdout and stderr blocking while a command runs.

    Another program that shares the terminal or pipe may have made them non-blocking.
    Python then drops the output that a slow reader has no room for, without an error.
    """
    changed: list[int] = []
    for descriptor in range(3):
        # A closed descriptor, or, on Windows before 3.12, a missing function.
        with suppress(OSError, AttributeError):
            if not os.get_blocking(descriptor):
                os.set_blocking(descriptor, True)
                changed.append(descriptor)
    try:
        yield
    finally:
        for descriptor in changed:
            with suppress(OSError):
                os.set_blocking(descriptor, False)


class _OutConsole(Console):
    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError; rich would exit with the code 1."""
        raise  # noqa: PLE0704 - called in the except block


class _ErrConsole(Console):
    def on_broken_pipe(self) -> None:
        """Print no more notes; the command continues."""
        self.quiet = True


class Terminal:
    """
    The outputs of a command; without colours if they are not terminals.

    Attributes:
        out: stdout, for results.
        err: stderr, for notes, progress and errors.
        has_stdout: False if stdout was closed when the command started.
    """

    def __init__(self) -> None:
        self.has_stdout = sys.stdout is not None
        # A closed stream is None. These are open for the life of the process.
        if sys.stdout is None:
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as above
        if sys.stderr is None:
            sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as above
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # Half an emoji, or a terminal without UTF-8, must not end the command.
                stream.reconfigure(errors="replace")
        self.out = _OutConsole(highlight=False, markup=False, emoji=False)
        self.err = _ErrConsole(stderr=True, highlight=False, markup=False, emoji=False)

    @property
    def shows_text(self) -> bool:
        """True if stdout is a terminal; FORCE_COLOR has no influence on it."""
        return sys.stdout.isatty()

    def require_stdout(self) -> None:
        """
        Check that there is a stdout for the result.

        Raises:
            CommandError: If stdout is closed.
        """
        if not self.has_stdout:
            raise CommandError(
                "Cannot write the result: stdout is closed. Redirect it to a file.",
                ExitCode.USAGE,
            )

    def note(self, text: str, style: str = "dim") -> None:
        """Print a note to stderr: one line, which a terminal wraps between words."""
        self._print(Text(one_line(text), style=style))

    def error(self, text: str) -> None:
        """Print an error message to stderr, as `note()` does."""
        self._print(Text.assemble(("error:", "bold red"), " ", one_line(text)))

    def _print(self, line: Text) -> None:
        self.err.print(line, soft_wrap=not sys.stderr.isatty())


class ResponsePrinter:
    """Prints a response as it arrives: reasoning to stderr, text to stdout."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        # The output of the last text, and the last character written to it.
        self._last: tuple[TextIO, str] | None = None

    def print_reasoning(self, text: str | None) -> None:
        """Print a part of the reasoning; None and "" are ignored."""
        if text:
            styled = Text(printable(text), style="dim italic")
            self._terminal.err.print(styled, end="", soft_wrap=True)
            self._last = sys.stderr, text[-1]

    def print_text(self, text: str) -> None:
        """Print a part of the text; unchanged if stdout is not a terminal."""
        if not text:
            return
        if self._last is not None and self._last[0] is not sys.stdout:
            self.end()
            self._terminal.err.line()
        shown = printable(text) if self._terminal.shows_text else text
        sys.stdout.write(shown)
        sys.stdout.flush()
        self._last = sys.stdout, text[-1]

    def end(self) -> None:
        """End the current line."""
        if self._last is not None:
            stream, last = self._last
            self._last = None
            if last != "\n":
                stream.write("\n")
                stream.flush()


class _LogHandler(logging.Handler):
    def __init__(self, terminal: Terminal, level: int) -> None:
        super().__init__(level)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        self._terminal.note(record.getMessage())


@contextmanager
def library_log(terminal: Terminal, level: int) -> Generator[None]:
    """Print the library's log records from a level on to stderr."""
    logger = logging.getLogger("openrouter_async")
    handler = _LogHandler(terminal, level)
    previous = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(previous)
