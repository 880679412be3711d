"""
The server of the fan-out measurements: prebuilt replies, hidden limits, counters.

Started by `benchmarks.fanout`; by hand: `python -m benchmarks.fanout_server '{}'`,
which prints its port and serves until its input ends. It reads no body. `Setting` is
what it can be set to, by `GET /set` too; `GET /stats` tells what it counted.
"""

import asyncio
import json
import os
import random
import sys
from typing import Any
from urllib.parse import parse_qsl

import attrs
from attrs import define, field

from benchmarks import inputs

BACKLOG = 8192

REFUSAL = (
    b'{"error":{"code":429,"message":"Rate limit exceeded",'
    b'"metadata":{"provider_name":"Mock"}},"user_id":"user_bench"}'
)
BAD = b'{"error":{"code":400,"message":"Bad row"}}'
BROKEN = b'{"error":{"code":502,"message":"Provider returned error"}}'
INSIDE = b'{"error":{"code":400,"message":"No"},"choices":[]}'
BROKE = b'{"error":{"code":402,"message":"Insufficient credits"}}'


@define
class Setting:
    """
    What the server does.

    Attributes:
        latency: Seconds before a reply; the median, if `sigma` is not 0.
        sigma: Of a lognormal latency.
        limit: More at once are refused; 0 for none.
        per_second: Tokens of a bucket that refills, 0 for none; it holds `burst`.
        burst: See there.
        refuse_all: If 1, every request is refused.
        retry_after: Seconds named in a refusal; 0 for none.
        refuse_once_at: The number of one request that is refused; 0 for none.
        faults: Whether a few in a hundred go wrong (`SOUP`).
        broke_at: From this request on, all are a 402; 0 for never.
        cost: US dollars that a reply says it cost.
        cost_sigma: Of a lognormal cost.
        arrivals: Whether the times of arrival are kept.
    """

    latency: float = 0.0
    sigma: float = 0.0
    limit: int = 0
    per_second: float = 0.0
    burst: float = 1.0
    refuse_all: int = 0
    retry_after: float = 0.0
    refuse_once_at: int = 0
    faults: int = 0
    broke_at: int = 0
    cost: float = 0.00012
    cost_sigma: float = 0.0
    arrivals: int = 0


# Per thousand: what goes wrong.
SOUP = (
    ("bad", 20),
    ("broken", 30),
    ("reset", 10),
    ("nonsense", 5),
    ("inside", 5),
    ("stall", 10),
)


@define
class Count:
    """What was seen."""

    requests: int = 0
    completed: int = 0
    refused: int = 0
    in_flight: int = 0
    peak: int = 0
    cost: float = 0.0
    refused_at: float = 0.0
    arrivals: list[float] = field(factory=list[float])
    busy: float = 0.0
    changed: float = 0.0
    tokens: float = 0.0
    filled: float = 0.0

    def step(self, now: float, by: int) -> None:
        """Change how many are in flight, and add up for how long they were."""
        self.busy += self.in_flight * (now - self.changed)
        self.changed = now
        self.in_flight += by
        self.peak = max(self.peak, self.in_flight)


