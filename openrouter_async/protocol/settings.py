"""The settings of a client, overridden per call, and the calls made from them."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, Literal, TypedDict, TypeVar

from attrs import Factory, evolve, field, frozen
from multidict import CIMultiDict

from ..config import Retries, SizeLimits, Timeouts
from ..errors import ConfigurationError
from ..types import Exchange
from ..types.shape import Value
from .base_url import BaseURL, join_url, parse_base_url
from .call import ApiKey, Call, CallAccount
from .encode import encode
from .headers import check_headers

T = TypeVar("T")

# A compressor holds events back until its block is full, so streams are requested
# uncompressed.
_STREAM_HEADERS: Final[Mapping[str, str]] = {
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",
}
_PLAIN_HEADERS: Final[Mapping[str, str]] = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
}


Concurrency = int | Literal["auto"]
"""Maximum number of requests in flight. "auto": adapts to the server's capacity."""


class Unchanged(Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return self.name


UNCHANGED: Final = Unchanged.UNCHANGED
"""The default of an option for which None is a value of its own."""


@frozen(eq=False)
class ConcurrencyOption:
    """
    The concurrency limit of a client. Clients share a limit if they share this object.

    Attributes:
        value: A fixed number for each scope; "auto" for the adaptive limit; None for
            no limit.
    """

    value: Concurrency | None = None


def check_concurrency(value: object) -> None:
    """
    Check a concurrency limit.

    Raises:
        ConfigurationError: If it is neither "auto" nor an integer of 1 or more.
    """
    if value == "auto":
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(
            f"concurrency must be 'auto' or an integer of 1 or more, not {value!r}."
        )


# A name, not a text: up to 1,000 tags are kept.
_MAX_TAG_LENGTH: Final = 256


class CallOptions(TypedDict, total=False):
    """
    The options of one call; None keeps the client's value.

    Attributes:
        timeouts: Replaces the client's timeouts; a number replaces `total` alone, in
            seconds.
        retries: Replaces the client's retry rules.
        api_key: Replaces the client's key.
        base_url: Replaces the client's base URL; another host needs its own `api_key`.
        extra_headers: Headers to add to the client's or to replace in them.
        extra_query: Parameters to add to the URL.
        extra_body: Top-level keys to add to the body or to replace in it, sent
            unchanged.
        usage_tag: Name that the call is counted under in `client.usage`, such as that
            of a user or a job; never sent.
    """

    timeouts: Timeouts | float | None
    retries: Retries | None
    api_key: ApiKey | None
    base_url: str | None
    extra_headers: Mapping[str, str] | None
    extra_query: Mapping[str, Any] | None
    extra_body: Mapping[str, Any] | None
    usage_tag: str | None


@frozen(eq=False, repr=False)
class Settings(Value):
    """
    Client-wide defaults of calls.

    Attributes:
        api_key: As the caller passed it; None if each call must pass its own.
        base_url: The URL that paths are joined to.
        headers: Headers of every request; they override `Accept` and
            `Accept-Encoding`, which are set for each kind of call.
        allow_http: If True, a key may be sent unencrypted to any host.
        usage_tag: The tag of calls in `client.usage`; None without one.
        account: The account that calls with these settings are counted under.
        concurrency: The concurrency limit of chat calls.
        keep_requests: If True, calls keep the request that they were encoded from, for
            an observer.
    """

    api_key: ApiKey | None = field(repr=False)
    base_url: BaseURL
    timeouts: Timeouts
    retries: Retries
    size_limits: SizeLimits
    headers: Mapping[str, str] = field(repr=False)
    allow_http: bool
    usage_tag: str | None = field(default=None, kw_only=True)
    concurrency: ConcurrencyOption = field(default=ConcurrencyOption(), kw_only=True)
    keep_requests: bool = field(default=False, kw_only=True)
    account: CallAccount = field(
        default=Factory(
            lambda self: CallAccount(self.usage_tag, self.api_key, self.base_url),
            takes_self=True,
        ),
        init=False,
        repr=False,
        eq=False,
    )
    # CIMultiDict because each attempt copies them, and copying one is cheap only if
    # the source is a CIMultiDict too. Settings that differ in something else share
    # them, because the transport keeps the head of a request for each of these objects.
    _plain_headers: CIMultiDict[str] = field(
        default=Factory(
            lambda self: _call_headers(_PLAIN_HEADERS, self.headers), takes_self=True
        ),
        kw_only=True,
        repr=False,
        eq=False,
    )
    _stream_headers: CIMultiDict[str] = field(
        default=Factory(
            lambda self: _call_headers(_STREAM_HEADERS, self.headers), takes_self=True
        ),
        kw_only=True,
        repr=False,
        eq=False,
    )

    def with_options(self, options: Mapping[str, Any]) -> "Settings":
        """
        Return these settings, overridden by the options of one call.

        Args:
            options: Options of one call, with the keys of `CallOptions`.

        Raises:
            TypeError: If an option has the wrong type.
            ConfigurationError: If an option is invalid, or if the base URL has
                another origin and the options contain no key.
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
                    f"The client's key is not sent to another origin "
                    f"({base_url.address}); pass api_key= together with base_url=."
                )
            changes["base_url"] = base_url
        timeouts = options.get("timeouts")
        if timeouts is not None:
            changes["timeouts"] = _timeouts(timeouts, self.timeouts)
        retries = options.get("retries")
        if retries is not None:
            if not isinstance(retries, Retries):
                raise TypeError(f"retries must be a Retries(...), not {retries!r:.60}.")
            changes["retries"] = retries
        tag = options.get("usage_tag")
        if tag is not None:
            check_tag(tag)
            changes["usage_tag"] = tag
        headers = options.get("extra_headers")
        if headers:
            check_headers(headers)
            merged = changes["headers"] = _merge_headers(self.headers, headers)
            changes["plain_headers"] = _call_headers(_PLAIN_HEADERS, merged)
            changes["stream_headers"] = _call_headers(_STREAM_HEADERS, merged)
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
        retry: bool = True,
        model: str | None = None,
        account: CallAccount | None = None,
        provider: Any = None,
    ) -> Call[T]:
        """
        Return a call with these settings.

        Args:
            method: The HTTP method.
            path: Path below the base URL.
            parse: Function that turns the body of a response into the value, or
                raises.
            body: Value to send as JSON; None for a request without a body.
            query: Parameters to add to the URL.
            stream: If True, request a stream.
            retry: If False, send the request once, whatever `retries` says.
            model: The requested model, for the call's record.
            account: `account`, if the call may cost something and is counted.
            provider: The provider preferences of the request.

        Raises:
            ConfigurationError: If the path is invalid or the body is not JSON.
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
            retries=retries if retry else evolve(retries, max_attempts=1),
            size_limits=self.size_limits,
            parse=parse,
            model=model,
            stream=stream,
            request=body if self.keep_requests else None,
            account=account,
            provider=provider,
        )


