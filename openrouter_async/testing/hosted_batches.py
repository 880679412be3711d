"""The local server's `/batches`: submission, list, results, and their failures."""

import asyncio
import json
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from attrs import define, evolve

from ..protocol.decode import as_object
from .builders import generation_id
from .render import dumps, render
from .reply import Reply
from .seen_requests import SeenRequest, as_list
from .stored_batch import (
    BatchScript,
    BatchUsage,
    ForcedEnd,
    StoredBatch,
    inner_usage,
    invalid_row,
)

SubmissionFault: TypeAlias = Literal[
    "stored_reset", "stored_502", "lost_502", "lost_reset", "rate_limit"
]

_PATH: Final = "/api/v1/batches"
_KEYS: Final = (
    *("endpoint", "model", "callback_url", "completion_window", "provider"),
    "requests",
)
_ENDPOINTS: Final = frozenset(
    ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings")
)
# Rows that are run before other requests get their turn.
_ROWS_PER_TURN: Final = 50
_ERROR_TYPES: Final = {429: "rate_limit_exceeded", 400: "invalid_request"}
_HTML: Final = "<!DOCTYPE html><html><head><title>Not Found</title></head></html>"


@define
class ServerBatchStats:
    """
    Counters of the local server's batches, since the start.

    Attributes:
        stored: Batches that were stored.
        submissions: `POST`s received, including those that were rejected.
        rows_run: Rows that ran.
        cost: US dollars charged for batches.
        list_reads: Requests for the list.
        batch_reads: Requests for one batch, which may include its results.
        page_reads: Requests for a page of results.
    """

    stored: int = 0
    submissions: int = 0
    rows_run: int = 0
    cost: float = 0.0
    list_reads: int = 0
    batch_reads: int = 0
    page_reads: int = 0


