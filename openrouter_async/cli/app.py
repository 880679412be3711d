"""The commands of `openrouter-async` and their options."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from openrouter_async.errors import OpenRouterError
from openrouter_async.version import __version__

from .batch import BatchArgs, retry, send, status
from .chat import ChatArgs, chat
from .console import Terminal, blocking_streams, library_log
from .demo import DemoArgs, demo
from .exit_codes import CommandError, ExitCode, exit_code_of, message_of
from .serve import ServeArgs, serve
from .web_demo import WebDemoArgs, web_demo

NAME = "openrouter-async"
DEFAULT_MODEL = "openai/gpt-4o-mini"
DEFAULT_PORT = 8484
DEFAULT_WEB_PORT = 8485

Command = Callable[[Terminal], ExitCode]
"""A command whose options have been read; the functions below return it."""

app = typer.Typer(
    name=NAME,
    help="Send requests to OpenRouter, or run a local server with its API.",
    # Click wraps the lines of a paragraph, unless it begins with this character.
    epilog="""\b
Exit codes:
  0    success
  1    any other error
  2    invalid option, argument or environment variable
  3    error or invalid response from OpenRouter or the provider
  4    no connection, timeout, or interrupted stream
  5    missing or invalid API key, no credits, or no permission
  130  interrupted with Ctrl-C""",
    # Typer's panels leave too little width for the help texts on 80 columns.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def run(
    arguments: Sequence[str] | None = None, *, debug: bool = sys.flags.dev_mode
) -> int:
    """
    Run a command and return its exit code. Errors are printed in one line.

    Args:
        arguments: Arguments after the command's name; None: those of the process.
        debug: If True, raise unexpected exceptions, with their traceback.
    """
    terminal = Terminal()
    with blocking_streams():
        return _run(arguments, terminal, debug=debug)


def _run(arguments: Sequence[str] | None, terminal: Terminal, *, debug: bool) -> int:
    try:
        # With --help and --version, Typer returns an exit code, not a command.
        command: Command | int | None = app(
            arguments, prog_name=NAME, standalone_mode=False
        )
        code = command(terminal) if callable(command) else command or ExitCode.OK
        sys.stdout.flush()
    except KeyboardInterrupt:
        terminal.note("Interrupted.")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout again at exit, and would report this error once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except Exception as error:
        failure = _expected(error)
        if failure is None and debug:
            raise
        failure = failure or CommandError(
            f"unexpected {type(error).__name__}: {error} (run python -X dev -m "
            "openrouter_async for the traceback)",
            ExitCode.OTHER,
        )
        terminal.error(failure.message)
        return failure.code
    return code


def _expected(error: Exception) -> CommandError | None:
    """Return the message and exit code of an exception; None if it is a bug."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, OpenRouterError):
        return CommandError(message_of(error), exit_code_of(error))
    if isinstance(error, OSError):
        # For example, a full disk.
        return CommandError(error.strerror or str(error), ExitCode.OTHER)
    # Usage errors are click's, which some versions of Typer contain under another name.
    format_message: Callable[[], str] | None = getattr(error, "format_message", None)
    if format_message is None:
        return None
    context: typer.Context | None = getattr(error, "ctx", None)
    path = NAME if context is None else context.command_path
    message = format_message().rstrip(".")
    return CommandError(f"{message}. See {path} --help.", ExitCode.USAGE)


def _print_version(value: bool) -> None:  # noqa: FBT001 - Typer passes it by position
    if value:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


def _positive(value: float | None) -> float | None:
    if value is not None and not value > 0:
        raise typer.BadParameter(f"{value:g} is not greater than 0.")
    return value


def _with_log(
    command: Command, *, verbose: bool, level: int = logging.WARNING
) -> Command:
    """Print the library's log records from a level on; all of them if verbose."""

    def run_command(terminal: Terminal) -> ExitCode:
        with library_log(terminal, logging.DEBUG if verbose else level):
            return command(terminal)

    return run_command


