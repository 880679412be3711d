"""The HTTP exchange of a call, with its attempts and timings."""

from typing import Any, Literal

from attrs import Factory, define
from multidict import CIMultiDict, MultiMapping

from .shape import Shape

Billing = Literal["not_accepted", "insured", "maybe", "billed"]
"""
Billing status of an attempt.

"not_accepted": no, the request cannot have run. "insured": no, it failed in a way that
OpenRouter does not charge for. "maybe": unknown. "billed": yes, a response arrived.
"""


@define(eq=False, repr=False)
class Attempt(Shape):
    """
    One attempt to send a request.

    Attributes:
        status: HTTP status; None if no response arrived.
        error: The failure as one line ("RateLimitError: 429 ..."); None if it
            succeeded.
        waited: Seconds waited before this attempt, for the backoff and in cooldowns;
            0.0 for the first, unless a cooldown held it.
        generation_id: The `X-Generation-Id` header; None if it is absent.
        billing: "not_accepted": not billed, the request cannot have run; "insured": not
            billed, OpenRouter does not charge for this failure; "maybe": unknown;
            "billed": a response arrived.
    """

    status: int | None = None
    error: str | None = None
    waited: float = 0.0
    generation_id: str | None = None
    billing: Billing = "maybe"


@define(eq=False, repr=False)
class Timings(Shape):
    """
    Durations of the phases of a call in seconds; None if a phase was not reached.

    Attributes:
        queued: Waiting for connection slots, in all attempts together.
        connect: From the last attempt's slot to its connection, new or pooled.
        headers: From the last attempt's slot to the response headers.
        first_token: From the last attempt's slot to the first token; for a plain call,
            to the first byte of the body.
        total: From the start to the end of the call.
        permit: Waiting for permits of a concurrency limit, in all attempts together;
            None if the call started at once.
        cooldown: Waiting because the server had asked to wait, in all attempts
            together; None if the call started at once.
    """

    queued: float | None = None
    connect: float | None = None
    headers: float | None = None
    first_token: float | None = None
    total: float | None = None
    permit: float | None = None
    cooldown: float | None = None


@define(eq=False, repr=False)
class Exchange(Shape):
    """
    The HTTP side of one call.

    Attributes:
        status: HTTP status of the last response; None if no response arrived.
        headers: Headers of the last response; names are case-insensitive.
        generation_id: OpenRouter's id of the generation, the key of `GET /generation`;
            None if the server sent none.
        attempts: All attempts in order; 1 or more once the request was sent.
        timings: Durations of the phases.
    """

    status: int | None = None
    # Not `Factory(list[Attempt])`: to call a generic alias takes 400 ns more, and every
    # call creates an Exchange.
    headers: MultiMapping[str] = Factory(CIMultiDict)  # pyright: ignore[reportUnknownVariableType]
    generation_id: str | None = None
    attempts: list[Attempt] = Factory(list)  # pyright: ignore[reportUnknownVariableType]
    timings: Timings = Factory(Timings)

    def __reduce__(self) -> tuple[type["Exchange"], tuple[Any, ...]]:
        # aiohttp's read-only view of the headers cannot be pickled, but a copy can.
        headers = CIMultiDict(self.headers.items())
        return Exchange, (
            self.status,
            headers,
            self.generation_id,
            self.attempts,
            self.timings,
        )
