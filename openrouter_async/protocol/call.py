"""What one call came to, for whoever watches."""

from typing import Literal

from attrs import frozen

from ..errors import OpenRouterError
from ..types import Exchange, Usage
from ..types.shape import Value

Outcome = Literal["ok", "error", "closed", "cancelled"]


@frozen(eq=False, repr=False)
class CallRecord(Value):
    """
    One call that is over: plain, streamed, or inside a run.

    Attributes:
        model: What was asked for; None if the request named none.
        stream: Whether a stream was asked for.
        outcome: "ok"; "error": it raised; "closed": the caller left the stream
            before its end; "cancelled": its task was cancelled.
        error: What it raised; None unless the outcome is "error".
        http: What happened on the wire.
        usage: Tokens and cost; None where none arrived.
    """

    model: str | None
    stream: bool
    outcome: Outcome
    error: OpenRouterError | None
    http: Exchange
    usage: Usage | None