Local = Annotated[
    bool, typer.Option("--local", help="Use a local server; needs no API key.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Log every attempt to stderr.")
]


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - _print_version uses it
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("demo")
def _demo(
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            envvar="OPENROUTER_MODEL",
            help="Model id, with --live.",
        ),
    ] = DEFAULT_MODEL,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Call OpenRouter instead, with OPENROUTER_API_KEY. "
            "The eight short calls cost less than a cent.",
        ),
    ] = False,
    web: Annotated[
        bool, typer.Option("--web", help="Serve a chat page on the local server.")
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            "-p",
            min=0,
            max=65535,
            metavar="PORT",
            help="Port of the page, with --web; 0 takes a free one.",
        ),
    ] = DEFAULT_WEB_PORT,
    verbose: Verbose = False,
) -> Command:
    """Make example calls on a local server; needs no API key."""
    if web and live:
        raise typer.BadParameter("--web and --live cannot be combined.")
    if web:
        return _with_log(
            lambda terminal: web_demo(WebDemoArgs(port), terminal), verbose=verbose
        )
    args = DemoArgs(model=model if live else DEFAULT_MODEL, live=live)
    return _with_log(lambda terminal: demo(args, terminal), verbose=verbose)


@app.command("chat")
def _chat(
    prompt: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPT",
            show_default=False,
            help='The prompt. "-" inserts stdin; without a prompt, stdin is read.',
        ),
    ] = None,
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            envvar="OPENROUTER_MODEL",
            help="Model id.",
        ),
    ] = DEFAULT_MODEL,
    system: Annotated[
        str | None,
        typer.Option("--system", "-s", metavar="TEXT", help="System message."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            "-t",
            min=0,
            max=2,
            metavar="NUMBER",
            help="Sampling temperature.",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Maximum number of output tokens."),
    ] = None,
    reasoning: Annotated[
        str | None,
        typer.Option(
            metavar="EFFORT",
            help="Reasoning effort: none, minimal, low, medium, high, xhigh or max.",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            callback=_positive,
            metavar="SECONDS",
            help="Time limit for the call, including retries.",
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option("--stream/--no-stream", help="Print the text as it arrives."),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the response as JSON, not streamed.")
    ] = False,
    local: Local = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the text and errors.")
    ] = False,
    verbose: Verbose = False,
) -> Command:
    """
    Send a prompt to a model and print the response.

    The text goes to stdout; reasoning, usage and cost go to stderr.
    """
    args = ChatArgs(
        prompt=prompt or (),
        model=model,
        system=system,
        temperature=temperature,
        max_tokens=max_tokens,
        effort=reasoning,
        timeout=timeout,
        stream=stream,
        as_json=as_json,
        local=local,
        quiet=quiet,
    )
    level = logging.WARNING if quiet else logging.INFO
    return _with_log(
        lambda terminal: chat(args, terminal), verbose=verbose, level=level
    )


@app.command("serve")
def _serve(
    *,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port",
            "-p",
            min=0,
            max=65535,
            metavar="PORT",
            help="Port to listen on; 0 takes a free one.",
        ),
    ] = DEFAULT_PORT,
    chunk_delay: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Time between stream chunks."),
    ] = 0.02,
    delay: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time before each response.")
    ] = 0,
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY", help="Accept only this API key; can be given several times."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL", help="Accept only this model; can be given several times."
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Do not log requests.")
    ] = False,
) -> Command:
    """
    Run a local server with OpenRouter's API until Ctrl-C.

    It responds without a model and needs no API key. The base URL goes to stdout; a
    line for each request goes to stderr.
    """
    args = ServeArgs(
        host=host,
        port=port,
        chunk_delay=chunk_delay,
        delay=delay,
        keys=key or (),
        models=model or (),
        quiet=quiet,
    )
    return _with_log(lambda terminal: serve(args, terminal), verbose=False)


