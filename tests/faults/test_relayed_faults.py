"""Streams with every fault of the matrix, passed through a relay."""

import asyncio
from collections.abc import Iterator
from itertools import cycle

import pytest
from calls import KEY, make_client, open_stream
from certificates import Authority
from fault_rows import Row
from leaks import assert_at_rest, no_leaks
from matrix import ROWS
from script import ID, ScriptServer

from openrouter_async import OpenRouterError
from openrouter_async.relay import Relay, RelayResult
from openrouter_async.relay.relay import FormatName

# Parts of texts that must not reach a browser: ids, keys, costs, the provider's name,
# and error messages, some of which contain "upstream".
PRIVATE = (ID, KEY, "gen-", "user_id", "provider", "cost", "upstream")

FORMATS: Iterator[FormatName] = cycle(["sse", "ai-sdk", "openai", "text"])
CASES = [
    pytest.param(row, name, id=f"{row.fault}-{row.description}-{name}")
    for row, name in zip(
        [row for row in ROWS if row.stream is not None and not row.warm],
        FORMATS,
        strict=False,
    )
]


@pytest.mark.parametrize(("row", "name"), CASES)
async def test_relay_output_of_a_fault_has_nothing_private(
    row: Row, name: FormatName, authority: Authority
) -> None:
    """The formats take turns over the rows: all of them write the same `PublicError`."""
    certificate = getattr(authority, row.certificate)() if row.certificate else None
    server = ScriptServer(ssl=certificate, scheme=row.scheme)
    results: list[RelayResult] = []
    async with (
        asyncio.timeout(10),
        no_leaks(),
        server,
        make_client(server, ssl=authority.trusting) as client,
    ):
        for steps in row.scripts("stream"):
            server.script(*steps)
        pending = open_stream(
            client, timeouts=row.call_timeouts(), prompt="x" * row.prompt_size
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
    assert [text for text in PRIVATE if text.lower() in sent] == []
