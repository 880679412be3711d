"""BatchRoutes: the calls of `/batches`."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from attrs import evolve, frozen

from ...errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    MalformedResponseError,
    OpenRouterError,
)
from ...protocol.batch_parsing import batch_of, objects_in, read_batch, read_batch_json
from ...protocol.call import Call
from ...protocol.retry_after import read_date
from ...protocol.settings import Settings
from ...transport.transport import Transport
from ...types import Exchange
from ...types.hosted import Batch

T = TypeVar("T")

PAGE_ROWS: Final = 200
"""Rows per page of results: at 10 KB each, 2 MB in memory."""

_PATH: Final = "/batches"
_LIST_LIMIT: Final = 100
# Seconds: the wait after the first failure to connect. It doubles with each one.
_CONNECT_WAIT: Final = 0.3
_MAX_CONNECT_WAIT: Final = 30.0


@frozen
class BatchPage:
    """One page of the list of batches, newest first."""

    batches: list[Batch]
    next_id: str | None


def is_ambiguous(error: OpenRouterError) -> bool:
    """Return True if a submission that failed with an error may have been stored."""
    if isinstance(error, APIError):
        return error.status_code >= 500 or error.status_code == 408
    if isinstance(error, APIConnectionError):
        return not is_unsent(error)
    # A status of 2XX with a body that cannot be read.
    return isinstance(error, MalformedResponseError)


def is_unsent(error: OpenRouterError) -> bool:
    """Return True if a request did not reach the server."""
    attempts = error.attempts
    return isinstance(error, APIConnectionError) and (
        not attempts or attempts[-1].billing == "not_accepted"
    )


class BatchRoutes:
    """
    The calls of `/batches`, with the settings of one client.

    Attributes:
        behind: Seconds by which the server's time is behind that of this machine, as
            the last list had it; 0.0 if it is ahead, or not known.
    """

    def __init__(self, settings: Settings, transport: Transport) -> None:
        self._settings = settings
        self._transport = transport
        self.behind = 0.0

    async def submit(self, body: bytes | Path) -> Batch:
        """
        Submit a batch; its body is sent once, from memory or from a file.

        Raises:
            OpenRouterError: If it fails; `is_ambiguous` says if it may be stored.
        """
        call = self._call("POST", _PATH, read_batch, retry=False)
        if isinstance(body, bytes):
            return await self._transport.fetch(evolve(call, body=body))
        return await self._transport.fetch(evolve(call, body_path=str(body)))

    async def page(self, query: Mapping[str, Any]) -> BatchPage:
        """Return one page of the list."""
        query = {"limit": _LIST_LIMIT, **query}
        found = await self._transport.fetch(
            self._call("GET", _PATH, self._read_page, query=query)
        )
        batches = [batch_of(raw) for raw in objects_in(found.get("data"))]
        last = found.get("last_id") or (batches[-1].id if batches else None)
        has_more = found.get("has_more") is True
        return BatchPage(batches, last if has_more and batches else None)

    async def get(self, batch_id: str) -> Batch:
        """Return a batch, with its results in `raw` if it has ended."""
        return await self._transport.fetch(
            self._call("GET", _path(batch_id), read_batch)
        )

    async def results_page(
        self, batch_id: str, cursor: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return the rows of one page of results, and the cursor of the next page."""
        query = {"limit": PAGE_ROWS, "cursor": cursor}
        path = f"{_path(batch_id)}/results"
        found = await self._transport.fetch(
            self._call("GET", path, read_batch_json, query=query)
        )
        following = found.get("next_cursor")
        return objects_in(found.get("data")), (
            following if isinstance(following, str) and found.get("has_more") else None
        )

    async def download(self, batch_id: str, sink: Callable[[bytes], object]) -> None:
        """
        Read a batch with its results, however large, into a function.

        Raises:
            OpenRouterError: If it fails; the function may have received a part.
        """
        call = self._call("GET", _path(batch_id), lambda *_: None, retry=False)
        await self._transport.fetch(evolve(call, sink=sink))

    async def delete(self, batch_id: str) -> Mapping[str, Any]:
        """Delete a batch that has ended, and return the confirmation."""
        return await self._transport.fetch(
            self._call("DELETE", _path(batch_id), read_batch_json)
        )

    def _read_page(
        self, body: bytes, http: Exchange, wall_time: float
    ) -> dict[str, Any]:
        time = read_date(http.headers.get("Date", ""))
        self.behind = 0.0 if time is None else max(0.0, wall_time - time)
        return read_batch_json(body, http, wall_time)

    def _call(
        self,
        method: str,
        path: str,
        parse: Callable[..., T],
        *,
        query: Mapping[str, Any] | None = None,
        retry: bool = True,
    ) -> Call[T]:
        return self._settings.call(method, path, parse, query=query, retry=retry)


def submission_wait(error: OpenRouterError, failures: int) -> float | None:
    """
    Return the seconds to wait before a submission is sent again; None: never.

    Only if it was certainly not stored, and a wait helps: after 429, and if no
    connection was made.

    Args:
        error: The error.
        failures: Number of submissions of the batch that failed before.
    """
    if isinstance(error, APIError):
        if error.status_code != 429:
            return None
        return (error.retry_after or 1.0) * (1.0 + 0.2 * random.random())  # noqa: S311 - jitter
    if isinstance(error, APITimeoutError) or not is_unsent(error):
        return None
    wait = min(_CONNECT_WAIT * 2.0 ** min(failures, 10), _MAX_CONNECT_WAIT)
    return wait * (0.5 + random.random())  # noqa: S311 - jitter


def _path(batch_id: str) -> str:
    return f"{_PATH}/{quote(batch_id, safe='')}"
