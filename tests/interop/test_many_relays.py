"""
1,000 relays at once, half of whose readers leave at random moments.

`python -m benchmarks.relay` measures how long it takes until nothing is left of them.
"""

import asyncio
import random
import resource
from contextlib import suppress
from typing import Any

from support import until

from openrouter_async import AsyncOpenRouter, PendingStream, UserMessage
from openrouter_async.relay import Relay, RelayResult
from openrouter_async.testing import LocalOpenRouter, Reply, completion

RELAYS = 1000


async def test_readers_that_leave_close_their_streams() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    # asyncio's debug mode would take several times as long.
    asyncio.get_running_loop().set_debug(False)
    results: list[RelayResult] = []
    generator = random.Random(7)
    reply = Reply(completion("word " * 40), chunk_delay=0.05)
    with LocalOpenRouter(default=reply) as server:
        async with AsyncOpenRouter("k", base_url=server.url) as client:

            def relay() -> Relay:
                pending: PendingStream[Any] = client.chat.send(
                    model="m", messages=[UserMessage("hi")], stream=True
                )
                return Relay(pending, "ai-sdk", on_end=results.append)

            async def read() -> bytes:
                data = b""
                async for each in relay():
                    data += each
                return data

            readers = [asyncio.create_task(read()) for _ in range(RELAYS)]
            leaving = generator.sample(readers, RELAYS // 2)

            async def leave(reader: asyncio.Task[bytes]) -> None:
                await asyncio.sleep(generator.uniform(0, 2))
                reader.cancel()

            await asyncio.gather(*map(leave, leaving))
            staying = [reader for reader in readers if reader not in set(leaving)]
            for reader in staying:
                with suppress(asyncio.CancelledError):
                    data = await reader
                    assert data.endswith(b"data: [DONE]\n\n")
            # The task of a relay that was cancelled last ends after its reader.
            current = {asyncio.current_task()}
            await until(
                lambda: (
                    not client.stats.in_use
                    and not server.stats.in_flight
                    and asyncio.all_tasks() == current
                )
            )

            assert (client.stats.in_use, client.stats.queued) == (0, 0)
            outcomes = [result.outcome for result in results]
            cancelled = outcomes.count("cancelled")
            assert cancelled + outcomes.count("ok") == len(results)
            assert cancelled >= RELAYS // 4