class Mock:
    """What all connections share."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.count = Count()
        self.chance = random.Random(7)
        self.reply = json.loads(inputs.reply())

    def body(self) -> bytes:
        """A reply of 1 KiB, with its cost."""
        setting = self.setting
        cost = setting.cost
        if setting.cost_sigma:
            cost *= self.chance.lognormvariate(0.0, setting.cost_sigma)
        self.count.cost += cost
        self.reply["usage"]["cost"] = cost
        return json.dumps(self.reply, separators=(",", ":")).encode()

    def latency(self) -> float:
        """Seconds before the next reply."""
        setting = self.setting
        if not setting.sigma:
            return setting.latency
        return setting.latency * self.chance.lognormvariate(0.0, setting.sigma)

    def fault(self) -> str:
        """What goes wrong with the next reply; "" for nothing."""
        if not self.setting.faults:
            return ""
        roll = self.chance.randrange(1000)
        for name, share in SOUP:
            if roll < share:
                return name
            roll -= share
        return ""

    def refuses(self, now: float) -> bool:
        """Whether there is no room for one more."""
        setting, count = self.setting, self.count
        if setting.refuse_all:
            return True
        if setting.refuse_once_at and count.requests == setting.refuse_once_at:
            return True
        if setting.limit and count.in_flight >= setting.limit:
            return True
        if setting.per_second:
            since, count.filled = now - count.filled, now
            count.tokens = min(setting.burst, count.tokens + since * setting.per_second)
            if count.tokens < 1:
                return True
            count.tokens -= 1
        return False


@define(eq=False)
class Connection(asyncio.Protocol):
    """One client's connection: one request at a time."""

    mock: Mock
    _transport: asyncio.Transport | None = None
    _received: bytes = b""
    _held: bool = False
    _timer: asyncio.TimerHandle | None = None
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Give up what was to be said."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._let_go()

    def data_received(self, data: bytes) -> None:
        """Answer once headers and body of a request are there."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end]
        _, found, after = head.lower().partition(b"content-length:")
        length = int(after.split(b"\r\n")[0]) if found else 0
        if len(self._received) < end + 4 + length:
            return
        path = head.split(b" ", 2)[1].decode()
        self._received = b""
        if path.endswith("/chat/completions"):
            self._chat()
        else:
            self._control(path)

    def _chat(self) -> None:
        mock, now = self.mock, self._loop.time()
        count, setting = mock.count, mock.setting
        count.requests += 1
        if setting.arrivals:
            count.arrivals.append(now)
        if setting.broke_at and count.requests >= setting.broke_at:
            count.refused_at = count.refused_at or now
            self._send(402, BROKE)
            return
        if mock.refuses(now):
            count.refused += 1
            count.refused_at = count.refused_at or now
            extra = (
                f"Retry-After: {setting.retry_after:g}\r\n"
                if setting.retry_after
                else ""
            )
            self._send(429, REFUSAL, extra)
            return
        count.step(now, 1)
        self._held = True
        fault = mock.fault()
        if fault == "stall":
            return
        latency = mock.latency()
        if latency:
            self._timer = self._loop.call_later(latency, self._reply, fault)
        else:
            self._reply(fault)

    def _reply(self, fault: str) -> None:
        self._let_go()
        transport = self._transport
        if transport is None:
            return
        match fault:
            case "bad":
                self._send(400, BAD)
            case "broken":
                self._send(502, BROKEN)
            case "inside":
                self._send(200, INSIDE)
            case "nonsense":
                self._send(200, b'{"choices": [{"mess')
            case "reset":
                transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{")
                transport.close()
            case _:
                self.mock.count.completed += 1
                self._send(200, self.mock.body())

    def _let_go(self) -> None:
        if self._held:
            self._held = False
            self.mock.count.step(self._loop.time(), -1)

    def _control(self, path: str) -> None:
        route, _, query = path.partition("?")
        if route.endswith("/set"):
            known = {f.name: f.type for f in attrs.fields(Setting)}
            changes: dict[str, Any] = {
                name: int(text) if known[name] is int else float(text)
                for name, text in parse_qsl(query)
            }
            self.mock.setting = attrs.evolve(self.mock.setting, **changes)
            self._send(200, b"{}")
        elif route.endswith("/stats"):
            self.mock.count.step(self._loop.time(), 0)
            facts = attrs.asdict(self.mock.count) | {"now": self._loop.time()}
            self._send(200, json.dumps(facts).encode())
        else:
            price = {"prompt": "0.0000001", "completion": "0.000001"}
            body = {"data": {"endpoints": [{"pricing": price}]}}
            self._send(200, json.dumps(body).encode())

    def _send(self, status: int, body: bytes, extra: str = "") -> None:
        if self._transport is not None:
            self._transport.write(
                f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{extra}"
                f"X-Generation-Id: {inputs.GENERATION}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )


async def main() -> None:
    """Serve on a free port of the loopback until the standard input ends."""
    options = json.loads(sys.argv[1])
    core = options.pop("core", None)
    if core is not None:
        os.sched_setaffinity(0, {core})
    mock = Mock(Setting(**options))
    loop = asyncio.get_running_loop()
    mock.count.changed = mock.count.filled = loop.time()
    server = await loop.create_server(
        lambda: Connection(mock), "127.0.0.1", 0, backlog=BACKLOG
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
