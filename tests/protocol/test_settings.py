"""Settings: overriding them per call, and the calls made from them."""

import json
from typing import Any

import pytest
from attrs import evolve

from openrouter_async.config import Retries, SizeLimits, Timeouts
from openrouter_async.errors import ConfigurationError
from openrouter_async.protocol.base_url import parse_base_url
from openrouter_async.protocol.settings import UNCHANGED, Settings
from openrouter_async.types import Exchange, UserMessage


def parse(body: bytes, http: Exchange, wall_time: float) -> str:
    return f"{body!r} {http.status} {wall_time}"


def made(**changes: Any) -> Settings:
    defaults: dict[str, Any] = {
        "api_key": "sk-one",
        "base_url": parse_base_url("https://openrouter.ai/api/v1", allow_http=False),
        "timeouts": Timeouts(),
        "retries": Retries(),
        "size_limits": SizeLimits(),
        "headers": {"User-Agent": "test", "X-App": "one"},
        "allow_http": False,
    }
    return Settings(**{**defaults, **changes})


def test_options_that_are_none_or_empty_keep_the_settings() -> None:
    settings = made()
    names = ("api_key", "base_url", "timeouts", "retries", "extra_headers")

    assert settings.with_options({}) is settings
    assert settings.with_options(dict.fromkeys(names)) is settings
    assert settings.with_options({"extra_headers": {}}) is settings


def test_option_overrides_one_setting_of_a_copy() -> None:
    settings = made()
    retries = Retries(max_attempts=1)

    assert settings.with_options({"api_key": "sk-two"}) == made(api_key="sk-two")
    assert settings.with_options({"retries": retries}) == made(retries=retries)
    assert settings.with_options({"timeouts": Timeouts(idle=1)}) == made(
        timeouts=Timeouts(idle=1)
    )
    assert settings == made()


def test_timeouts_as_a_number_sets_the_total_only() -> None:
    settings = made(timeouts=Timeouts(idle=7))

    changed = settings.with_options({"timeouts": 5})

    assert changed.timeouts == Timeouts(idle=7, total=5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"timeouts": "5"}, TypeError, "total must be a number of seconds"),
        ({"timeouts": 0}, ConfigurationError, "total must be more than 0"),
        ({"timeouts": True}, TypeError, "total must be a number of seconds"),
        ({"retries": 3}, TypeError, r"retries must be a Retries\(\.\.\.\), not 3"),
        ({"retries": "x" * 999}, TypeError, "retries must be a Retries"),
        ({"extra_headers": [("A", "b")]}, TypeError, "mapping"),
        ({"extra_headers": {"A": "b\r\nC: d"}}, ConfigurationError, "value of A"),
        ({"base_url": 7}, TypeError, "base_url must be a string"),
        ({"base_url": "ftp://openrouter.ai"}, ConfigurationError, "https://"),
    ],
)
def test_invalid_option_is_rejected_with_a_short_message(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        made().with_options(options)

    assert len(str(caught.value)) < 200


def test_base_url_of_another_origin_requires_a_key() -> None:
    settings = made()
    other_url = "https://eu.openrouter.ai/api/v1"

    with pytest.raises(ConfigurationError, match="pass api_key="):
        settings.with_options({"base_url": other_url})
    changed = settings.with_options({"base_url": other_url, "api_key": "sk-eu"})
    assert (changed.base_url.url, changed.api_key) == (other_url, "sk-eu")


@pytest.mark.parametrize(
    "base_url",
    [
        "https://openrouter.ai/api/beta",
        "https://openrouter.ai:443/api/v1/",
        "HTTPS://OpenRouter.ai/api/v1",
    ],
)
def test_base_url_of_the_same_origin_keeps_the_key(base_url: str) -> None:
    assert made().with_options({"base_url": base_url}).api_key == "sk-one"


@pytest.mark.parametrize(
    "base_url", ["http://openrouter.ai/api/v1", "https://openrouter.ai:8443/api/v1"]
)
def test_base_url_of_another_scheme_or_port_requires_a_key(base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="pass api_key="):
        made().with_options({"base_url": base_url})


def test_headers_are_merged_without_regard_to_case() -> None:
    changed = made().with_options({"extra_headers": {"x-APP": "two", "X-New": "3"}})

    assert changed.headers == {"User-Agent": "test", "x-APP": "two", "X-New": "3"}


def test_call_contains_the_settings() -> None:
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


def test_call_without_a_body_has_none_and_an_empty_body_is_kept() -> None:
    assert made().call("GET", "/models", parse).body is None
    assert made().call("POST", "/x", parse, body={}).body == b"{}"


def test_call_with_retry_false_has_one_attempt() -> None:
    retries = Retries(max_attempts=5, ambiguous=True)

    call = made(retries=retries).call("POST", "/keys", parse, retry=False)

    assert call.retries == evolve(retries, max_attempts=1)


@pytest.mark.parametrize(
    ("stream", "accept", "encoding"),
    [
        (False, "application/json", "gzip, deflate"),
        (True, "text/event-stream", "identity"),
    ],
)
def test_accept_headers_depend_on_streaming_and_can_be_overridden(
    stream: bool,
    accept: str,
    encoding: str,
) -> None:
    call = made().call("GET", "/x", parse, stream=stream)
    overridden = made(headers={"accept": "audio/mpeg"}).call(
        "GET", "/x", parse, stream=stream
    )

    assert call.headers == {
        "Accept": accept,
        "Accept-Encoding": encoding,
        "User-Agent": "test",
        "X-App": "one",
    }
    assert overridden.headers == {"accept": "audio/mpeg", "Accept-Encoding": encoding}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_calls_share_their_headers_unless_an_option_changes_them(
    *, stream: bool
) -> None:
    """The transport keeps the head of a request for each of these objects."""
    settings = made()
    headers = settings.call("GET", "/x", parse, stream=stream).headers
    longer = settings.with_options({"timeouts": 5.0, "api_key": "sk-other"})
    changed = settings.with_options({"timeouts": 5.0, "extra_headers": {"X-A": "b"}})

    assert longer.call("GET", "/x", parse, stream=stream).headers is headers
    assert changed.call("GET", "/x", parse, stream=stream).headers == {
        **headers,
        "X-A": "b",
    }


def test_call_rejects_an_invalid_path_and_a_body_that_is_not_json() -> None:
    with pytest.raises(ConfigurationError, match="Invalid path"):
        made().call("GET", "https://evil.example/", parse)
    with pytest.raises(ConfigurationError, match="type object"):
        made().call("POST", "/x", parse, body={"a": object()})


def test_repr_shows_no_key_header_or_body() -> None:
    settings = made(api_key="sk-secret", headers={"X-Token": "hidden"})
    call = settings.call("POST", "/x", parse, body={"prompt": "private"})

    for text in (repr(settings), repr(call)):
        assert not any(word in text for word in ("sk-secret", "hidden", "private"))


def test_default_of_an_option_is_named_in_signatures() -> None:
    assert repr(UNCHANGED) == "UNCHANGED"