batch = typer.Typer(
    help="Send many requests from a file.",
    epilog="""\b
Exit codes, if they differ from those of openrouter-async:
  0  every row has a response
  3  some rows failed
  4  the run was stopped by --max-cost
  5  the API key or its credits do not allow further requests
  6  for a long time, every request was rejected (rate limit or overload)
  7  hosted batches are still running; the same command collects""",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(batch, name="batch")

Concurrency = Annotated[
    str,
    typer.Option(
        "--concurrency",
        "-c",
        metavar="auto|N",
        help="Number of requests in flight; auto adapts it to the rate limits.",
    ),
]
Rpm = Annotated[
    float | None,
    typer.Option(callback=_positive, metavar="N", help="Maximum requests per minute."),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        callback=_positive, metavar="DOLLARS", help="Maximum cost of the run."
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        callback=_positive,
        metavar="SECONDS",
        help="Time limit for each request, including retries.",
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Maximum number of rows to read.")
]
Progress = Annotated[
    Literal["auto", "json", "none"],
    typer.Option(
        help="auto: a line that is updated on a terminal, else JSON every ten seconds."
    ),
]


@batch.command("run")
def _batch_run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN.jsonl", help='Rows, one JSON value per line; "-" is stdin.'
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT.jsonl", help="File to append responses to."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            envvar="OPENROUTER_MODEL",
            help="Model id for rows that have none.",
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Prompt with fields of the row, such as 'Summarise: {text}'.",
        ),
    ] = None,
    concurrency: Concurrency = "auto",
    rpm: Rpm = None,
    max_cost: MaxCost = None,
    timeout: Timeout = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Maximum number of output tokens, for rows that have none.",
        ),
    ] = None,
    limit: Limit = None,
    progress: Progress = "auto",
    hosted: Annotated[
        bool,
        typer.Option(
            "--hosted",
            help="Send the rows as hosted batches: later, mostly for half the price.",
        ),
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait",
            help="With --hosted: wait for the results, or only submit and collect.",
        ),
    ] = True,
    poll: Annotated[
        float,
        typer.Option(
            min=0.01,
            metavar="SECONDS",
            help="With --hosted: time before the first check of the batches.",
        ),
    ] = 15.0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the rows and print the first request, or with --hosted the "
            "prices; send none.",
        ),
    ] = False,
    local: Local = False,
    verbose: Verbose = False,
) -> Command:
    """
    Send the requests in IN.jsonl and save the responses.

    Rows whose response is in OUT.jsonl are skipped, so that the same command resumes
    an interrupted run. Failed rows go to OUT.errors.jsonl. Ctrl-C waits for the
    requests in flight; a second one cancels them. Hosted batches continue after Ctrl-C.
    """
    args = BatchArgs(
        source=source,
        out=out,
        hosted=hosted,
        wait=wait,
        poll=poll,
        model=model,
        prompt=prompt,
        concurrency=concurrency,
        rpm=rpm,
        max_cost=max_cost,
        timeout=timeout,
        max_tokens=max_tokens,
        limit=limit,
        progress=progress,
        dry_run=dry_run,
        local=local,
    )
    return _with_log(lambda terminal: send(args, terminal), verbose=verbose)


@batch.command("status", short_help="Print the totals of an output file.")
def _batch_status(
    out: Annotated[
        Path, typer.Argument(metavar="OUT.jsonl", help="Output file of a run.")
    ],
) -> Command:
    """Print the totals of an output file as JSON, and a table of its batches."""
    return _with_log(lambda terminal: status(out, terminal), verbose=False)


@batch.command("retry")
def _batch_retry(
    source: Annotated[
        str,
        typer.Argument(
            metavar="OUT.errors.jsonl", help="Failed rows; OUT.jsonl also works."
        ),
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Model id that replaces the rows' own.",
        ),
    ] = None,
    concurrency: Concurrency = "auto",
    rpm: Rpm = None,
    max_cost: MaxCost = None,
    timeout: Timeout = None,
    limit: Limit = None,
    progress: Progress = "auto",
    local: Local = False,
    verbose: Verbose = False,
) -> Command:
    """Send the failed rows again, and append to OUT.jsonl."""
    args = BatchArgs(
        source=source,
        out=Path(),
        model=model,
        concurrency=concurrency,
        rpm=rpm,
        max_cost=max_cost,
        timeout=timeout,
        limit=limit,
        progress=progress,
        local=local,
    )
    return _with_log(lambda terminal: retry(args, terminal), verbose=verbose)
