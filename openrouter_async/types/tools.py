"""Tools that a model may call, and its calls."""

# ruff: noqa: PYI051 - open vocabularies list the known values.

from collections.abc import Callable, Mapping
from typing import (
    Any,
    Generic,
    Literal,
    ParamSpec,
    Required,
    TypedDict,
    TypeVar,
    overload,
)

from attrs import Factory, define, field
from typing_extensions import TypeForm

from .parts import CacheControl
from .shape import Shape, as_plain

_T = TypeVar("_T")
_P = ParamSpec("_P")
_R_co = TypeVar("_R_co", covariant=True)


class FunctionDefinition(TypedDict, total=False):
    """
    The function of a tool, as the model sees it.

    Attributes:
        name: Name of the function: 1 to 64 letters, digits, "_" or "-".
        description: Description for the model.
        parameters: JSON Schema of the arguments.
        strict: If True, the arguments must match the schema. Nullable.
        defer_loading: If True, the model finds the function only by searching for
            tools.
    """

    name: Required[str]
    description: str
    parameters: Mapping[str, Any]
    strict: bool | None
    defer_loading: bool


@define(eq=False, repr=False)
class FunctionTool(Shape):
    """
    A function that the model may call.

    Attributes:
        type: Always "function".
        function: The function.
        cache_control: Ends a cached prefix after this tool (Anthropic).
        defer_loading: If True, the model finds the tool only by searching for tools.
        eager_input_streaming: If True, arguments are streamed before they are known to
            be valid JSON (Anthropic).
    """

    type: Literal["function"] = field(default="function", kw_only=True)
    function: FunctionDefinition | Mapping[str, Any]
    cache_control: CacheControl | None = None
    defer_loading: bool | None = None
    eager_input_streaming: bool | None = None

    @classmethod
    def from_function(
        cls,
        function: Callable[_P, _R_co],
        *,
        name: str | None = None,
        description: str | None = None,
        strict: bool | None = None,
        cache_control: CacheControl | None = None,
        timeout: float | None = None,
    ) -> "Tool[_P, _R_co]":
        """
        Create a tool from a plain or async function, as the decorator `tool` does.

        Args:
            function: The function; its annotations become the schema.
            name: Name of the tool; by default that of the function.
            description: Description for the model; by default the first paragraph of
                the function's docstring.
            strict: If True, the provider must follow the schema, and the model must
                pass all parameters, including those with defaults.
            cache_control: Ends a cached prefix after this tool (Anthropic).
            timeout: Maximum seconds of one call in a run; None for no limit.

        Raises:
            TypeError: If a parameter's type cannot be expressed in JSON, or the name is
                invalid.
            ValueError: If the timeout is not positive.
        """
        from ..tools import make_tool

        return make_tool(
            function,
            name=name,
            description=description,
            strict=strict,
            cache_control=cache_control,
            timeout=timeout,
        )

    @classmethod
    def from_schema(
        cls,
        function: Callable[[dict[str, Any]], _R_co],
        *,
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        timeout: float | None = None,
    ) -> "Tool[[dict[str, Any]], _R_co]":
        """
        Create a tool from a plain or async function and a JSON Schema.

        The arguments are not validated against the schema.

        Args:
            function: The function; its argument is a dict with all arguments.
            name: Name of the tool.
            description: Description for the model.
            parameters: JSON Schema of the arguments.
            timeout: Maximum seconds of one call in a run; None for no limit.

        Raises:
            TypeError: If the name is invalid.
            ValueError: If the timeout is not positive.
        """
        from ..tools import make_schema_tool

        return make_schema_tool(
            function,
            name=name,
            description=description,
            parameters=parameters,
            timeout=timeout,
        )


