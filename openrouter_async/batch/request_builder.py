"""Build the request of each row, send it, and parse its response."""

import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

import attrs

from ..parsed import parse_response
from ..protocol.body import chat_body, unexpected_keyword
from ..protocol.budget import Budget, Price, TokenBounds
from ..protocol.call import Call
from ..protocol.encode import encode
from ..protocol.response_parsing import read_chat
from ..protocol.settings import ConcurrencyOption, Settings
from ..structured.output_parser import OutputParser
from ..structured.response_format import require_schema
from ..transport.limiter import AttemptLimiter
from ..transport.price_list import PriceList
from ..transport.transport import Transport
from ..transport.usage_meter import OddCall
from ..types import (
    ChatFields,
    ChatGenerationParams,
    ChatResponse,
    UserMessage,
)
from .rows.items import Row

_PATH: Final = "/chat/completions"
_FIELD_NAMES: Final = ChatFields.__annotations__.keys()


class RequestBuilder:
    """
    Builds the requests of a run and sends them.

    The fields that all rows share fill those that a row does not set. `extra_body` is
    merged last, over every body.
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
        Check and prepare the parts that all rows share.

        Args:
            settings: The client's settings with the options of the run.
            transport: The client's transport.
            fields: Fields of `ChatGenerationParams` by name.
            extra: `extra_body`, merged over the top-level keys of each body.
            query: Parameters added to the URL.
            parser: Parses the output type; None without `output=`.

        Raises:
            TypeError: If a field is unknown.
            ConfigurationError: If the query cannot be sent.
        """
        self._settings = settings
        self._transport = transport
        budgets = transport.budgets
        self._prices = (
            PriceList(transport.fetch, transport.clock)
            if budgets is None
            else budgets.prices
        )
        self._fields = {k: v for k, v in fields.items() if v is not None}
        unknown = self._fields.keys() - _FIELD_NAMES
        if unknown:
            raise unexpected_keyword("send_many", min(unknown))
        self._extra = extra
        self._parser = parser
        blank = settings.call(
            "POST", _PATH, read_chat, query=query, account=settings.account
        )
        # A partial takes half the time of attrs.evolve, and runs for each row.
        shared = {f.name: getattr(blank, f.name) for f in attrs.fields(Call) if f.init}
        self._new_call: Callable[..., Call[ChatResponse]] = partial(Call, **shared)
        # The body of every row given as a string, but for its messages. Its keys are
        # in the order of the class.
        prompt_fields = {**self._fields, "messages": [UserMessage("")]}
        self._prompt_body = chat_body(None, prompt_fields, stream=False, extra=extra)

    @property
    def base_url(self) -> str:
        """The base URL of the requests."""
        return self._settings.base_url.url

    @property
    def key_id(self) -> int:
        """A number that differs from key to key and does not reveal the key."""
        key = self._settings.api_key
        return hash(key) if isinstance(key, str) else id(key)

    @property
    def concurrency(self) -> ConcurrencyOption:
        """The concurrency limit of the client."""
        return self._settings.concurrency

    def body(self, row: Row) -> dict[str, Any]:
        """
        Return the body of a row's request.

        Raises:
            TypeError: If a field has the wrong type.
            ConfigurationError: If there is nothing to send.
        """
        body = self._body(row)
        if self._parser is not None:
            require_schema(body, self._parser.schema)
        return body

    def _body(self, row: Row) -> dict[str, Any]:
        params, fields = row.params, self._fields
        if isinstance(params, ChatGenerationParams):
            unset = {k: v for k, v in fields.items() if getattr(params, k) is None}
            return chat_body(params, unset, stream=False, extra=self._extra)
        if row.prompt is not None and "messages" not in (self._extra or ()):
            return {**self._prompt_body, **params}
        unset = {k: v for k, v in fields.items() if k not in params}
        return chat_body(params, unset, stream=False, extra=self._extra)

    def call(self, body: Mapping[str, Any]) -> Call[ChatResponse]:
        """
        Return the call that sends a body.

        Raises:
            ConfigurationError: If the body cannot be encoded as JSON.
        """
        return self._new_call(
            body=encode(body), model=body.get("model"), provider=body.get("provider")
        )

    def send(
        self, call: Call[ChatResponse], limiter: AttemptLimiter
    ) -> Awaitable[ChatResponse]:
        """
        Send a call and return the response.

        Raises:
            OpenRouterError: If the call failed and is not retried any more.
        """
        return self._transport.fetch(call, limiter)

    def parse(self, response: ChatResponse) -> tuple[ChatResponse, Any]:
        """
        Return a response with its output; the output is None without `output=`.

        Raises:
            OutputError: If the text is not a value of the output type.
        """
        if self._parser is None:
            return response, None
        parsed = parse_response(response, self._parser)
        return parsed, parsed.output

    def new_budget(self, max_cost: float | None, spent: float) -> Budget | None:
        """
        Return the budget of a run, inside those of its tag and of the client.

        Args:
            max_cost: The limit of the run; None for no limit of its own.
            spent: US dollars that earlier runs with the same journal cost.

        Returns:
            None if nothing is limited.
        """
        budgets = self._transport.budgets
        tag = self._settings.usage_tag
        queue = None if budgets is None else budgets.queue(tag)
        if queue is None and max_cost is None:
            return None
        return Budget(
            math.inf if max_cost is None else max_cost,
            spent,
            parent=None if queue is None else queue.budget,
        )

    async def fetch_price(self, model: str) -> Price | None:
        """Return the highest price of a model's endpoints; None if unknown."""
        return await self._prices.get(self._settings, model)

    async def highest_cost(
        self, model: str | None, bounds: TokenBounds | None
    ) -> float | None:
        """Return the highest cost of a call in US dollars; None if it has no bound."""
        return await self._prices.highest_cost(self._settings, model, bounds)

    def count_row(self, model: str, attempts: int, *, is_failure: bool) -> None:
        """
        Count a row that was not sent as a call; its usage is counted apart.

        Args:
            model: The model of the row.
            attempts: Number of times that it was submitted.
            is_failure: True if it failed.
        """
        tag = self._settings.usage_tag
        row = OddCall(model, tag, attempts, {}, is_failure=is_failure)
        self._transport.meter.add(row)

    def count_usage(self, model: str, usage: Mapping[str, Any]) -> None:
        """Count what many rows used and cost together, as a `usage` object."""
        self._transport.meter.add_usage(model, self._settings.usage_tag, usage)
