"""What a program that was run in a test says."""

import re


def told(err: str) -> str:
    """What stderr says, but for asyncio's debug mode on a machine that is busy."""
    return re.sub(r"Executing <.* took [\d.]+ seconds\n", "", err)
