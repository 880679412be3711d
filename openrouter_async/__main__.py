"""`python -m openrouter_async` is the command `openrouter-async`."""

from .cli import main

if __name__ == "__main__":
    main()
