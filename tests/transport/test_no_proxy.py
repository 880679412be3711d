"""NO_PROXY: which entries exclude which hosts, and whose settings apply."""

import pytest
from yarl import URL

from openrouter_async.transport.no_proxy import NoProxy
from openrouter_async.transport.proxies import Proxies, Proxy


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("203.0.113.64/26", "http://203.0.113.127:9000/v1"),
        ("203.0.113.99/26", "https://203.0.113.64"),
        ("172.16.0.0/12", "https://[::ffff:172.31.9.9]/"),
        ("0.0.0.0/0", "https://203.0.113.1"),
        ("203.0.113.7/32", "https://203.0.113.7"),
        ("2001:db8:7::/48", "https://[2001:db8:7:1::5]:8443/"),
        ("[2001:db8:7::]/48", "https://[2001:db8:7:1::5]"),
        ("[2001:DB8:7::1]", "https://[2001:db8:7:0::1]"),
        ("2001:db8:7::1", "https://[2001:db8:7:0::1]"),
        ("fe80::/10", "http://[fe80::7%25eth0]:80/"),
        ("203.0.113.7", "https://203.0.113.7:8443"),
        ("203.0.113.7:8443", "https://203.0.113.7:8443"),
        ("203.0.113.0/24:8443", "https://203.0.113.7:8443"),
        ("[2001:db8:7::1]:443", "https://[2001:db8:7::1]"),
        ("corp.test", "https://corp.test"),
        ("corp.test", "https://llm.eu.corp.test:1"),
        (".corp.test", "https://llm.corp.test"),
        (".corp.test", "https://corp.test"),
        ("*.corp.test", "https://llm.corp.test"),
        ("CORP.test.", "https://LLM.corp.test./"),
        ("corp.test:443", "https://llm.corp.test"),
        (".corp.test:8080", "http://llm.corp.test:8080"),
        ("bücher.test", "https://xn--bcher-kva.test"),
        ("xn--bcher-kva.test", "https://api.bücher.test"),
        ("a.test, b.test\tcorp.test,,", "https://corp.test"),
        ("a.test 203.0.113.0/24", "https://203.0.113.7"),
        ("*", "https://corp.test"),
        ("a.test, *", "https://[2001:db8::1]"),
    ],
)
def test_entry_excludes_the_host(entries: str, url: str) -> None:
    assert NoProxy(entries).matches(URL(url))


def test_upper_case_in_an_encoded_url_is_ignored() -> None:
    url = URL("https://LLM.Corp.test/v1", encoded=True)

    assert NoProxy("corp.TEST").matches(url)


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("", "https://corp.test"),
        (" , ", "https://corp.test"),
        (".", "https://corp.test"),
        ("203.0.113.64/26", "http://203.0.113.128"),
        ("203.0.113.64/26", "https://203.0.113.64.corp.test"),
        ("2001:db8:7::/48", "https://[2001:db8:8::5]"),
        ("2001:db8:7::/48", "https://203.0.113.7"),
        ("::/0", "https://203.0.113.7"),
        ("203.0.113.7:8443", "https://203.0.113.7"),
        ("203.0.113.0/24:8443", "https://203.0.113.7"),
        ("[2001:db8:7::1]:443", "https://[2001:db8:7::1]:444"),
        ("203.0.113.0/33", "https://203.0.113.7"),
        ("203.0.113.0/x", "https://203.0.113.7"),
        ("113.7", "https://203.0.113.7"),
        ("corp.test", "https://mycorp.test"),
        ("corp.test", "https://corp.test.example"),
        ("corp.test:80", "https://corp.test"),
        (":443", "https://corp.test"),
        ("not a host/", "https://corp.test"),
    ],
)
def test_entry_does_not_exclude_the_host(entries: str, url: str) -> None:
    assert not NoProxy(entries).matches(URL(url))


def test_environment_excludes_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://one:1")
    monkeypatch.setenv("NO_PROXY", "localhost,203.0.113.0/24,2001:db8::/32")
    proxies = Proxies(None, environment=True)

    assert proxies.choose(URL("https://203.0.113.80:4000/v1")) is None
    assert proxies.choose(URL("https://[2001:db8::80]/v1")) is None
    assert proxies.choose(URL("https://198.51.100.80/v1")) == Proxy(URL("http://one:1"))


def test_settings_of_the_system_apply_without_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On macOS and Windows, urllib reads them; the variables override them."""

    def bypass(host: str) -> bool:
        return host == "corp.test"

    module = "openrouter_async.transport.proxies"
    monkeypatch.setattr(f"{module}.getproxies_environment", dict)
    monkeypatch.setattr(f"{module}.getproxies", lambda: {"https": "http://one:1"})
    monkeypatch.setattr(f"{module}.proxy_bypass", bypass)
    proxies = Proxies(None, environment=True)

    assert proxies.choose(URL("https://corp.test:444")) is None
    assert proxies.choose(URL("https://example.test")) == Proxy(URL("http://one:1"))
