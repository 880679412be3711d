"""A reply of a given type that is still arriving."""

from typing import Any, Final, Generic, Self, TypeVar, cast

import attrs
from attrs import define, field

from .stream import ChatStream
from .structured.output_parser import OutputParser
from .transport.answer import Answer
from .transport.event_stream import EventStream
from .types import ChatResponse

T_co = TypeVar("T_co", covariant=True)

_EVERY: Final = 32 * 1024
# Up to so many characters the whole text is read anew for each chunk; beyond, only
# after it has grown by a hundredth, so that the work stays in proportion.


@define(eq=False, repr=False)
class ParsedResponse(ChatResponse, Generic[T_co]):
    """
    A whole reply, and the value that its text is.

    Attributes:
        output: The value, of the type that `output=` asked for.
    """

    output: T_co = field(kw_only=True)


def parse_response(
    response: ChatResponse, parser: OutputParser[T_co]
) -> ParsedResponse[T_co]:
    """
    Return a reply with the value that its text is.

    Raises:
        OutputError: The reply has no such value.
    """
    known = {name: getattr(response, name) for name in attrs.fields_dict(ChatResponse)}
    return ParsedResponse(**known, output=parser.parse(response))


class ParsedStream(ChatStream, Generic[T_co]):
    """
    A chat reply whose chunks are read as they arrive, and whose text is a value.

    Iterate over the chunks, or over `partials()`; `output` is there at the end.
    """

    __slots__ = ("_parsed", "_reader")

    def __init__(
        self,
        feed: EventStream,
        answer: Answer[ChatResponse],
        reader: OutputParser[T_co],
    ) -> None:
        super().__init__(feed, answer)
        self._reader = reader
        self._parsed: ParsedResponse[T_co] | None = None

    @property
    def output(self) -> T_co:
        """
        The value, once the stream has ended well.

        Raises:
            ConfigurationError: It has not.
            OutputValidationError: The text is no JSON, or does not fit.
            OutputRefusedError: The model would not, or was stopped.
            OutputTruncatedError: It was cut off.
        """
        if self._parsed is None:
            self._parsed = parse_response(self.response, self._reader)
        return self._parsed.output

    async def collect(self) -> ParsedResponse[T_co]:
        """
        Read the rest and return the whole reply, its value with it.

        Raises:
            OutputError: It is not the value; likewise whatever reading raises.
        """
        await super().collect()
        _ = self.output
        return cast("ParsedResponse[T_co]", self._parsed)

    def partials(self) -> "PartialOutputs":
        """
        Read the rest as values that grow: plain JSON, its last text perhaps cut.

        Each is a new object, and only given if something has changed. What the whole
        is, only the end tells.
        """
        return PartialOutputs(self, self._reader)


class PartialOutputs:
    """The growing values of one `ParsedStream`; there is nothing to close."""

    __slots__ = ("_last", "_read", "_reader", "_stream", "_text")

    def __init__(self, stream: ParsedStream[Any], reader: OutputParser[Any]) -> None:
        self._stream = stream
        self._reader = reader
        partial = stream.partial
        self._text = "" if partial is None else partial.text
        self._read = 0
        self._last: Any = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        async for chunk in self._stream:
            self._text += chunk.text
            if self._is_due() and self._changed():
                return self._last
        if self._read < len(self._text) and self._changed():
            return self._last
        raise StopAsyncIteration

    def _is_due(self) -> bool:
        size = len(self._text)
        grown = size - self._read
        return grown > 0 and (size <= _EVERY or grown * 100 >= size)

    def _changed(self) -> bool:
        self._read = len(self._text)
        value = self._reader.partial(self._text)
        if value is None or value == self._last:
            return False
        self._last = value
        return True
