"""What a client is set to, and how a call's own options change it."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from attrs import Factory, evolve, field, frozen
from multidict import CIMultiDict

from ..config import Retries, SizeLimits, Timeouts
from ..errors import ConfigurationError
from ..types import Exchange
from ..types.shape import Value
from .base_url import BaseURL, join_url, parse_base_url
from .call import ApiKey, Call
from .encode import encode
from .headers import check_headers

T = TypeVar("T")

_ONCE: Final = 1
# Compressed streams would be held back until a block is full.
_STREAM: Final[Mapping[str, str]] = {
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",
}
_PLAIN: Final[Mapping[str, str]] = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
}


@frozen(eq=False, repr=False)
class Settings(Value):
    """
    What all calls of a client share.

    Attributes:
        api_key: As given; None means that each call brings its own.
        base_url: Where calls go.
        headers: What every request carries; they win over what its kind asks for.
        allow_http: Whether a key may travel unencrypted.
    """

    api_key: ApiKey | None = field(repr=False)
    base_url: BaseURL
    timeouts: Timeouts
    retries: Retries
    size_limits: SizeLimits
    headers: Mapping[str, str] = field(repr=False)
    allow_http: bool
    # Copied for each attempt, which is cheap only from their own kind.
    _plain_headers: CIMultiDict[str] = field(
        default=Factory(
            lambda self: CIMultiDict(_merge_headers(_PLAIN, self.headers)),
            takes_self=True,
        ),
        init=False,
        repr=False,
        eq=False,
    )
    _stream_headers: CIMultiDict[str] = field(
        default=Factory(
            lambda self: CIMultiDict(_merge_headers(_STREAM, self.headers)),
            takes_self=True,
        ),
        init=False,
        repr=False,
        eq=False,
    )

    def with_options(self, options: Mapping[str, Any]) -> "Settings":
        """
        Return these settings with options in place of some; None changes nothing.

        Args:
            options: Of api_key, base_url, timeouts, retries, headers.

        Raises:
            ConfigurationError: A base URL elsewhere without a key of its own.
        """
        changes: dict[str, Any] = {}
        key = options.get("api_key")
        if key is not None:
            changes["api_key"] = key
        url = options.get("base_url")
        if url is not None:
            base_url = parse_base_url(url, allow_http=self.allow_http)
            if base_url.origin != self.base_url.origin and key is None:
                raise ConfigurationError(
                    "Another base_url needs its own api_key: "
                    "the client's key is for the client's base_url alone."
                )
            changes["base_url"] = base_url
        timeouts = options.get("timeouts")
        if timeouts is not None:
            changes["timeouts"] = _timeouts(timeouts, self.timeouts)
        retries = options.get("retries")
        if retries is not None:
            if not isinstance(retries, Retries):
                raise TypeError(f"retries is a Retries(...), not {retries!r:.60}.")
            changes["retries"] = retries
        headers = options.get("headers")
        if headers:
            check_headers(headers)
            changes["headers"] = _merge_headers(self.headers, headers)
        return evolve(self, **changes) if changes else self

    def call(
        self,
        method: str,
        path: str,
        parse: Callable[[bytes, Exchange, float], T],
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        stream: bool = False,
        repeat: bool = True,
        model: str | None = None,
    ) -> Call[T]:
        """
        Return a call with these settings.

        Args:
            method: The HTTP method.
            path: Below the base URL.
            parse: Turns the reply's body into the value, or raises.
            body: What is sent as JSON; None for no body.
            query: Added to the URL.
            stream: Whether the reply is a stream.
            repeat: False: it is sent once, whatever `retries` says.
            model: For the record of the call.

        Raises:
            ConfigurationError: The path or the body can not be sent.
        """
        retries = self.retries
        return Call(
            method=method,
            url=join_url(self.base_url, path, query),
            headers=self._stream_headers if stream else self._plain_headers,
            body=None if body is None else encode(body),
            api_key=self.api_key,
            base_url=self.base_url,
            timeouts=self.timeouts,
            retries=retries if repeat else evolve(retries, max_attempts=_ONCE),
            size_limits=self.size_limits,
            parse=parse,
            model=model,
            stream=stream,
        )


def _timeouts(given: Any, known: Timeouts) -> Timeouts:
    if isinstance(given, Timeouts):
        return given
    try:
        return evolve(known, total=given)
    except ValueError as error:
        raise ConfigurationError(f"timeouts: {error}") from error


def _merge_headers(
    known: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """Names have no case; the last one wins."""
    both = (*known.items(), *given.items())
    return dict({name.lower(): (name, text) for name, text in both}.values())
