"""What a client is set to, and what a call's own options change."""

import json
from typing import Any

import pytest
from attrs import evolve

from openrouter_async.config import Retries, SizeLimits, Timeouts
from openrouter_async.errors import ConfigurationError
from openrouter_async.protocol.base_url import parse_base_url
from openrouter_async.protocol.settings import Settings
from openrouter_async.types import Exchange, UserMessage


def parse(body: bytes, http: Exchange, wall: float) -> str:
    return f"{body!r} {http.status} {wall}"


def made(**changes: Any) -> Settings:
    known: dict[str, Any] = {
        "api_key": "sk-one",
        "base_url": parse_base_url("https://openrouter.ai/api/v1", allow_http=False),
        "timeouts": Timeouts(),
        "retries": Retries(),
        "size_limits": SizeLimits(),
        "headers": {"User-Agent": "test", "X-App": "one"},
        "allow_http": False,
    }
    return Settings(**{**known, **changes})


def test_none_changes_nothing() -> None:
    """Options that are None, absent or empty leave the settings as they are."""
    settings = made()
    names = ("api_key", "base_url", "timeouts", "retries", "headers")

    assert settings.with_options({}) is settings
    assert settings.with_options(dict.fromkeys(names)) is settings
    assert settings.with_options({"headers": {}}) is settings


def test_each_option_changes_its_own() -> None:
    """An option replaces one setting, and the original stays."""
    settings = made()
    retries = Retries(max_attempts=1)

    assert settings.with_options({"api_key": "sk-two"}) == made(api_key="sk-two")
    assert settings.with_options({"retries": retries}) == made(retries=retries)
    assert settings.with_options({"timeouts": Timeouts(idle=1)}) == made(
        timeouts=Timeouts(idle=1)
    )
    assert settings == made()


def test_a_number_is_the_total() -> None:
    """`timeouts=5` sets `total` and keeps the other clocks."""
    settings = made(timeouts=Timeouts(idle=7))

    changed = settings.with_options({"timeouts": 5})

    assert changed.timeouts == Timeouts(idle=7, total=5)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"timeouts": "5"}, TypeError, "total is seconds"),
        ({"timeouts": 0}, ConfigurationError, "total must be more than 0"),
        ({"timeouts": True}, TypeError, "total is seconds"),
        ({"retries": 3}, TypeError, r"retries is a Retries\(\.\.\.\), not 3"),
        ({"retries": "x" * 999}, TypeError, r"retries is a Retries"),
        ({"headers": [("A", "b")]}, TypeError, "mapping"),
        ({"headers": {"A": "b\r\nC: d"}}, ConfigurationError, "value of A"),
        ({"base_url": 7}, TypeError, "base_url is a string"),
        ({"base_url": "ftp://openrouter.ai"}, ConfigurationError, "https://"),
    ],
)
def test_impossible_options_are_refused(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """What can not be is refused before anything is sent, in a short sentence."""
    with pytest.raises(error, match=words) as caught:
        made().with_options(options)

    assert len(str(caught.value)) < 200


def test_another_origin_needs_its_own_key() -> None:
    """A key goes to the place that it was given for, and to no other."""
    settings = made()
    elsewhere = "https://eu.openrouter.ai/api/v1"

    with pytest.raises(ConfigurationError, match="its own api_key"):
        settings.with_options({"base_url": elsewhere})
    moved = settings.with_options({"base_url": elsewhere, "api_key": "sk-eu"})
    assert (moved.base_url.url, moved.api_key) == (elsewhere, "sk-eu")


@pytest.mark.parametrize(
    "base_url",
    [
        "https://openrouter.ai/api/beta",
        "https://openrouter.ai:443/api/v1/",
        "HTTPS://OpenRouter.ai/api/v1",
    ],
)
def test_the_same_origin_keeps_its_key(base_url: str) -> None:
    """Another path, or another spelling of one host, is the same place."""
    assert made().with_options({"base_url": base_url}).api_key == "sk-one"


@pytest.mark.parametrize(
    "base_url", ["http://openrouter.ai/api/v1", "https://openrouter.ai:8443/api/v1"]
)
def test_another_scheme_or_port_is_elsewhere(base_url: str) -> None:
    """Scheme and port are part of the place."""
    with pytest.raises(ConfigurationError, match="its own api_key"):
        made().with_options({"base_url": base_url})


def test_headers_are_merged_without_regard_to_case() -> None:
    """A header given again replaces the old one, however it is written."""
    changed = made().with_options({"headers": {"x-APP": "two", "X-New": "3"}})

    assert changed.headers == {"User-Agent": "test", "x-APP": "two", "X-New": "3"}


def test_a_call_carries_the_settings() -> None:
    """A call has all that it takes to send it, again and again."""
    call = made().call(
        "POST",
        "/chat/completions",
        parse,
        body={"messages": [UserMessage("hi")]},
        query={"a": [1, 2]},
        model="m",
    )

    assert call.method == "POST"
    assert call.url == "https://openrouter.ai/api/v1/chat/completions?a=1&a=2"
    assert json.loads(call.body or b"") == {
        "messages": [{"role": "user", "content": "hi"}]
    }
    assert (call.api_key, call.model, call.stream) == ("sk-one", "m", False)
    assert (call.timeouts, call.retries, call.size_limits) == (
        Timeouts(),
        Retries(),
        SizeLimits(),
    )
    assert call.parse(b"{}", Exchange(status=200), 1.0) == "b'{}' 200 1.0"


def test_no_body_is_none() -> None:
    """A call without a body sends none, one with an empty body sends that."""
    assert made().call("GET", "/models", parse).body is None
    assert made().call("POST", "/x", parse, body={}).body == b"{}"


def test_what_is_not_to_be_repeated_is_sent_once() -> None:
    """`repeat=False` leaves one attempt, and the other rules."""
    retries = Retries(max_attempts=5, ambiguous=True)

    call = made(retries=retries).call("POST", "/keys", parse, repeat=False)

    assert call.retries == evolve(retries, max_attempts=1)


@pytest.mark.parametrize(
    ("stream", "accept", "encoding"),
    [
        (False, "application/json", "gzip, deflate"),
        (True, "text/event-stream", "identity"),
    ],
)
def test_each_kind_asks_for_its_own(stream: bool, accept: str, encoding: str) -> None:  # noqa: FBT001
    """A stream is asked for uncompressed; the caller's word on it wins."""
    call = made().call("GET", "/x", parse, stream=stream)
    own = made(headers={"accept": "audio/mpeg"}).call("GET", "/x", parse, stream=stream)

    assert call.headers == {
        "Accept": accept,
        "Accept-Encoding": encoding,
        "User-Agent": "test",
        "X-App": "one",
    }
    assert own.headers == {"accept": "audio/mpeg", "Accept-Encoding": encoding}


def test_what_can_not_be_sent_is_refused() -> None:
    """A path that leads elsewhere, or a body that is no JSON, never becomes a call."""
    with pytest.raises(ConfigurationError, match="A path"):
        made().call("GET", "https://evil.example/", parse)
    with pytest.raises(ConfigurationError, match="type object"):
        made().call("POST", "/x", parse, body={"a": object()})


def test_no_repr_shows_a_key_or_a_body() -> None:
    """Keys, headers and bodies stay out of logs and tracebacks."""
    settings = made(api_key="sk-secret", headers={"X-Token": "hidden"})
    call = settings.call("POST", "/x", parse, body={"prompt": "private"})

    for text in (repr(settings), repr(call)):
        assert [
            word for word in ("sk-secret", "hidden", "private") if word in text
        ] == []
