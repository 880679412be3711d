"""AsyncOpenRouter: options, copies, pickles, and the errors of common mistakes."""

# A few rules can be seen only from inside.
# pyright: reportPrivateUsage=false

import copy
import pickle
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import pytest
from support import HELLO, MakeClient

from openrouter_async import (
    AsyncOpenRouter,
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    Retries,
    SizeLimits,
    Timeouts,
    UserMessage,
    __version__,
)
from openrouter_async.testing import LocalOpenRouter, error_reply


def key_of_this_process() -> str:
    """Return a key; a pickle refers to this function by name."""
    return "from-function"


def on_call(record: object) -> None:
    """Ignore the record of a call; a pickle refers to this function by name."""


# --- options ---------------------------------------------------------------------


async def test_environment_is_read_when_the_client_is_created(
    server: LocalOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "  from-env\n")
    monkeypatch.setenv("OPENROUTER_BASE_URL", f"{server.url}/")
    async with AsyncOpenRouter() as client:
        monkeypatch.setenv("OPENROUTER_API_KEY", "later")
        monkeypatch.delenv("OPENROUTER_BASE_URL")
        await client.chat.send(HELLO)
        await client.chat.send(HELLO, api_key=" own ")

    assert [seen.headers["Authorization"] for seen in server.requests] == [
        "Bearer from-env",
        "Bearer own",
    ]
    assert server.requests[0].path == "/api/v1/chat/completions"


async def test_arguments_override_the_environment(
    server: LocalOpenRouter,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "from-env")
    monkeypatch.setenv("OPENROUTER_BASE_URL", "https://nowhere.example")
    client = make_client(api_key=" given ")

    await client.chat.send(HELLO)

    assert server.requests[0].headers["Authorization"] == "Bearer given"


def test_default_client_calls_openrouter() -> None:
    client = AsyncOpenRouter()

    assert repr(client) == "<AsyncOpenRouter https://openrouter.ai/api/v1>"
    assert (client.timeouts, client.retries, client.size_limits) == (
        Timeouts(),
        Retries(),
        SizeLimits(),
    )


async def test_app_headers_are_sent_and_can_be_overridden(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    client = make_client(
        app_url="https://app.example",
        app_title="App",
        app_categories="cli,chat",
        headers={"X-One": "1", "x-openrouter-title": "Mine"},
    )

    await client.chat.send(HELLO)

    headers = server.requests[0].headers
    assert headers["HTTP-Referer"] == "https://app.example"
    assert headers.getall("X-OpenRouter-Title") == ["Mine"]
    assert headers["X-OpenRouter-Categories"] == "cli,chat"
    assert headers["X-One"] == "1"
    assert headers["User-Agent"] == f"openrouter_async/{__version__}"


@pytest.mark.parametrize(
    "options",
    [
        {"max_connections": 0},
        {"max_connections": True},
        {"ssl": False},
        {"ssl": None},
        {"proxy": "localhost:3128"},
        {"base_url": "openrouter.ai/api/v1"},
        {"base_url": "https://user:pass@openrouter.ai"},
        {"base_url": "https://openrouter.ai/?a=1"},
        {"headers": {"Authorization": "Bearer x"}},
        {"headers": {"X-A": "a\nb"}},
        {"headers": {"X A": "a"}},
        {"app_title": "Caf\u00e9\x00"},
    ],
    ids=repr,
)
def test_invalid_option_is_rejected_when_the_client_is_created(
    options: dict[str, Any],
) -> None:
    (name,) = options

    with pytest.raises(ConfigurationError) as caught:
        AsyncOpenRouter(**options)

    name = {"headers": "", "app_title": "X-OpenRouter-Title"}.get(name, name)
    assert name in str(caught.value)


def test_ssl_context_is_accepted_and_false_is_not() -> None:
    client = AsyncOpenRouter(ssl=ssl.create_default_context())

    assert client.stats.in_use == 0
    with pytest.raises(ConfigurationError, match="always checked"):
        AsyncOpenRouter(ssl=False)


async def test_allow_http_applies_to_with_options(
    make_client: MakeClient, server: LocalOpenRouter
) -> None:
    client = make_client(base_url="http://gateway.example", allow_http=True)
    other = client.with_options(base_url=server.url, api_key="k")

    assert (await other.chat.send(HELLO)).text


@pytest.mark.parametrize("secret", ["sk-or-v1-0123456789", "pass"])
def test_repr_contains_no_secret(secret: str) -> None:
    client = AsyncOpenRouter(
        api_key="sk-or-v1-0123456789", proxy="http://me:pass@proxy.example:1"
    )

    assert secret not in repr(client)
    assert secret not in repr(client._settings)


# --- copies and pickles ----------------------------------------------------------


@pytest.mark.parametrize("copy_client", [copy.copy, copy.deepcopy])
async def test_copy_has_the_configuration_and_its_own_connections(
    make_client: MakeClient,
    server: LocalOpenRouter,
    copy_client: Callable[[AsyncOpenRouter], AsyncOpenRouter],
) -> None:
    client = make_client(api_key="explicit", timeouts=Timeouts(total=9))
    await client.chat.send(HELLO)
    other = copy_client(client)
    await client.aclose()

    async with other:
        assert other.stats.idle == 0
        assert other.timeouts == Timeouts(total=9)
        await other.chat.send(HELLO)

    assert server.requests[1].headers["Authorization"] == "Bearer explicit"
    with pytest.raises(ClosedError):
        await client.chat.send(HELLO)


async def test_copy_uses_the_same_session(
    make_client: MakeClient, server: LocalOpenRouter
) -> None:
    """The session belongs to the caller, who lends it to both clients."""
    async with aiohttp.ClientSession() as session:
        client = make_client(session=session)
        other = copy.deepcopy(client)
        await client.aclose()
        await other.chat.send(HELLO)
        await other.aclose()

        assert not session.closed
    assert len(server.requests) == 1


async def test_unpickled_client_reads_the_key_from_the_environment(
    server: LocalOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "key-of-the-parent")
    client = AsyncOpenRouter(
        base_url=server.url,
        timeouts=Timeouts(total=9),
        retries=Retries(max_attempts=1),
        headers={"X-App": "one"},
        on_call=on_call,
    )
    view = client.with_options(headers={"X-App": "two"}, timeouts=3)
    pickled = pickle.dumps([client, view])
    monkeypatch.setenv("OPENROUTER_API_KEY", "key-of-the-worker")
    other, other_view = pickle.loads(pickled)

    assert b"key-of-the-parent" not in pickled
    assert other.retries == Retries(max_attempts=1)
    assert (other.timeouts.total, other_view.timeouts.total) == (9, 3)
    async with other, other_view:
        await other.chat.send(HELLO)
        await other_view.chat.send(HELLO)
    assert [
        (seen.headers["Authorization"], seen.headers["X-App"])
        for seen in server.requests
    ] == [("Bearer key-of-the-worker", "one"), ("Bearer key-of-the-worker", "two")]


async def test_unpickled_client_without_a_key_reports_it_at_the_first_call(
    server: LocalOpenRouter,
) -> None:
    async with pickle.loads(pickle.dumps(AsyncOpenRouter())) as client:
        with pytest.raises(ConfigurationError, match="OPENROUTER_API_KEY"):
            await client.chat.send(HELLO)


async def test_pickled_client_keeps_a_function_that_returns_the_key(
    server: LocalOpenRouter,
) -> None:
    client = AsyncOpenRouter(key_of_this_process, base_url=server.url)
    async with pickle.loads(pickle.dumps(client)) as other:
        await other.chat.send(HELLO)

    assert server.requests[0].headers["Authorization"] == "Bearer from-function"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"api_key": "sk-secret"}, "explicit api_key.* Set OPENROUTER_API_KEY"),
        ({"proxy": "http://me:sk-secret@proxy.example:1"}, "password.* HTTPS_PROXY"),
    ],
)
def test_client_with_a_secret_cannot_be_pickled(
    options: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=f"Cannot pickle.*{message}") as caught:
        pickle.dumps(AsyncOpenRouter(**options))

    assert "sk-secret" not in str(caught.value)


