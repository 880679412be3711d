"""PendingResponse: a plain call that was not awaited yet."""

from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

R = TypeVar("R")

_EXAMPLE = "client.chat.send(...)"


class PendingResponse(Coroutine[Any, Any, R], Generic[R]):
    """
    A call that was not awaited yet.

    It is a coroutine, and can be run as a task. A coroutine of Python would say of the
    most frequent mistakes only that it has no such attribute or method.
    """

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, R]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, R]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Resume the coroutine, as a task does."""
        return self._coroutine.send(value)

    def throw(self, *args: Any) -> Any:
        """Raise an exception in the coroutine, as a task does."""
        return self._coroutine.throw(*args)

    def close(self) -> None:
        """Close the coroutine before it starts or while it waits."""
        self._coroutine.close()

    # Type checkers reject these mistakes because the methods do not exist.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Tasks and debuggers ask a coroutine for its name, code and frame.
            if name.startswith("cr_") or name in ("__name__", "__qualname__"):
                return getattr(self._coroutine, name)
            raise AttributeError(
                f"The response was not awaited, so it has no attribute {name!r}. "
                f"Write: response = await {_EXAMPLE}"
            )

        def __aenter__(self) -> NoReturn:
            self._coroutine.close()
            raise TypeError(
                "A response without stream=True cannot be entered with `async with`. "
                f"Write: response = await {_EXAMPLE}, or pass stream=True."
            )

        async def __aexit__(self, *_exception: object) -> None:
            """Exist, because Python looks for it before it calls `__aenter__`."""

        def __aiter__(self) -> NoReturn:
            self._coroutine.close()
            raise TypeError(
                "A response without stream=True has no chunks to iterate over. Write: "
                "async with client.chat.send(..., stream=True) as stream: "
                "async for chunk in stream: ..."
            )
