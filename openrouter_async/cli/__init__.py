"""The command line: `openrouter-async demo`, `chat` and `serve`."""

import sys

_NEEDED = ("typer", "rich")


def main() -> None:
    """Run the command with the process's arguments, and exit with its code."""
    try:
        # The library does without these; only the command needs them.
        from .app import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        sys.exit(
            f"error: the command line needs {error.name}, which is not installed: "
            "pip install 'openrouter_async[cli]'"
        )
    sys.exit(run())
