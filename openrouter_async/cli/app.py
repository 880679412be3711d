"""The commands and their options; what they do is done elsewhere."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from openrouter_async.errors import OpenRouterError
from openrouter_async.version import __version__

from .batch import (
    BatchArgs,
    retry,
    send,
    status,
)
from .chat import ChatArgs, ask
from .console import Terminal, library_log
from .demo import DemoArgs, demo
from .exit_codes import (
    CommandError,
    ExitCode,
    code_of,
    line_of,
)
from .serve import ServeArgs, serve

NAME = "openrouter-async"
DEFAULT_MODEL = "openai/gpt-4o-mini"
DEFAULT_PORT = 8484

Job = Callable[[Terminal], ExitCode]
"""What a command comes to once its options are read."""

Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show every attempt, on stderr.")
]

app = typer.Typer(
    name=NAME,
    help="Talk to OpenRouter from the shell, or run a local one.",
    epilog=(
        "Exit codes: 0 well, 1 other, 2 usage, 3 error reply, 4 no connection or "
        "time-out, 5 key, credits or permission, 130 Ctrl-C."
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def run(
    arguments: Sequence[str] | None = None, *, debug: bool = sys.flags.dev_mode
) -> int:
    """
    Run a command and return its exit code; a failure is told in one line.

    Args:
        arguments: What follows the command's name; None: the process's own.
        debug: Whether a fault of our own is raised, with its traceback.
    """
    screen = Terminal()
    try:
        # --help and --version leave a code in place of a job.
        job: Job | int | None = app(arguments, prog_name=NAME, standalone_mode=False)
        code = job(screen) if callable(job) else job or ExitCode.OK
        sys.stdout.flush()
    except KeyboardInterrupt:
        screen.note("Interrupted.")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.NO_READER
    except Exception as error:
        failure = _known(error)
        if failure is None and debug:
            raise
        failure = failure or CommandError(
            f"unexpected {type(error).__name__}: {error} "
            "(python -X dev -m openrouter_async shows where)",
            ExitCode.OTHER,
        )
        screen.fail(failure.message)
        return failure.code
    return code


def _known(error: Exception) -> CommandError | None:
    """Return what is told about a failure; None for a fault of our own."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, OpenRouterError):
        return CommandError(line_of(error), code_of(error))
    if isinstance(error, OSError):
        # A disk that is full, say.
        return CommandError(error.strerror or str(error), ExitCode.OTHER)
    # Typer's usage errors are click's, in some of its versions under another name.
    said: Callable[[], str] | None = getattr(error, "format_message", None)
    if said is None:
        return None
    context: typer.Context | None = getattr(error, "ctx", None)
    path = NAME if context is None else context.command_path
    return CommandError(f"{said().rstrip('.')}. See {path} --help.", ExitCode.USAGE)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's own protocol
    if wanted:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _job(
    work: Callable[[Terminal], ExitCode],
    *,
    verbose: bool,
    level: int = logging.WARNING,
) -> Job:
    """Add what the library logs from a level on; from DEBUG if it is to be verbose."""

    def job(screen: Terminal) -> ExitCode:
        with library_log(screen, logging.DEBUG if verbose else level):
            return work(screen)

    return job


@app.command("demo")
def _demo(
    *,
    model: Annotated[
        str,
        typer.Option("--model", "-m", envvar="OPENROUTER_MODEL", help="With --live."),
    ] = DEFAULT_MODEL,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Call OpenRouter with OPENROUTER_API_KEY, a few times; "
            "it costs far less than a cent.",
        ),
    ] = False,
    verbose: Verbose = False,
) -> Job:
    """Show a completion, a stream, an error and many calls at once; no key needed."""
    tour = DemoArgs(model=model if live else DEFAULT_MODEL, live=live)
    return _job(lambda screen: demo(tour, screen), verbose=verbose)


