"""Every row of the table, through a relay: its output contains nothing private."""

import asyncio
from collections.abc import Iterator
from itertools import cycle

import pytest
from calls import KEY, client_of, open_stream
from certificates import Authority
from leaks import assert_at_rest, no_leaks
from matrix import ROWS, Row
from script import ID, ScriptServer

from openrouter_async import OpenRouterError
from openrouter_async.relay import Relay, RelayResult
from openrouter_async.relay.relay import FormatName

# A word of each text that must not reach a browser. "Provider" is the name of the
# table's provider, and "upstream" is in the texts of its errors.
PRIVATE = (ID, KEY, "gen-", "user_id", "provider", "cost", "upstream")

FORMATS: Iterator[FormatName] = cycle(["sse", "ai-sdk", "openai", "text"])
CASES = [
    pytest.param(row, name, id=f"{row.fault}-{row.what}-{name}")
    for row, name in zip(
        [row for row in ROWS if row.stream is not None and not row.warm],
        FORMATS,
        strict=False,
    )
]


@pytest.mark.parametrize(("row", "name"), CASES)
async def test_output_of_a_fault_has_nothing_private(
    row: Row, name: FormatName, authority: Authority
) -> None:
    """Each row has one of the formats, which have the same `PublicError`."""
    certificate = getattr(authority, row.certificate)() if row.certificate else None
    server = ScriptServer(ssl=certificate, scheme=row.scheme)
    results: list[RelayResult] = []
    async with (
        asyncio.timeout(10),
        no_leaks(),
        server,
        client_of(server, ssl=authority.trusting) as client,
    ):
        for steps in row.scripts("stream"):
            server.script(*steps)
        pending = open_stream(
            client, timeouts=row.call_timeouts(), prompt="x" * row.body
        )
        relay = Relay(pending, name, on_end=results.append)
        data = b""
        raised: OpenRouterError | None = None
        try:
            async for each in relay:
                data += each
        except OpenRouterError as error:
            raised = error
        assert_at_rest(client)

    (result,) = results
    assert row.stream is not None
    failed = row.stream.raises is not None
    assert result.outcome == ("error" if failed else "ok")
    assert (raised is not None) == (failed and name == "text")
    sent = data.decode().lower()
    assert [word for word in PRIVATE if word.lower() in sent] == []