class HostedBatches:
    """
    The batches of a `LocalOpenRouter`, for inspection and control by tests.

    Its methods may be called from any thread. `clear()` of the server keeps batches.

    Attributes:
        script: Behaviour of the routes; its attributes may be changed.
    """

    def __init__(
        self,
        script: BatchScript,
        run_row: Callable[[SeenRequest], Awaitable[Reply]],
        record_cost: Callable[[float], None],
    ) -> None:
        self.script = script
        self._run_row = run_row
        self._record_cost = record_cost
        self._batches: dict[str, StoredBatch] = {}
        self._faults: deque[SubmissionFault] = deque()
        self._counts = ServerBatchStats()
        self._running = asyncio.Lock()
        self._ids = random.Random()  # noqa: S311 - not for secrets

    # Inspection and control.

    @property
    def stats(self) -> ServerBatchStats:
        """A snapshot of the counters."""
        return evolve(self._counts)

    @property
    def all(self) -> list[StoredBatch]:
        """Every batch that was submitted and not deleted, oldest first."""
        return [batch for batch in self._batches.values() if not batch.is_foreign]

    def advance(self, batch_id: str) -> None:
        """Skip the time that is left until the next status of a batch."""
        batch, script = self._batches[batch_id], self.script
        steps = (script.validating, script.running, script.finalizing)
        until = 0.0
        for step in steps:
            until += step
            if until > batch.age:
                batch.skipped += until - batch.age
                return

    def end(
        self, batch_id: str, status: str, *, done: float = 1.0, results: bool = True
    ) -> None:
        """
        End a batch with a status; the client sees it with its next request.

        Args:
            batch_id: Id of the batch.
            status: "completed", "failed", "expired" or "cancelled".
            done: Share of the rows that ran and are billed.
            results: If False, the results of these rows are lost.
        """
        self._batches[batch_id].forced = ForcedEnd(status, done, results)

    def foreign(self, *, rows: int = 1, model: str = "openai/gpt-4o-mini") -> str:
        """Add a batch of another program to the list, and return its id."""
        requests: list[dict[str, Any]] = [
            {"custom_id": f"other-{n}", "body": {}} for n in range(rows)
        ]
        batch = StoredBatch(
            self._new_id(), "/v1/chat/completions", model, requests, is_foreign=True
        )
        batch.status = "in_progress"
        self._batches[batch.id] = batch
        return batch.id

    def withhold(self, batch_id: str) -> None:
        """Respond to requests for a batch with 402 once it has ended."""
        self._batches[batch_id].is_withheld = True

    def release(self, batch_id: str) -> None:
        """Undo `withhold()`, as added credits do."""
        self._batches[batch_id].is_withheld = False

    def purge(self, batch_id: str) -> None:
        """Respond to requests for a batch's results with 410."""
        self._batches[batch_id].is_purged = True

    def fail_next(self, fault: SubmissionFault, *, times: int = 1) -> None:
        """
        Let the next submissions fail.

        Args:
            fault: The failure:
                - "stored_reset": the batch is stored, and the connection reset.
                - "stored_502": the batch is stored, and the response is a 502.
                - "lost_502": nothing is stored, and the response is a 502.
                - "lost_reset": nothing is stored, and the connection is reset.
                - "rate_limit": 429 with a `Retry-After` of 0.1 s.
            times: Number of submissions.
        """
        self._faults.extend(fault for _ in range(times))

    # Requests.

    def has_path(self, path: str) -> bool:
        """Return True if a path is one of `/batches`."""
        return path == _PATH or path.startswith(f"{_PATH}/")

    async def respond(self, seen: SeenRequest) -> Reply:  # noqa: PLR0911 - a return per route
        """Return the reply to a request with a path of `/batches`."""
        parts = [part for part in seen.path.removeprefix(_PATH).split("/") if part]
        if not parts and seen.method == "POST":
            return self._submit(seen)
        if not parts and seen.method == "GET":
            return await self._list(seen)
        if len(parts) == 1 and seen.method == "DELETE":
            return await self._delete(parts[0])
        if len(parts) == 1 and seen.method == "GET":
            self._counts.batch_reads += 1
            return await self._read(parts[0])
        if len(parts) == 2 and parts[1] == "results" and self.script.paged:
            self._counts.page_reads += 1
            return await self._read(parts[0], seen)
        if len(parts) == 2 and parts[1] == "results":
            return Reply(status=404, text=_HTML, generation_id=False)
        # There is no way to cancel (recorded September 2026).
        text = "404 Not Found"
        return Reply(status=404, text=text, content_type="text/plain")

    def _submit(self, seen: SeenRequest) -> Reply:  # noqa: PLR0911 - a return per fault
        counts = self._counts
        counts.submissions += 1
        fault = self._faults.popleft() if self._faults else None
        if fault == "rate_limit":
            return _error(429, "Too many batches.", headers={"Retry-After": "0.1"})
        if fault == "lost_502":
            return _error(502, "Bad gateway")
        if fault == "lost_reset":
            return Reply(stop="reset", text="")
        rejection = self._rejection(seen)
        if rejection is not None:
            return rejection
        fields = seen.fields
        batch = StoredBatch(
            self._new_id(),
            fields["endpoint"],
            fields["model"],
            fields["requests"],
            fields.get("provider"),
            fields.get("callback_url"),
            lookups_left=self.script.not_found,
        )
        self._batches[batch.id] = batch
        counts.stored += 1
        if fault == "stored_502":
            return _error(502, "Bad gateway")
        if fault == "stored_reset":
            return Reply(stop="reset", text="")
        return _json(batch.metadata(self.script), status=202)

    def _rejection(self, seen: SeenRequest) -> Reply | None:  # noqa: PLR0911 - a return per rule
        """Return the reply to a submission that is not stored, else None."""
        script, fields = self.script, seen.fields
        if len(seen.body) > script.max_bytes:
            return _error(413, "The request body is too large.")
        known = [key for key in fields if key in _KEYS]
        if known != sorted(known, key=_KEYS.index) or known[:2] != list(_KEYS[:2]):
            # The server parses the body as it reads it, and has one message for all.
            return _error(400, "endpoint and model must come before requests.")
        rows, model = as_list(fields.get("requests")), str(fields["model"])
        if fields["endpoint"] not in _ENDPOINTS:
            return _error(400, "endpoint is not supported.")
        if not rows:
            return _error(400, "requests must have at least 1 row.")
        if len(rows) > script.max_rows:
            return _error(413, f"A batch has at most {script.max_rows} rows.")
        if (wrong := self._wrong_model(model)) is not None:
            return wrong
        return _row_rejection(rows, model)

    def _wrong_model(self, model: str) -> Reply | None:
        script = self.script
        base = model.removesuffix(":batch")
        form = "base" if model == base else "batch"
        if base in script.no_batch or script.slug not in ("both", form):
            text = f"Model '{model}' does not have a :batch endpoint."
            return _error(400, text)
        return None

    async def _list(self, seen: SeenRequest) -> Reply:
        self._counts.list_reads += 1
        query, now = seen.query, time.time()
        statuses = query.getall("status", [])
        if any(status in ("finalizing", "cancelling") for status in statuses):
            return _error(400, "status is not a filter.")
        found: list[StoredBatch] = []
        # A copy, because other requests may add a batch meanwhile.
        for batch in reversed(list(self._batches.values())):
            await self._refresh(batch)
            if now - batch.created >= self.script.list_lag or batch.is_foreign:
                found.append(batch)
        if "after" in query:
            ids = [batch.id for batch in found]
            after = ids.index(query["after"]) if query["after"] in ids else len(ids)
            found = found[after + 1 :]
        since = float(query.get("created_after", "-inf"))
        before = float(query.get("created_before", "inf"))
        found = [
            batch
            for batch in found
            if since < batch.created < before
            and (not statuses or _listed_status(batch) in statuses)
        ]
        limit = int(query.get("limit", "20"))
        page = found[:limit]
        return _json(
            {
                "object": "list",
                "data": [batch.metadata(self.script) for batch in page],
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "has_more": len(found) > limit,
            }
        )

    async def _find(self, batch_id: str) -> StoredBatch | Reply:
        batch = self._batches.get(batch_id)
        if batch is None or batch.lookups_left > 0:
            if batch is not None:
                batch.lookups_left -= 1
            return _error(404, f"Batch {batch_id} not found.")
        await self._refresh(batch)
        return batch

    async def _delete(self, batch_id: str) -> Reply:
        batch = await self._find(batch_id)
        if isinstance(batch, Reply):
            return batch
        if not batch.is_ended:
            return _error(409, "The batch has not ended.")
        del self._batches[batch_id]
        upstream = {"provider": batch.metadata(self.script)["provider"] or "Local"}
        deletion = {
            "openrouter": "deleted",
            "upstream": {**upstream, "status": "unsupported"},
        }
        return _json({"id": batch_id, "object": "batch", "deletion": deletion})

    async def _read(  # noqa: PLR0911 - a return per case
        self, batch_id: str, page: SeenRequest | None = None
    ) -> Reply:
        """Return a batch with its results, or one page of them."""
        batch = await self._find(batch_id)
        if isinstance(batch, Reply):
            return batch
        body = batch.metadata(self.script)
        if batch.is_ended and batch.is_withheld:
            error = {"code": 402, "message": "Add credits to read the results."}
            return _json({**body, "error": error}, status=402)
        if batch.is_purged:
            return _error(410, "Batch results have expired.")
        if page is None:
            if batch.outcomes or (batch.is_ended and batch.status != "failed"):
                body["results"] = batch.outcomes if batch.has_results else None
            if self.script.nan:
                # Python's encoder writes NaN, orjson null.
                body = {**body, "debug": math.nan}
                return Reply(body=json.dumps(body).encode(), generation_id=False)
            return _json(body)
        if not batch.is_ended:
            return _error(409, "The batch has not ended.")
        return _page(batch, page)

    # The life of a batch.

    async def _refresh(self, batch: StoredBatch) -> None:
        """Give a batch the status that the time, or a test, has brought it to."""
        async with self._running:
            if batch.is_ended or batch.is_foreign:
                return
            script, forced = self.script, batch.forced
            if forced is not None:
                await self._run(batch, round(forced.done * len(batch.rows)))
                batch.has_results = forced.results
                self._finish(batch, forced.status)
                return
            left = batch.age - script.validating
            if left < 0:
                return
            if batch.status == "validating" and (fault := invalid_row(batch)):
                name, reason = fault
                where = f"Request '{name}'" if script.names_row else "A request"
                batch.error = {"message": f"{where} is invalid: {reason}.", "code": 400}
                batch.failed = len(batch.rows)
                self._finish(batch, "failed")
                return
            batch.status = "in_progress"
            if left >= script.running:
                await self._run(batch, len(batch.rows))
                batch.status = "finalizing"
            if left >= script.running + script.finalizing:
                self._finish(batch, "completed")

    def _finish(self, batch: StoredBatch, status: str) -> None:
        batch.status = status
        batch.finalized = time.time()

    async def _run(self, batch: StoredBatch, count: int) -> None:
        """Run rows and charge them, once."""
        if batch.ok or batch.failed:
            return
        script = self.script
        bodies: list[dict[str, Any]] = []
        outcomes: list[dict[str, Any]] = []
        for number, row in enumerate(batch.rows[:count]):
            status, body = await self._row_response(batch, row)
            if status == 200 and as_object(body).get("choices"):
                bodies.append(body)
            outcomes += self._results(row["custom_id"], status, body, number)
            if not number % _ROWS_PER_TURN:
                await asyncio.sleep(0)
        # Nothing is stored before all rows have run: the task of a client that
        # disconnects is cancelled, and the next request starts again.
        batch.ok, batch.failed = len(bodies), count - len(bodies)
        batch.outcomes = outcomes
        usage = inner_usage(bodies, script.price)
        self._counts.rows_run += count
        self._counts.cost += usage["cost"]
        self._record_cost(usage["cost"])
        batch.usage = _shown_usage(usage, script.usage)
        if script.unknown:
            batch.outcomes += self._results("never-sent", 500, _error_body(500), 0)
        if script.order == "shuffled":
            random.Random(batch.id).shuffle(batch.outcomes)  # noqa: S311 - not for secrets

    async def _row_response(
        self, batch: StoredBatch, row: Mapping[str, Any]
    ) -> tuple[int, Any]:
        model = batch.model.removesuffix(":batch")
        body = {**row["body"], "model": model}
        seen = SeenRequest(
            "POST", "/api/v1/chat/completions", time.monotonic(), 0, json=body
        )
        seen.generation_id = "gen-batch-" + generation_id(self._ids)[4:]
        rendered = render(await self._run_row(seen), seen, int(time.time()))
        reply_body: Any = json.loads(rendered.body or b"null")
        status = 200 if rendered.completion is not None else _status_of(reply_body)
        if status == 200:
            reply_body = {
                **reply_body,
                "model": f"{model}:batch",
                "service_tier": "batch",
            }
        return status, reply_body

    def _results(
        self, name: str, status: int, body: Any, number: int
    ) -> list[dict[str, Any]]:
        """Return the results of one row: one, or none or two if the script says so."""
        script = self.script
        if name in script.missing:
            return []
        if status == 200 and not script.row_usage:
            body = {key: value for key, value in body.items() if key != "usage"}
        shown: Any = dumps(body).decode() if script.row_errors == "string" else body
        response: Any = {"status_code": status, "request_id": None, "body": body}
        error: Any = None
        if status != 200 and script.row_errors in ("response", "string"):
            response["body"] = shown
        elif status != 200:
            inner = as_object(as_object(body).get("error"))
            error = {
                "message": inner.get("message", ""),
                "type": "invalid_request_error",
                "param": None,
            }
            if script.row_errors == "error":
                error["error_type"] = _ERROR_TYPES.get(status, "server")
            response = None
        result = {
            "id": f"batch_req_{number}",
            "custom_id": name,
            "response": response,
            "error": error,
        }
        if name in script.duplicated:
            wrong = {"status_code": 500, "request_id": None, "body": _error_body(500)}
            return [
                result,
                {**result, "id": "batch_req_again", "response": wrong, "error": None},
            ]
        return [result]

    def _new_id(self) -> str:
        return "batch-" + generation_id(self._ids)[4:]


