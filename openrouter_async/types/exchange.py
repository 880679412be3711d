"""What happened on the wire: one record for a call, one for each attempt of it."""

from typing import Any, Literal

from attrs import Factory, define
from multidict import CIMultiDict, MultiMapping

from .shape import Shape

Billing = Literal["not_accepted", "insured", "maybe", "billed"]
"""
What an attempt may have cost.

`not_accepted`: nothing can have run. `insured`: it failed in a way that OpenRouter
does not charge tokens for. `maybe`: nobody can tell. `billed`: a reply came.
"""


@define(eq=False, repr=False)
class Attempt(Shape):
    """
    One request that was sent, or that was meant to be.

    Attributes:
        status: The HTTP status; None if no answer came.
        error: The failure in a line ("RateLimitError: 429 ..."); None if none.
        waited: Seconds slept before this attempt; 0.0 before the first.
        generation_id: The `X-Generation-Id` header; None if it did not come.
        billing: What it may have cost.
    """

    status: int | None = None
    error: str | None = None
    waited: float = 0.0
    generation_id: str | None = None
    billing: Billing = "maybe"


@define(eq=False, repr=False)
class Timings(Shape):
    """
    How long the parts of a call took, in seconds; None where it was not reached.

    Attributes:
        queued: Waiting for a slot, all attempts together.
        connect: From the last attempt's slot to a connection, new or pooled.
        headers: From the last attempt's slot to the reply's headers.
        first_token: From the last attempt's slot to the first token (plain call:
            the first byte of the body).
        total: From the call to its end.
    """

    queued: float | None = None
    connect: float | None = None
    headers: float | None = None
    first_token: float | None = None
    total: float | None = None


def _no_headers() -> MultiMapping[str]:
    return CIMultiDict()


def _no_attempts() -> list[Attempt]:
    return []


@define(eq=False, repr=False)
class Exchange(Shape):
    """
    What one call did on the wire.

    Attributes:
        status: The HTTP status of the last reply; None if none came.
        headers: Its headers; names are case-insensitive.
        generation_id: OpenRouter's id of the generation, the key of
            `GET /generation`; None if the server gave none.
        attempts: Every attempt, the last one last; 1 or more once sent.
        timings: Where the time went.
    """

    status: int | None = None
    headers: MultiMapping[str] = Factory(_no_headers)
    generation_id: str | None = None
    attempts: list[Attempt] = Factory(_no_attempts)
    timings: Timings = Factory(Timings)

    def __reduce__(self) -> tuple[type["Exchange"], tuple[Any, ...]]:
        # The view of the headers that came does not pickle; a copy of it does.
        headers = CIMultiDict(self.headers.items())
        return Exchange, (
            self.status,
            headers,
            self.generation_id,
            self.attempts,
            self.timings,
        )
