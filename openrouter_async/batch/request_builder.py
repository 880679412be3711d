"""A run's rows -> calls, and the sending of one."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

import attrs

from ..errors import OpenRouterError
from ..parsed import parse_response
from ..protocol.body import chat_body, unexpected_keyword
from ..protocol.budget import Price, read_price
from ..protocol.call import Call
from ..protocol.encode import encode
from ..protocol.response_parsing import read_chat, read_json
from ..protocol.settings import Settings
from ..structured.output_parser import OutputParser
from ..structured.response_format import require_schema
from ..transport.attempt_limiter import AttemptLimiter
from ..transport.transport import Transport
from ..types import (
    ChatFields,
    ChatGenerationParams,
    ChatResponse,
    UserMessage,
)
from .rows.items import Row

_PATH: Final = "/chat/completions"
_KNOWN: Final = ChatFields.__annotations__.keys()


class RequestBuilder:
    """
    Makes the call of each row, and sends it.

    What is common to all rows fills what a row leaves open; `extra_body` is merged
    last over every body.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        fields: Mapping[str, Any],
        *,
        extra: Mapping[str, Any] | None,
        query: Mapping[str, Any] | None,
        parser: OutputParser[Any] | None = None,
    ) -> None:
        """
        Take what all rows share.

        Args:
            settings: With the run's own options in them.
            transport: Of the client.
            fields: Of `ChatGenerationParams`, by keyword.
            extra: Merged last over the top-level keys of each body.
            query: Added to the URL.
            parser: Of the type that is asked for; None for no type.

        Raises:
            TypeError: A field that there is not.
            ConfigurationError: A query that can not be sent.
        """
        self._settings = settings
        self._transport = transport
        self._fields = {k: v for k, v in fields.items() if v is not None}
        unknown = self._fields.keys() - _KNOWN
        if unknown:
            raise unexpected_keyword("send_many", min(unknown))
        self._extra = extra
        self._parser = parser
        blank = settings.call("POST", _PATH, read_chat, query=query)
        # Called for each row, and twice as fast as attrs.evolve.
        known = {f.name: getattr(blank, f.name) for f in attrs.fields(Call)}
        self._make: Callable[..., Call[ChatResponse]] = partial(Call, **known)
        # A prompt's body but for its messages, in the class's order.
        wanted = {**self._fields, "messages": [UserMessage("")]}
        self._prompt = chat_body(None, wanted, stream=False, extra=extra)

    @property
    def base_url(self) -> str:
        """Where they go."""
        return self._settings.base_url.url

    @property
    def key_id(self) -> int:
        """What tells one key from another, without being one."""
        key = self._settings.api_key
        return hash(key) if isinstance(key, str) else id(key)

    def body(self, row: Row) -> dict[str, Any]:
        """
        Return the whole request of a row.

        Raises:
            TypeError: Something in it is of the wrong type.
            ConfigurationError: There is nothing to send.
        """
        body = self._body(row)
        if self._parser is not None:
            require_schema(body, self._parser.schema)
        return body

    def _body(self, row: Row) -> dict[str, Any]:
        params, fields = row.params, self._fields
        if isinstance(params, ChatGenerationParams):
            rest = {k: v for k, v in fields.items() if getattr(params, k) is None}
            return chat_body(params, rest, stream=False, extra=self._extra)
        if row.prompt is not None and "messages" not in (self._extra or ()):
            return {**self._prompt, **params}
        rest = {k: v for k, v in fields.items() if k not in params}
        return chat_body(params, rest, stream=False, extra=self._extra)

    def call(self, body: Mapping[str, Any]) -> Call[ChatResponse]:
        """
        Return the call of a request.

        Raises:
            ConfigurationError: Something in it is no JSON.
        """
        return self._make(body=encode(body), model=body.get("model"))

    async def send(
        self, call: Call[ChatResponse], gate: AttemptLimiter
    ) -> ChatResponse:
        """
        Send a call.

        Raises:
            OpenRouterError: It failed, and is not to be sent again.
        """
        answer = await self._transport.send(call, gate)
        assert answer.value is not None
        return answer.value

    def read(self, reply: ChatResponse) -> tuple[ChatResponse, Any]:
        """
        Return a reply and the value that it is; None where none was asked for.

        Raises:
            OutputError: It is not of the type that was asked for.
        """
        if self._parser is None:
            return reply, None
        parsed = parse_response(reply, self._parser)
        return parsed, parsed.output

    async def price(self, model: str) -> Price | None:
        """Return the most that a model's endpoints ask for; None: nobody can tell."""
        found = await self._get(f"/models/{model}/endpoints")
        endpoints: Any = _object(_object(found).get("data")).get("endpoints")
        if not isinstance(endpoints, list):
            return None
        return read_price(cast("Sequence[Any]", endpoints))

    async def _get(self, path: str) -> Any:
        try:
            call = self._settings.call("GET", path, read_json)
            return (await self._transport.send(call)).value
        except OpenRouterError:
            # Whatever it is, the rows will tell.
            return None


def _object(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
