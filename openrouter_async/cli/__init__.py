"""The command line: `openrouter-async`."""

import sys

from ..errors import ConfigurationError
from ..extras import require


def main() -> None:
    """Run the command with the arguments of the process, and exit with its code."""
    try:
        for name in ("typer", "rich"):
            require(name, "cli", "The command line")
    except ConfigurationError as error:
        sys.exit(f"error: {error}")
    from .app import run  # noqa: PLC0415 - it imports typer and rich

    sys.exit(run())
