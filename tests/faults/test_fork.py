"""Calls in a forked process."""

import asyncio
import os
import sys
import traceback

import pytest
from calls import call, make_client
from covers import covers
from leaks import no_leaks
from script import ScriptServer

from openrouter_async import AsyncOpenRouter


@covers("F79", "the process forks", "parent and child use separate connections")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system has no fork.")
async def test_forked_process_uses_connections_of_its_own() -> None:
    """The child uses and closes the client, without an effect on its parent."""
    async with no_leaks(), ScriptServer() as server, make_client(server) as client:
        assert (await call(client)).text == "hello"
        assert server.connections == 1

        child = os.fork()
        if child == 0:
            os._exit(_run_child(client))
        async with asyncio.timeout(20):
            ended = await asyncio.to_thread(os.waitpid, child, 0)

        assert os.waitstatus_to_exitcode(ended[1]) == 0
        assert server.connections == 2
        assert (await call(client)).text == "hello"
        assert (await call(client, "stream")).text == "hello"
        assert server.connections == 2


def _run_child(client: AsyncOpenRouter) -> int:
    """Return the child's exit code; failures are printed to standard error."""

    async def main() -> None:
        assert client.stats.idle == 0
        assert (await call(client)).text == "hello"
        assert (await call(client, "stream")).text == "hello"
        assert client.stats.idle == 1
        await client.aclose()

    try:
        asyncio.run(main())
    except BaseException:  # noqa: BLE001 - reported by the exit code
        traceback.print_exc(file=sys.__stderr__)
        return 1
    return 0
