"""
The bare contender: the least code on aiohttp and orjson that reads the text.

It takes part in the cases that read responses, as a second baseline beside the
hand-written contender. It does not check the status, errors, `[DONE]`, or whether a
stream was cut off: if anything goes wrong, it returns too little or raises a KeyError.
"""

# ruff: noqa: D102 - the methods are described in the base class

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import aiohttp
import orjson

from benchmarks import inputs
from benchmarks.contender import API_KEY, Contender, StreamCounts


class Bare(Contender):
    """aiohttp + orjson, without any checks."""

    def __init__(self, base_url: str, connections: int) -> None:
        del connections  # limit=0 means no limit
        self._url = base_url + "/chat/completions"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={
                "Authorization": "Bearer " + API_KEY,
                "Content-Type": "application/json",
            },
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def aclose(self) -> None:
        await self._session.close()

    def _post(
        self, **fields: bool
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        messages = [{"role": "user", "content": inputs.QUESTION}]
        body = {"model": inputs.MODEL, "messages": messages, **fields}
        return self._session.post(self._url, data=orjson.dumps(body))

    async def complete(self) -> str:
        async with self._post() as response:
            completion = orjson.loads(await response.read())
        text: str = completion["choices"][0]["message"]["content"]
        return text

    async def stream(self, seen: Callable[[], None] | None = None) -> StreamCounts:
        chunks = reads = 0
        text: list[str] = []
        rest = b""
        async with self._post(stream=True) as response:
            async for data in response.content.iter_any():
                reads += 1
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    # Comments, `[DONE]` and empty lines have no JSON object.
                    if line.startswith(b"data: {"):
                        chunk = orjson.loads(line[6:])
                        chunks += 1
                        text.append(chunk["choices"][0]["delta"]["content"])
                        if seen is not None:
                            seen()
        return StreamCounts(chunks, len("".join(text)), reads)
