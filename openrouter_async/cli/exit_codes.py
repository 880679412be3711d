"""
Exit codes of the commands.

    0    success
    1    any other error
    2    invalid option, argument or environment variable
    3    error or invalid response from OpenRouter or the provider
    4    no connection, timeout, or interrupted stream
    5    missing or invalid API key (401), no credits (402), or no permission (403)
    130  interrupted with Ctrl-C
    141  the reader of the output has closed the pipe

`batch` uses some of them for the state of the run:

    0    every row has a response
    3    some rows failed
    4    the run was stopped by --max-cost
    5    the API key or its credits do not allow further requests
    6    for a long time, every request was rejected (rate limit or overload)
    7    hosted batches are still running; the same command collects their results
    130  interrupted with Ctrl-C; the same command resumes the run
"""

from enum import IntEnum

from openrouter_async.errors import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    ConfigurationError,
    MalformedResponseError,
    OpenRouterError,
    PaymentRequiredError,
    PermissionDeniedError,
    StreamInterruptedError,
)


class ExitCode(IntEnum):
    """Exit codes; see the docstring of this module."""

    OK = 0
    OTHER = 1
    USAGE = 2
    API = 3
    CONNECTION = 4
    ACCOUNT = 5
    # Of `batch` only; the first two are aliases of API and CONNECTION.
    ROWS_FAILED = 3
    BUDGET = 4
    STALLED = 6
    BATCHES_RUNNING = 7
    # As in shells: 128 plus the number of the signal, SIGINT or SIGPIPE.
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class CommandError(Exception):
    """
    An error that ends a command.

    Attributes:
        message: The problem and its remedy, in one line.
        code: Exit code of the process.
    """

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def check_text(*texts: str | None) -> None:
    """
    Check that texts of the command line can be sent; paths are not restricted.

    Raises:
        CommandError: If a text has bytes that are not valid UTF-8.
    """
    for text in texts:
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:
            raise CommandError(
                f"an argument is not UTF-8 text: invalid byte at position "
                f"{error.start} of {ascii(text)[:80]}.",
                ExitCode.USAGE,
            ) from error


def exit_code_of(error: OpenRouterError) -> ExitCode:
    """Return the exit code for an error of the library."""
    match error:
        case AuthenticationError() | PaymentRequiredError() | PermissionDeniedError():
            return ExitCode.ACCOUNT
        case APIError() | MalformedResponseError():
            return ExitCode.API
        case APIConnectionError() | StreamInterruptedError():
            return ExitCode.CONNECTION
        case ConfigurationError():
            return ExitCode.USAGE
        case _:
            return ExitCode.OTHER


def message_of(error: OpenRouterError) -> str:
    """Return the message of an error, with the attempts if there were several."""
    attempts = len(error.attempts)
    return f"{error} ({attempts} attempts)" if attempts > 1 else str(error)
