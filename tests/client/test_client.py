"""AsyncOpenRouter: what it is made of, and what it refuses."""

# A few rules can be seen only from inside.
# pyright: reportPrivateUsage=false

import ssl
from collections.abc import Callable
from typing import Any

import pytest

from openrouter_async import (
    AsyncOpenRouter,
    ChatGenerationParams,
    ConfigurationError,
    Retries,
    SizeLimits,
    Timeouts,
    UserMessage,
    __version__,
)
from openrouter_async.testing import LocalOpenRouter

HELLO = ChatGenerationParams(model="m", messages=[UserMessage("Say hello")])


async def test_the_environment_is_read_once(
    server: LocalOpenRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key and base URL come from the environment of when the client was made."""
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


async def test_what_is_given_wins_over_the_environment(
    server: LocalOpenRouter,
    make_client: Callable[..., AsyncOpenRouter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An argument is in place of the variable."""
    monkeypatch.setenv("OPENROUTER_API_KEY", "from-env")
    monkeypatch.setenv("OPENROUTER_BASE_URL", "https://nowhere.example")
    client = make_client(api_key=" given ")

    await client.chat.send(HELLO)

    assert server.requests[0].headers["Authorization"] == "Bearer given"


def test_openrouter_is_the_default() -> None:
    """Without a word it is OpenRouter, with the defaults of the contract."""
    client = AsyncOpenRouter()

    assert repr(client) == "<AsyncOpenRouter https://openrouter.ai/api/v1>"
    assert (client.timeouts, client.retries, client.size_limits) == (
        Timeouts(),
        Retries(),
        SizeLimits(),
    )


async def test_an_app_says_who_it_is(
    server: LocalOpenRouter, make_client: Callable[..., AsyncOpenRouter]
) -> None:
    """OpenRouter's rankings know an app by these headers; a given header wins."""
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
def test_what_cannot_be_is_refused(options: dict[str, Any]) -> None:
    """An impossible option is told when the client is made."""
    with pytest.raises(ConfigurationError):
        AsyncOpenRouter(**options)


def test_an_own_authority_is_accepted() -> None:
    """`ssl=` takes a context; certificates are always checked."""
    client = AsyncOpenRouter(ssl=ssl.create_default_context())

    assert client.stats.in_use == 0
    with pytest.raises(ConfigurationError, match="always checked"):
        AsyncOpenRouter(ssl=False)


async def test_plain_http_may_be_allowed(
    make_client: Callable[..., AsyncOpenRouter], server: LocalOpenRouter
) -> None:
    """`allow_http=True` holds for the views of a client, too."""
    client = make_client(base_url="http://gateway.example", allow_http=True)
    view = client.with_options(base_url=server.url, api_key="k")

    assert (await view.chat.send(HELLO)).text


@pytest.mark.parametrize("secret", ["sk-or-v1-0123456789", "pass"])
def test_a_repr_holds_no_secret(secret: str) -> None:
    """Clients end in logs."""
    client = AsyncOpenRouter(
        api_key="sk-or-v1-0123456789", proxy="http://me:pass@proxy.example:1"
    )

    assert secret not in repr(client)
    assert secret not in repr(client._settings)
