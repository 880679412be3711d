"""Lookup of a generation, whose record is available minutes after it."""

import math
from collections.abc import Iterator
from typing import Any, Final

from ..errors import ConfigurationError, MalformedResponseError, NotFoundError
from ..protocol.decode import as_object
from ..protocol.response_objects import read_object
from ..protocol.response_parsing import read_json
from ..protocol.settings import Settings
from ..transport.transport import Transport
from ..types import Exchange
from ..types.generation import Generation

# Seconds. A record is available after 1 to 8 minutes.
_FIRST_DELAY: Final = 5.0
_MAX_DELAY: Final = 30.0


async def find_generation(
    settings: Settings, transport: Transport, generation_id: str, wait: float
) -> Generation:
    """
    Return the record of a generation, and wait until it is available.

    Args:
        settings: The settings, with the key of the call.
        transport: Sends the lookups.
        generation_id: The id.
        wait: Maximum seconds to wait.

    Raises:
        NotFoundError: If it is not available by then.
        TypeError: If an argument has the wrong type.
        ConfigurationError: If the id is empty or `wait` is negative.
    """
    if not isinstance(generation_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"generation_id must be a string, not {generation_id!r:.60}.")
    if not generation_id.strip():
        raise ConfigurationError(
            "generation_id is empty. Pass response.http.generation_id."
        )
    check_wait(wait)
    clock = transport.clock
    end = clock.now() + wait
    pauses = delays()
    while True:
        try:
            return await look_up(settings, transport, generation_id)
        except NotFoundError as error:
            remaining = end - clock.now()
            if remaining <= 0:
                error.hint = (
                    "The record of a generation is available 1 to 8 minutes after it. "
                    "Try again later, or pass a longer wait=."
                )
                raise
        await clock.sleep(min(next(pauses), remaining))


async def look_up(
    settings: Settings, transport: Transport, generation_id: str
) -> Generation:
    """
    Return the record of a generation.

    Raises:
        NotFoundError: If it is not available, or not yet.
        OpenRouterError: If the lookup fails.
    """
    call = settings.call(
        "GET", "/generation", _read_generation, query={"id": generation_id}
    )
    return await transport.fetch(call)


def delays() -> Iterator[float]:
    """Yield the seconds between lookups, without an end."""
    delay = _FIRST_DELAY
    while True:
        yield delay
        delay = min(2 * delay, _MAX_DELAY)


def check_wait(wait: object) -> None:
    """
    Check a number of seconds to wait.

    Raises:
        TypeError: If it is not a number.
        ConfigurationError: If it is negative or not a number.
    """
    if isinstance(wait, bool) or not isinstance(wait, int | float):
        raise TypeError(f"wait must be a number of seconds, not {wait!r:.60}.")
    if math.isnan(wait) or wait < 0:
        raise ConfigurationError(f"wait must be 0 seconds or more, not {wait!r}.")


def _read_generation(body: bytes, http: Exchange, wall_time: float) -> Generation:
    """
    Return the generation in the body of a response.

    Raises:
        MalformedResponseError: If there is none.
        APIError: If the body is an error instead.
    """
    data: Any = as_object(as_object(read_json(body, http, wall_time)).get("data"))
    if not data:
        raise MalformedResponseError("The response has no generation.", http=http)
    found = read_object(Generation, data)
    found.http = http
    return found
