"""
Hosted batches: requests that OpenRouter runs later, typically for half the price.

As in `response`, every attribute has a value of its declared type.
"""

from typing import Any, Final

from attrs import Factory, define, field

from .exchange import Exchange
from .response import Usage
from .response_metadata import ErrorBody
from .shape import Shape

_ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})


@define(eq=False, repr=False)
class BatchCounts(Shape):
    """
    Numbers of rows of a hosted batch; they may lag behind.

    Attributes:
        total: Rows submitted.
        completed: Rows that succeeded.
        failed: Rows that failed.
    """

    total: int | None = None
    completed: int | None = None
    failed: int | None = None


@define(eq=False, repr=False)
class Batch(Shape):
    """
    A hosted batch.

    Attributes:
        id: Id of the batch; "" if the response had none.
        object: "batch".
        endpoint: Endpoint of all its rows, such as "/v1/chat/completions".
        model: Model of all its rows; its name may differ from the requested one.
        completion_window: "24h".
        status: "validating", "in_progress", "finalizing", "completed", "failed",
            "expired", "cancelling", "cancelled", or one that is added later.
        provider: The provider that runs it; None until one is assigned.
        created_at: Time of creation in Unix seconds.
        expires_at: Time in Unix seconds after which rows that have not run are not
            run any more; None if the provider names none.
        finalized_at: Time of its end in Unix seconds; None before it.
        request_counts: Numbers of rows.
        usage: Tokens and cost of the whole batch; None before its end.
        error: Error that made the whole batch fail.
        raw: The JSON object as received.
        http: The HTTP exchange.
    """

    id: str = ""
    object: str | None = None
    endpoint: str | None = None
    model: str | None = None
    completion_window: str | None = None
    status: str | None = None
    provider: str | None = None
    created_at: int | None = None
    expires_at: int | None = None
    finalized_at: int | None = None
    request_counts: BatchCounts = Factory(BatchCounts)
    usage: Usage | None = None
    error: ErrorBody | None = None
    raw: dict[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    http: Exchange = field(factory=Exchange, eq=False, repr=False)

    @property
    def counts(self) -> BatchCounts:
        """Numbers of rows: total, completed and failed."""
        return self.request_counts

    @property
    def is_ended(self) -> bool:
        """True if the status is final; a status that is not known is not."""
        return self.status in _ENDED

    @property
    def cost(self) -> float | None:
        """Cost of the whole batch in US dollars; None if it is not known (yet)."""
        return None if self.usage is None else self.usage.cost
