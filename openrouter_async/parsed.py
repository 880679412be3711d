"""Responses and streams with a typed output."""

from typing import Any, Final, Generic, Self, TypeVar, cast

import attrs
from attrs import define, field

from .protocol.stream_state import StreamState
from .stream import ChatStream
from .structured.output_parser import OutputParser
from .transport.event_stream import EventStream
from .types import ChatResponse

T_co = TypeVar("T_co", covariant=True)

# Parsing is repeated from the start of the text. Up to 32 KiB it is done for every
# chunk; beyond that, only after the text has grown by 1 %, so that the cost of a long
# response does not become quadratic.
_PARSE_EACH_CHUNK_LIMIT: Final = 32 * 1024


@define(eq=False, repr=False)
class ParsedResponse(ChatResponse, Generic[T_co]):
    """
    A response with a typed output.

    Attributes:
        output: The value, of the type that was passed as `output=`.
    """

    output: T_co = field(kw_only=True)


def parse_response(
    response: ChatResponse, parser: OutputParser[T_co]
) -> ParsedResponse[T_co]:
    """
    Return a response together with the value in its text.

    Raises:
        OutputError: If the text does not contain a value of the type.
    """
    fields = {name: getattr(response, name) for name in attrs.fields_dict(ChatResponse)}
    return ParsedResponse(**fields, output=parser.parse(response))


class ParsedStream(ChatStream, Generic[T_co]):
    """
    A streamed response with a typed output.

    Iterate over its chunks, or over `partials()`. The value is in `output` when the
    stream has ended.
    """

    __slots__ = ("_parsed", "_parser")

    def __init__(
        self,
        event_stream: EventStream,
        state: StreamState,
        parser: OutputParser[T_co],
    ) -> None:
        super().__init__(event_stream, state)
        self._parser = parser
        self._parsed: ParsedResponse[T_co] | None = None

    @property
    def output(self) -> T_co:
        """
        The value, when the stream has ended.

        Raises:
            ConfigurationError: If the stream has not ended successfully.
            OutputValidationError: If the text is not valid JSON, or the value does not
                match the type.
            OutputRefusedError: If the model refused, or a content filter stopped it.
            OutputTruncatedError: If the text was cut off.
        """
        if self._parsed is None:
            self._parsed = parse_response(self.response, self._parser)
        return self._parsed.output

    async def collect(self) -> ParsedResponse[T_co]:
        """
        Read the rest of the stream and return the response with its value.

        Raises:
            OutputError: If the text does not contain a value of the type.
            OpenRouterError: If the stream fails, as `ChatStream.collect` does.
        """
        await super().collect()
        _ = self.output
        return cast("ParsedResponse[T_co]", self._parsed)

    def partials(self) -> "PartialOutputs":
        """
        Iterate over the incomplete value as it grows.

        Each item is a new object of plain JSON values, in which the last string may be
        incomplete. It is not validated: only `output` is. An item is yielded only if
        it differs from the one before.
        """
        return PartialOutputs(self, self._parser)


class PartialOutputs:
    """Iterator over the growing value of a `ParsedStream`; it need not be closed."""

    __slots__ = ("_last", "_parsed_length", "_parser", "_stream", "_text")

    def __init__(self, stream: ParsedStream[Any], parser: OutputParser[Any]) -> None:
        self._stream = stream
        self._parser = parser
        partial = stream.partial
        self._text = "" if partial is None else partial.text
        self._parsed_length = 0
        self._last: Any = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        async for chunk in self._stream:
            self._text += chunk.text
            if self._is_due() and self._parse():
                return self._last
        if self._parsed_length < len(self._text) and self._parse():
            return self._last
        raise StopAsyncIteration

    def _is_due(self) -> bool:
        length = len(self._text)
        growth = length - self._parsed_length
        return growth > 0 and (
            length <= _PARSE_EACH_CHUNK_LIMIT or growth * 100 >= length
        )

    def _parse(self) -> bool:
        """Parse the text so far; return True if the value has changed."""
        self._parsed_length = len(self._text)
        value = self._parser.parse_partial(self._text)
        if value is None or value == self._last:
            return False
        self._last = value
        return True
