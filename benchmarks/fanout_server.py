"""
The server of the `send_many` measurements: prebuilt responses, limits, counters.

`benchmarks.fanout` starts it. To start it manually, run
`python -m benchmarks.fanout_server '{}'`, which prints its port and serves until its
standard input ends. Of request bodies, it only reads the model and if a stream is asked
for: a stream sends its first event at once and ends after `latency`, and a model named
"limit-20" has a limit of 20 of its own. Its argument and `GET /set` change the
fields of `Setting`; `GET /stats` returns the counters.
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
BAD_REQUEST = b'{"error":{"code":400,"message":"Bad row"}}'
BAD_GATEWAY = b'{"error":{"code":502,"message":"Provider returned error"}}'
ERROR_IN_200 = b'{"error":{"code":400,"message":"No"},"choices":[]}'
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    """Return a chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_START = chunk(b'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n')
STREAM_END = chunk(
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
) + chunk(b"")
NO_CREDITS = b'{"error":{"code":402,"message":"Insufficient credits"}}'


@define
class Setting:
    """
    The behaviour of the server.

    Attributes:
        latency: Seconds before a response; the median, if `sigma` is not 0.
        sigma: Standard deviation of the logarithm of the latency.
        limit: Maximum number of requests in flight; 0 for no limit.
        per_second: Requests per second that a token bucket allows; 0 for no limit.
        burst: Size of the token bucket.
        refuse_all: If 1, every request is refused.
        retry_after: Seconds in the `Retry-After` of refusals; 0 to send none.
        refuse_once_at: Number of a single request that is refused; 0 for none.
        faults: If 1, some responses fail (`FAULTS`).
        no_credits_at: Number of the first request that gets a 402; 0 for none.
        cost: Cost in the usage of a response, in US dollars.
        cost_sigma: Standard deviation of the logarithm of the cost.
        arrivals: If 1, record the times at which requests arrive and are refused.
        silent_at: Number of a single request that gets no headers for 20 s; 0 for none.
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
    no_credits_at: int = 0
    cost: float = 0.00012
    cost_sigma: float = 0.0
    arrivals: int = 0
    silent_at: int = 0


# Kinds of faults, and how many of a thousand responses have them.
FAULTS = (
    ("bad_request", 20),
    ("bad_gateway", 30),
    ("reset", 10),
    ("invalid_json", 5),
    ("error_in_200", 5),
    ("stall", 10),
)


@define
class Counters:
    """
    The counters of the server.

    Attributes:
        peak: Highest number of requests in flight.
        refused_at: Time of the first refusal or 402; 0.0 if there was none.
        busy: Sum of the time that requests were in flight, in seconds.
        changed: Time of the last change of `in_flight`.
        broken_streams: Streams that the client closed before their end.
        tokens: Tokens in the bucket at `filled`.
    """

    requests: int = 0
    completed: int = 0
    refused: int = 0
    in_flight: int = 0
    peak: int = 0
    cost: float = 0.0
    refused_at: float = 0.0
    arrivals: list[float] = field(factory=list[float])
    refusals: list[float] = field(factory=list[float])
    broken_streams: int = 0
    busy: float = 0.0
    changed: float = 0.0
    tokens: float = 0.0
    filled: float = 0.0

    def step(self, now: float, by: int) -> None:
        """Change the number of requests in flight, and integrate it over time."""
        self.busy += self.in_flight * (now - self.changed)
        self.changed = now
        self.in_flight += by
        self.peak = max(self.peak, self.in_flight)


class ServerState:
    """The state that all connections share."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.counters = Counters()
        self.generator = random.Random(7)
        self.of_model: dict[str, int] = {}
        self.completion = json.loads(inputs.completion())

    def body(self) -> bytes:
        """Return a completion of 1 KiB with its cost."""
        setting = self.setting
        cost = setting.cost
        if setting.cost_sigma:
            cost *= self.generator.lognormvariate(0.0, setting.cost_sigma)
        self.counters.cost += cost
        self.completion["usage"]["cost"] = cost
        return json.dumps(self.completion, separators=(",", ":")).encode()

    def latency(self) -> float:
        """Return the seconds before the next response."""
        setting = self.setting
        if not setting.sigma:
            return setting.latency
        return setting.latency * self.generator.lognormvariate(0.0, setting.sigma)

    def fault(self) -> str:
        """Return the kind of fault of the next response; "" for none."""
        if not self.setting.faults:
            return ""
        roll = self.generator.randrange(1000)
        for name, share in FAULTS:
            if roll < share:
                return name
            roll -= share
        return ""

    def refuses(self, now: float, model: str) -> bool:
        """Return True if a new request is refused."""
        setting, counters = self.setting, self.counters
        if model.startswith("limit-"):
            return self.of_model.get(model, 0) >= int(model.removeprefix("limit-"))
        if setting.refuse_all:
            return True
        if setting.refuse_once_at and counters.requests == setting.refuse_once_at:
            return True
        if setting.limit and counters.in_flight >= setting.limit:
            return True
        if setting.per_second:
            since, counters.filled = now - counters.filled, now
            counters.tokens = min(
                setting.burst, counters.tokens + since * setting.per_second
            )
            if counters.tokens < 1:
                return True
            counters.tokens -= 1
        return False