class Tool(FunctionTool, Generic[_P, _R_co]):
    """
    A function tool with a Python function; calling it calls the function.

    Attributes:
        wrapped: The function.
        arguments_of: A function that returns the positional and keyword arguments of a
            `ToolCall`.
        timeout: Maximum seconds of one call in a run; None for no limit.
    """

    __slots__ = ("__name__", "arguments_of", "timeout", "wrapped")

    wrapped: Callable[_P, _R_co]
    arguments_of: Callable[["ToolCall"], tuple[list[Any], dict[str, Any]]]
    timeout: float | None

    def __init__(
        self,
        wrapped: Callable[_P, _R_co],
        function: FunctionDefinition,
        arguments_of: Callable[["ToolCall"], tuple[list[Any], dict[str, Any]]],
        cache_control: CacheControl | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(function, cache_control=cache_control)
        if timeout is not None and not timeout > 0:
            raise ValueError(f"Invalid timeout={timeout}: pass seconds, more than 0.")
        self.timeout = timeout
        self.wrapped = wrapped
        self.arguments_of = arguments_of
        self.__name__ = self.name

    @property
    def name(self) -> str:
        """Name of the tool, as the model sees it."""
        return str(self.function["name"])

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """Call the function."""
        return self.wrapped(*args, **kwargs)


class ToolChoiceFunctionName(TypedDict, total=False):
    """
    The name of a function.

    Attributes:
        name: Name of the function.
    """

    name: Required[str]


class ToolChoiceFunction(TypedDict, total=False):
    """
    A tool choice that makes the model call one function.

    Attributes:
        type: Always "function".
        function: The function to call.
    """

    type: Required[Literal["function"]]
    function: Required[ToolChoiceFunctionName]


class ToolChoiceServerTool(TypedDict, total=False):
    """
    A tool choice that makes the model use one server tool.

    Attributes:
        type: Type of the tool, such as "openrouter:web_search".
    """

    type: Required[str]


ToolChoice = (
    Literal["none", "auto", "required"]
    | str
    | ToolChoiceFunction
    | ToolChoiceServerTool
    | Mapping[str, Any]
)
"""The tool choice: none, optional, required, or one particular tool."""


@define(eq=False, repr=False)
class ToolCallFunction(Shape):
    """
    The function of a tool call.

    Attributes:
        name: Name of the function; "" if the response had none.
        arguments: Arguments as JSON text, not decoded: models write invalid JSON, and a
            truncated response ends in the middle of it. "" if the response had none.
    """

    name: str = ""
    arguments: str = ""


@define(eq=False, repr=False)
class ToolCall(Shape):
    """
    A call of a tool by the model.

    Attributes:
        id: The value for `ToolResponseMessage.tool_call_id`; "" if the response had
            none.
        type: "function".
        function: The function and its arguments.
        index: Position among the calls of the message; None if the response had none.
        raw: The call as received; empty if it was created by hand. If it is not empty,
            `as_request()` returns it and ignores the other fields.
    """

    id: str = ""
    type: str = "function"
    function: ToolCallFunction = Factory(ToolCallFunction)
    index: int | None = None
    raw: dict[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)

    @overload
    def parse(self) -> dict[str, Any]: ...

    @overload
    def parse(self, kind: TypeForm[_T]) -> _T: ...

    def parse(self, kind: Any = dict[str, Any]) -> Any:
        """
        Return the arguments as a dict, or converted to a type.

        Missing arguments are an empty object.

        Raises:
            ToolArgumentsError: If the arguments are not a JSON object, or do not fit
                the type; `errors` has every problem with its path.
        """
        from ..tools.arguments import parse_arguments

        return parse_arguments(self, kind)

    def as_request(self) -> dict[str, Any]:
        """
        Return the call as a JSON object for the next request; all keys are kept.

        An id that was received as a number is sent as a string, like the
        `tool_call_id` of its result.
        """
        if not self.raw:
            return as_plain(self)
        received = self.raw.get("id")
        if self.id and received is not None and not isinstance(received, str):
            return {**self.raw, "id": self.id}
        return self.raw