@app.command("chat")
def _chat(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPT",
            show_default=False,
            help='What to ask; "-" stands for stdin, and so does nothing at all.',
        ),
    ] = None,
    *,
    model: Annotated[
        str, typer.Option("--model", "-m", envvar="OPENROUTER_MODEL", help="The model.")
    ] = DEFAULT_MODEL,
    system: Annotated[
        str | None, typer.Option("--system", "-s", help="How the model is to behave.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", "-t", min=0, max=2, help="How varied it is."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="The most that it may write.")
    ] = None,
    reasoning: Annotated[
        str | None,
        typer.Option(
            metavar="EFFORT",
            help="How hard it thinks: none, minimal, low, medium, high, xhigh, max.",
        ),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, metavar="SECONDS", help="For everything.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Print as it arrives.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole reply as JSON, unstreamed.")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Ask a local server, without a key.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the answer and nothing else.")
    ] = False,
    verbose: Verbose = False,
) -> Job:
    """Ask a model: the answer goes to stdout; reasoning, usage and cost to stderr."""
    question = ChatArgs(
        words=words or (),
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
    return _job(lambda screen: ask(question, screen), verbose=verbose, level=level)


@app.command("serve")
def _serve(
    *,
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, help="0 takes a free one.")
    ] = DEFAULT_PORT,
    paced: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Between the chunks of a stream."),
    ] = 0.02,
    delay: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Before each answer.")
    ] = 0,
    key: Annotated[
        list[str] | None,
        typer.Option(help="A key that it accepts (repeatable); any, unless given."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model that it knows (repeatable); any, unless given."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Log no requests.")
    ] = False,
) -> Job:
    """Run a local OpenRouter for any client, until Ctrl-C; it needs no key."""
    service = ServeArgs(
        host=host,
        port=port,
        paced=paced,
        delay=delay,
        keys=key or (),
        models=model or (),
        quiet=quiet,
    )
    return _job(lambda screen: serve(service, screen), verbose=False)


batch = typer.Typer(
    help="Send many requests from a file; the output file is where it goes on.",
    epilog=(
        "Exit codes: 0 all rows have a reply, 2 usage, 3 some rows failed, "
        "4 --max-cost reached, 5 key, credits or a cap, 6 nothing but refusals, "
        "130 Ctrl-C; the same command goes on."
    ),
    no_args_is_help=True,
)
app.add_typer(batch, name="batch")

Concurrency = Annotated[
    str,
    typer.Option("--concurrency", "-c", metavar="auto|N", help="Requests in flight."),
]
Rpm = Annotated[float | None, typer.Option(min=0.001, help="Requests a minute.")]
MaxCost = Annotated[
    float | None, typer.Option(min=1e-9, metavar="DOLLARS", help="Stop before more.")
]
Progress = Annotated[
    Literal["auto", "json", "none"],
    typer.Option(help="A line on a terminal, else JSON every ten seconds."),
]
Local = Annotated[
    bool, typer.Option("--local", help="Ask a local server, without a key.")
]
Patience = Annotated[
    float | None,
    typer.Option(
        "--timeout", min=0.001, metavar="SECONDS", help="For a request with repeats."
    ),
]
Limit = Annotated[int | None, typer.Option(min=1, help="How many rows are taken.")]


@batch.command("run")
def _batch_run(
    source: Annotated[
        str, typer.Argument(metavar="IN.jsonl", help='Rows; "-" is stdin.')
    ],
    *,
    out: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.jsonl", help="Replies.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", envvar="OPENROUTER_MODEL", help="Of rows that name none."
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="Such as 'Summarise: {text}'."),
    ] = None,
    concurrency: Concurrency = "auto",
    rpm: Rpm = None,
    max_cost: MaxCost = None,
    timeout: Patience = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="The most that a reply may be.")
    ] = None,
    limit: Limit = None,
    progress: Progress = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; tell what would be sent.")
    ] = False,
    local: Local = False,
    verbose: Verbose = False,
) -> Job:
    """Send the rows that OUT.jsonl does not have yet."""
    work = BatchArgs(
        source=source,
        out=out,
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
    return _job(lambda screen: send(work, screen), verbose=verbose)


@batch.command("status")
def _batch_status(
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl")],
) -> Job:
    """Tell what OUT.jsonl has, as JSON."""
    return _job(lambda screen: status(out, screen), verbose=False)


@batch.command("retry")
def _batch_retry(
    source: Annotated[
        str, typer.Argument(metavar="OUT.errors.jsonl", help="Or OUT.jsonl.")
    ],
    *,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="In place of the rows' own.")
    ] = None,
    concurrency: Concurrency = "auto",
    rpm: Rpm = None,
    max_cost: MaxCost = None,
    timeout: Patience = None,
    limit: Limit = None,
    progress: Progress = "auto",
    local: Local = False,
    verbose: Verbose = False,
) -> Job:
    """Send the rows that failed again, into OUT.jsonl."""
    work = BatchArgs(
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
    return _job(lambda screen: retry(work, screen), verbose=verbose)
