"""
How a command ends: the exit codes, and what is said about a failure.

    0    well
    1    anything that has no code of its own
    2    the command, its options or its environment are not acceptable
    3    OpenRouter or a provider answered with an error, or with nonsense
    4    no connection, a time-out, an answer that broke off
    5    the account: no key, a wrong one (401), no credits (402), not allowed (403)
    130  interrupted with Ctrl-C
    141  whoever read the output has gone away

`batch` has codes of its own for how far it came:

    0    all rows have a reply
    3    some rows failed
    4    --max-cost is reached
    5    the account: all other rows would fail alike
    6    nothing but refusals for a long time
    130  interrupted; the same command goes on
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
    """What a command tells its caller."""

    OK = 0
    OTHER = 1
    USAGE = 2
    API = 3
    CONNECTION = 4
    ACCOUNT = 5
    # Of `batch` alone.
    ROWS_FAILED = 3
    BUDGET = 4
    STALLED = 6
    # As shells count: 128 and the number of SIGINT, of SIGPIPE.
    INTERRUPTED = 130
    NO_READER = 141


class CommandError(Exception):
    """
    A failure that the command line itself finds.

    Attributes:
        message: What is wrong and what to do, in a line.
        code: How the process ends.
    """

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def code_of(error: OpenRouterError) -> ExitCode:
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


def line_of(error: OpenRouterError) -> str:
    """Return what is said about an error of the library."""
    tries = len(error.attempts)
    return f"{error} ({tries} attempts)" if tries > 1 else str(error)