def _row_rejection(rows: Sequence[Any], model: str) -> Reply | None:
    names: set[str] = set()
    for number, row in enumerate(map(as_object, rows)):
        name = row.get("custom_id")
        if not isinstance(name, str) or not name:
            return _error(400, f"custom_id is required on requests[{number}].")
        if name in names:
            text = f"Request at line {number + 1} has a duplicate custom_id"
            return _error(422, text)
        names.add(name)
        own = as_object(row.get("body")).get("model", model)
        if own != model:
            text = f"requests[{number}] has model '{own}', the batch '{model}'."
            return _error(400, text)
    return None


def _status_of(body: Any) -> int:
    code = as_object(as_object(body).get("error")).get("code")
    return code if isinstance(code, int) else 500


def _error_body(status: int) -> dict[str, Any]:
    return {"error": {"code": status, "message": "Upstream request failed."}}


def _listed_status(batch: StoredBatch) -> str:
    # Stored jobs show `in_progress` in place of these two.
    hidden = batch.status in ("finalizing", "cancelling")
    return "in_progress" if hidden else batch.status


def _shown_usage(usage: dict[str, Any], form: BatchUsage) -> dict[str, Any] | None:
    if form == "null":
        return None
    if form == "byok":
        return {**usage, "is_byok": True}
    if form == "no_cost":
        return {key: value for key, value in usage.items() if key != "cost"}
    return usage


def _page(batch: StoredBatch, seen: SeenRequest) -> Reply:
    limit = int(seen.query.get("limit", "100"))
    start = int(seen.query.get("cursor", "c0")[1:])
    rows = batch.outcomes if batch.has_results else []
    end = start + limit
    return _json(
        {
            "object": "list",
            "data": rows[start:end],
            "has_more": end < len(rows),
            "next_cursor": f"c{end}" if end < len(rows) else None,
        }
    )


def _json(body: Any, *, status: int = 200) -> Reply:
    return Reply(json=body, status=status, generation_id=False)


def _error(
    status: int, message: str, *, headers: Mapping[str, str] | None = None
) -> Reply:
    error = {"code": status, "message": message}
    return Reply(
        json={"error": error}, status=status, headers=headers, generation_id=False
    )