def test_key_of_with_options_cannot_be_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "from-env")

    with pytest.raises(TypeError, match="explicit api_key"):
        pickle.dumps(AsyncOpenRouter().with_options(api_key="sk-secret"))


async def test_client_with_a_session_cannot_be_pickled() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(TypeError, match="open connections belong to one process"):
            pickle.dumps(AsyncOpenRouter(session=session))


# --- the errors of common mistakes -----------------------------------------------


async def test_missing_key_is_reported_with_both_remedies(
    make_client: MakeClient,
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await make_client(api_key="").chat.send(HELLO)

    assert "OPENROUTER_API_KEY" in str(caught.value)
    assert "api_key=" in str(caught.value)


async def test_wrong_key_is_an_authentication_error_with_a_hint(
    client: AsyncOpenRouter, server: LocalOpenRouter
) -> None:
    server.reply(error_reply(401))

    with pytest.raises(AuthenticationError) as caught:
        await client.chat.send(HELLO)

    assert str(caught.value).startswith("401: ")
    assert caught.value.hint is not None
    assert "https://openrouter.ai/settings/keys" in caught.value.hint


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"messages": "hi"}, r"messages must be a list, not str: .*UserMessage"),
        ({"messages": UserMessage("hi")}, "messages must be a list, not UserMessage"),
        ({"messages": ["hi"]}, r"must be a UserMessage.*not the string 'hi'"),
        ({"messages": [UserMessage("hi")], "temprature": 1}, "mean 'temperature'"),
        ({"messages": [UserMessage("hi")], "timeout": 1}, "mean 'timeouts'"),
        ({"messages": [UserMessage("hi")], "max_retries": 1}, "mean 'retries'"),
        ({"messages": [UserMessage("hi")], "headers": {}}, "mean 'extra_headers'"),
    ],
)
async def test_invalid_request_is_reported_with_the_remedy(
    client: AsyncOpenRouter, request_: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        await client.chat.send(**request_)


@pytest.mark.parametrize("params", ["hi", ["hi"], 1])
async def test_request_that_is_not_a_mapping_is_rejected(
    client: AsyncOpenRouter, params: Any
) -> None:
    for operation in (client.chat.send, client.chat.run_tools):
        with pytest.raises(TypeError, match="must be ChatGenerationParams or a map"):
            await operation(params)


async def test_closed_client_says_so(client: AsyncOpenRouter) -> None:
    await client.aclose()

    with pytest.raises(ClosedError, match="client is closed; create a new"):
        await client.chat.send(HELLO)


async def test_loop_over_a_stream_that_was_not_opened_shows_how_to_open_it(
    client: AsyncOpenRouter,
) -> None:
    with pytest.raises(TypeError, match=r"async with client\.chat\.send"):
        async for _ in client.chat.send(HELLO, stream=True):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
            pass


@pytest.mark.parametrize("stream", [False, True])
async def test_forgotten_await_is_reported_by_the_name_of_the_method(
    client: AsyncOpenRouter, *, stream: bool
) -> None:
    with pytest.warns(RuntimeWarning, match=r"'Chat\.send' was never awaited"):
        client.chat.send(HELLO, stream=stream)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