def check_tag(tag: object) -> None:
    """
    Check a `usage_tag`.

    Raises:
        TypeError: If it is not a string.
        ConfigurationError: If it is empty or too long.
    """
    if not isinstance(tag, str):
        raise TypeError(f"usage_tag must be a string, not {tag!r:.60}.")
    if not 1 <= len(tag) <= _MAX_TAG_LENGTH:
        raise ConfigurationError(
            f"usage_tag must have 1 to {_MAX_TAG_LENGTH} characters, not {len(tag)}."
        )


def _timeouts(value: Any, defaults: Timeouts) -> Timeouts:
    """Return a `Timeouts` unchanged; a number sets `total` and keeps the rest."""
    if isinstance(value, Timeouts):
        return value
    try:
        return evolve(defaults, total=value)
    except ValueError as error:
        raise ConfigurationError(f"timeouts: {error}") from error


def _call_headers(
    defaults: Mapping[str, str], overrides: Mapping[str, str]
) -> CIMultiDict[str]:
    return CIMultiDict(_merge_headers(defaults, overrides))


def _merge_headers(
    defaults: Mapping[str, str], overrides: Mapping[str, str]
) -> dict[str, str]:
    """Return both sets of headers; names are compared without regard to case."""
    items = (*defaults.items(), *overrides.items())
    return dict({name.lower(): (name, value) for name, value in items}.values())
