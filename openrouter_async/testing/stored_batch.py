"""A hosted batch of the local server: its script, its state, and its JSON objects."""

import time
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

from attrs import define, field

from ..protocol.decode import as_object
from .catalogue import provider_of
from .seen_requests import as_list

ResultOrder: TypeAlias = Literal["shuffled", "input"]
RowErrorForm: TypeAlias = Literal["response", "string", "error", "untyped_error"]
BatchUsage: TypeAlias = Literal["full", "null", "byok", "no_cost"]
SlugForm: TypeAlias = Literal["both", "base", "batch"]

ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled"})
_DAY_SECONDS: Final = 24 * 3600


@define
class BatchScript:
    """
    The behaviour of the local server's `/batches`; may be changed while it runs.

    All times are in seconds.

    Attributes:
        validating: Time before the rows of a new batch are validated.
        running: Time from then until the rows have run.
        finalizing: Time from then until the batch is completed.
        price: Price of a batch, as a share of the live price.
        paged: If False, the route `/batches/{id}/results` is missing.
        max_rows: Rows per batch.
        max_bytes: Bytes per submission.
        list_lag: Time before the list contains a new batch.
        not_found: Number of requests for a new batch that get a 404.
        order: Order of the results.
        slug: Form of the model's slug that is accepted: with `:batch`, without, both.
        no_batch: Models without a batch endpoint.
        names_row: If True, the error of a batch that is refused names the row.
        missing: `custom_id`s of rows whose result is left out.
        duplicated: `custom_id`s of rows that have two results; the second is wrong.
        unknown: If True, there is a result for a row that was not submitted.
        row_errors: Form of the result of a row that failed.
        row_usage: If True, the body of a row has `usage`.
        usage: Form of the usage of a batch.
        lagging: If True, the counts are 0 until the batch has ended.
        expires_after: Time from the creation to `expires_at`; None: null.
        nan: If True, inline results contain NaN, which is not valid JSON.
    """

    validating: float = 0.05
    running: float = 0.2
    finalizing: float = 0.0
    price: float = 0.5
    paged: bool = True
    max_rows: int = 5000
    max_bytes: int = 200_000_000
    list_lag: float = 0.0
    not_found: int = 0
    order: ResultOrder = "shuffled"
    slug: SlugForm = "both"
    no_batch: frozenset[str] = frozenset()
    names_row: bool = True
    missing: frozenset[str] = frozenset()
    duplicated: frozenset[str] = frozenset()
    unknown: bool = False
    row_errors: RowErrorForm = "response"
    row_usage: bool = False
    usage: BatchUsage = "full"
    lagging: bool = False
    expires_after: float | None = _DAY_SECONDS
    nan: bool = False


@define
class ForcedEnd:
    """An end that a test chose: status, share of the rows that ran, and results."""

    status: str
    done: float
    results: bool


@define(eq=False)
class StoredBatch:
    """
    One batch.

    Attributes:
        id: Its id.
        endpoint: Endpoint of its rows.
        model: Model, as submitted.
        rows: Its rows, as submitted.
        provider: `provider` of the submission; None if it had none.
        callback_url: `callback_url` of the submission; None if it had none.
        is_foreign: If True, it was not submitted through this server.
        created: Unix time in seconds, with fractions.
        started: Time of the submission, of `time.monotonic()`.
        skipped: Seconds that were skipped by `HostedBatches.advance()`.
        status: Its status.
        finalized: Unix time of its end; None before it.
        outcomes: Results of its rows, in the order in which they are sent.
        ok: Number of rows that succeeded.
        failed: Number of rows that failed.
        usage: Usage of the whole batch; None before the end.
        error: Reason for its failure; None if it did not fail.
        has_results: If False, the results were lost.
        forced: The end that a test chose.
        is_withheld: If True, its charge is not covered: GET gets a 402.
        is_purged: If True, its results are gone: GET gets a 410.
        lookups_left: Number of requests that still get a 404.
    """

    id: str
    endpoint: str
    model: str
    rows: Sequence[dict[str, Any]] = field(repr=False)
    provider: Any = None
    callback_url: str | None = None
    is_foreign: bool = False
    created: float = field(factory=time.time)
    started: float = field(factory=time.monotonic)
    skipped: float = 0.0
    status: str = "validating"
    finalized: float | None = None
    outcomes: list[dict[str, Any]] = field(factory=list[dict[str, Any]], repr=False)
    ok: int = 0
    failed: int = 0
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    has_results: bool = True
    forced: ForcedEnd | None = None
    is_withheld: bool = False
    is_purged: bool = False
    lookups_left: int = 0

    @property
    def is_ended(self) -> bool:
        """True if it has a final status."""
        return self.status in ENDED

    @property
    def age(self) -> float:
        """Seconds since the submission, including those that were skipped."""
        return time.monotonic() - self.started + self.skipped

    def metadata(self, script: BatchScript) -> dict[str, Any]:
        """Return its JSON object without results, as lists contain it."""
        hidden = script.lagging and not self.is_ended
        expires = script.expires_after
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "completion_window": "24h",
            "status": self.status,
            "provider": None
            if self.status == "validating"
            else provider_of(self.model),
            "created_at": int(self.created),
            "expires_at": None if expires is None else int(self.created + expires),
            "finalized_at": None if self.finalized is None else int(self.finalized),
            "request_counts": {
                "total": len(self.rows),
                "completed": 0 if hidden else self.ok,
                "failed": 0 if hidden else self.failed,
            },
            "usage": self.usage,
            "results": None,
            "error": self.error,
        }


def invalid_row(batch: StoredBatch) -> tuple[str, str] | None:
    """Return the name of the first row that fails validation, and the reason."""
    for row in batch.rows:
        body = row["body"]
        if reason := _invalid(body):
            return row["custom_id"], reason
    return None


def _invalid(body: dict[str, Any]) -> str | None:
    messages = as_list(body.get("messages"))
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if not messages:
        return "messages must not be empty"
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        return "max_tokens must be at least 1"
    for name in ("stream", "modalities", "audio", "image_config"):
        if body.get(name):
            return f"{name} is not supported in batches"
    parts = [
        as_object(part)
        for message in messages
        for part in as_list(as_object(message).get("content"))
    ]
    if any(part.get("type") != "text" and "data:" in str(part) for part in parts):
        return "files must be public https URLs"
    return None


def inner_usage(bodies: Sequence[dict[str, Any]], price: float) -> dict[str, Any]:
    """Return the sum of the usage of completions, at a share of their cost."""
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    usages = [body["usage"] for body in bodies if body.get("usage")]
    total: dict[str, Any] = {name: sum(u[name] for u in usages) for name in names}
    total["cost"] = sum(float(u.get("cost") or 0.0) for u in usages) * price
    total["is_byok"] = False
    return total