@define(eq=False)
class Connection(asyncio.Protocol):
    """The connection of one client, with one request at a time."""

    state: ServerState
    _transport: asyncio.Transport | None = None
    _received: bytes = b""
    _held: bool = False
    _model: str = ""
    _is_streaming: bool = False
    _timer: asyncio.TimerHandle | None = None
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio
        """Discard the response."""
        self._transport = None
        self.state.counters.broken_streams += self._is_streaming
        if self._timer is not None:
            self._timer.cancel()
        self._release()

    def data_received(self, data: bytes) -> None:
        """Respond when the headers and body of a request are complete."""
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
        body, self._received = self._received[end + 4 :], b""
        if path.endswith("/chat/completions"):
            self._model = body.partition(b'"model":"')[2].partition(b'"')[0].decode()
            self._chat(is_stream=b'"stream":true' in body)
        else:
            self._control(path)

    def _chat(self, *, is_stream: bool) -> None:
        state, now = self.state, self._loop.time()
        counters, setting = state.counters, state.setting
        counters.requests += 1
        if setting.arrivals:
            counters.arrivals.append(now)
        if setting.no_credits_at and counters.requests >= setting.no_credits_at:
            counters.refused_at = counters.refused_at or now
            self._send(402, NO_CREDITS)
            return
        if state.refuses(now, self._model):
            counters.refused += 1
            if setting.arrivals:
                counters.refusals.append(now)
            counters.refused_at = counters.refused_at or now
            extra = (
                f"Retry-After: {setting.retry_after:g}\r\n"
                if setting.retry_after
                else ""
            )
            self._send(429, REFUSAL, extra)
            return
        counters.step(now, 1)
        state.of_model[self._model] = state.of_model.get(self._model, 0) + 1
        self._held = True
        if setting.silent_at and counters.requests == setting.silent_at:
            self._timer = self._loop.call_later(20.0, self._respond, "")
            return
        if is_stream:
            self._is_streaming = True
            self._write(STREAM_HEAD + STREAM_START)
            self._timer = self._loop.call_later(state.latency(), self._end_stream)
            return
        fault = state.fault()
        if fault == "stall":
            return
        latency = state.latency()
        if latency:
            self._timer = self._loop.call_later(latency, self._respond, fault)
        else:
            self._respond(fault)

    def _respond(self, fault: str) -> None:
        self._release()
        transport = self._transport
        if transport is None:
            return
        match fault:
            case "bad_request":
                self._send(400, BAD_REQUEST)
            case "bad_gateway":
                self._send(502, BAD_GATEWAY)
            case "error_in_200":
                self._send(200, ERROR_IN_200)
            case "invalid_json":
                self._send(200, b'{"choices": [{"mess')
            case "reset":
                transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{")
                transport.close()
            case _:
                self.state.counters.completed += 1
                self._send(200, self.state.body())

    def _end_stream(self) -> None:
        self._release()
        self._is_streaming = False
        self.state.counters.completed += 1
        self._write(STREAM_END)

    def _release(self) -> None:
        if self._held:
            self._held = False
            self.state.of_model[self._model] -= 1
            self.state.counters.step(self._loop.time(), -1)

    def _control(self, path: str) -> None:
        route, _, query = path.partition("?")
        if route.endswith("/set"):
            known = {f.name: f.type for f in attrs.fields(Setting)}
            changes: dict[str, Any] = {
                name: int(text) if known[name] is int else float(text)
                for name, text in parse_qsl(query)
            }
            self.state.setting = attrs.evolve(self.state.setting, **changes)
            self._send(200, b"{}")
        elif route.endswith("/stats"):
            self.state.counters.step(self._loop.time(), 0)
            facts = attrs.asdict(self.state.counters) | {"now": self._loop.time()}
            self._send(200, json.dumps(facts).encode())
        else:
            price = {"prompt": "0.0000001", "completion": "0.000001"}
            body = {"data": {"endpoints": [{"pricing": price}]}}
            self._send(200, json.dumps(body).encode())

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _send(self, status: int, body: bytes, extra: str = "") -> None:
        if self._transport is not None:
            self._transport.write(
                f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{extra}"
                f"X-Generation-Id: {inputs.GENERATION}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )


async def main() -> None:
    """Serve on a free port of the loopback interface until the standard input ends."""
    options = json.loads(sys.argv[1])
    core = options.pop("core", None)
    if core is not None:
        os.sched_setaffinity(0, {core})
    state = ServerState(Setting(**options))
    loop = asyncio.get_running_loop()
    state.counters.changed = state.counters.filled = loop.time()
    server = await loop.create_server(
        lambda: Connection(state), "127.0.0.1", 0, backlog=BACKLOG
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
