"""Functions that a model may call, and its calls of them."""

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
from .shape import Shape, given

_T = TypeVar("_T")
_P = ParamSpec("_P")
_R_co = TypeVar("_R_co", covariant=True)


class FunctionDefinition(TypedDict, total=False):
    """
    A function that the model may call.

    Attributes:
        name: Its name; at most 64 of a-z, A-Z, 0-9, "_" and "-".
        description: What it does, for the model.
        parameters: The JSON schema of its arguments.
        strict: Whether the arguments must match the schema; nullable.
        defer_loading: Whether the model learns of it only by searching.
    """

    name: Required[str]
    description: str
    parameters: Mapping[str, Any]
    strict: bool | None
    defer_loading: bool


@define(eq=False, repr=False)
class FunctionTool(Shape):
    """
    A function offered to the model.

    Attributes:
        type: Always "function".
        function: The function.
        cache_control: Ends a cached prefix after this tool (Anthropic).
        defer_loading: Whether the model learns of it only by searching.
        eager_input_streaming: Whether arguments stream as they are written, before
            they are known to be JSON (Anthropic).
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
    ) -> "Tool[_P, _R_co]":
        """
        Make a tool of a plain or async function, as the decorator `tool` does.

        Args:
            function: What is called; its annotations become the schema.
            name: The function's own unless given.
            description: The first paragraph of its docstring unless given.
            strict: Whether the provider must hold to the schema; all parameters are
                then asked for, those with defaults too.
            cache_control: Ends a cached prefix after this tool (Anthropic).

        Raises:
            TypeError: JSON has nothing for a parameter's type, or the name is none
                that providers take.
        """
        from ..tools import make_tool

        return make_tool(
            function,
            name=name,
            description=description,
            strict=strict,
            cache_control=cache_control,
        )


class Tool(FunctionTool, Generic[_P, _R_co]):
    """
    A function tool with the function behind it; called, it is the function.

    Attributes:
        wrapped: The function.
        arguments_of: Reads the positional and keyword arguments of a `ToolCall`.
    """

    __slots__ = ("__name__", "arguments_of", "wrapped")

    wrapped: Callable[_P, _R_co]
    arguments_of: Callable[["ToolCall"], tuple[list[Any], dict[str, Any]]]

    def __init__(
        self,
        wrapped: Callable[_P, _R_co],
        function: FunctionDefinition,
        arguments_of: Callable[["ToolCall"], tuple[list[Any], dict[str, Any]]],
        cache_control: CacheControl | None = None,
    ) -> None:
        super().__init__(function, cache_control=cache_control)
        self.wrapped = wrapped
        self.arguments_of = arguments_of
        self.__name__ = self.name

    @property
    def name(self) -> str:
        """What the model calls it."""
        return str(self.function["name"])

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        """Call the function, as if it were no tool."""
        return self.wrapped(*args, **kwargs)


class ToolChoiceFunctionName(TypedDict, total=False):
    """
    Which function.

    Attributes:
        name: Its name.
    """

    name: Required[str]


class ToolChoiceFunction(TypedDict, total=False):
    """
    Makes the model call this one function.

    Attributes:
        type: Always "function".
        function: Which one.
    """

    type: Required[Literal["function"]]
    function: Required[ToolChoiceFunctionName]


class ToolChoiceServerTool(TypedDict, total=False):
    """
    Makes the model use this one server tool.

    Attributes:
        type: The tool's type, such as "openrouter:web_search".
    """

    type: Required[str]


ToolChoice = (
    Literal["none", "auto", "required"]
    | ToolChoiceFunction
    | ToolChoiceServerTool
    | Mapping[str, Any]
)
"""Whether the model may, must or must not call tools, or which one it must."""


@define(eq=False, repr=False)
class ToolCallFunction(Shape):
    """
    The function that a call is of.

    Attributes:
        name: Its name; "" where the wire had none.
        arguments: JSON text, never parsed here: models write invalid JSON, and a cut
            reply ends in the middle of it. "" where the wire had none.
    """

    name: str = ""
    arguments: str = ""


@define(eq=False, repr=False)
class ToolCall(Shape):
    """
    One call that the model makes.

    Attributes:
        id: What `ToolResponseMessage.tool_call_id` refers to; "" if it has none.
        type: "function".
        function: What is called, and with what.
        index: The position among the message's calls; None if the wire had none.
        raw: The call as it came; empty if it was built by hand. Where it is not, it
            is what `as_request()` returns, whatever the other fields say.
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
        Return the arguments, read as JSON, or as a value of a type.

        No arguments at all are an empty object.

        Raises:
            ToolArgumentsError: They are no JSON object, or do not fit; `call` is what
                came, `path` the place.
        """
        from ..tools.arguments import parse_arguments

        return parse_arguments(self, kind)

    def as_request(self) -> dict[str, Any]:
        """Return the call to send back, with every key that came, in its order."""
        return self.raw or given(self)
