"""`python -m openrouter_async.cli` is the command `openrouter-async`."""

from . import main

if __name__ == "__main__":
    main()
