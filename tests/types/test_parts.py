"""Content parts from paths, bytes and URLs."""

import asyncio
import base64
import threading
from pathlib import Path
from typing import Any

import pytest

from openrouter_async import (
    AsyncOpenRouter,
    AudioPart,
    ConfigurationError,
    FilePart,
    ImagePart,
    TextPart,
    UserMessage,
    VideoPart,
)
from openrouter_async.testing import LocalOpenRouter

DATA = b"\x00\xff some bytes"
BASE64 = base64.b64encode(DATA).decode()


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Return a function that writes DATA to a file of the given name."""

    def write(name: str) -> Path:
        path = tmp_path / name
        path.write_bytes(DATA)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("a.png", "image/png"),
        ("a.JPG", "image/jpeg"),
        ("a.gif", "image/gif"),
        ("a.webp", "image/webp"),
    ],
)
async def test_image_from_path_guesses_the_media_type(
    make: Any, name: str, media: str
) -> None:
    part = await ImagePart.from_path(make(name), detail="low")

    url = f"data:{media};base64,{BASE64}"
    assert part == ImagePart({"url": url, "detail": "low"})
    assert await ImagePart.from_path(str(make(name))) == ImagePart(url)


async def test_unknown_extension_needs_a_media_type(make: Any) -> None:
    path = make("picture")

    part = await ImagePart.from_path(path, media_type="image/png")

    assert part == ImagePart(f"data:image/png;base64,{BASE64}")
    with pytest.raises(ConfigurationError, match="'picture'"):
        await ImagePart.from_path(path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.wav", "wav"),
        ("a.mp3", "mp3"),
        ("a.m4a", "m4a"),
        ("a.flac", "flac"),
        ("a.aiff", "aiff"),
        ("a.aac", "aac"),
        ("a.ogg", "ogg"),
    ],
)
async def test_audio_from_path_uses_the_api_name_of_the_format(
    make: Any, name: str, kind: str
) -> None:
    part = await AudioPart.from_path(make(name))

    assert part == AudioPart({"data": BASE64, "format": kind})


async def test_audio_format_overrides_the_extension(make: Any) -> None:
    part = await AudioPart.from_path(make("a.raw"), format="pcm16")

    assert part == AudioPart.from_bytes(DATA, "pcm16")


async def test_video_and_file_from_path_become_data_urls(make: Any) -> None:
    video = await VideoPart.from_path(make("a.mp4"))
    file = await FilePart.from_path(make("a.pdf"))
    other = await FilePart.from_path(make("b.pdf"), filename="c.pdf")

    pdf = f"data:application/pdf;base64,{BASE64}"
    assert video == VideoPart(f"data:video/mp4;base64,{BASE64}")
    assert file == FilePart({"filename": "a.pdf", "file_data": pdf})
    assert other == FilePart({"filename": "c.pdf", "file_data": pdf})


@pytest.mark.parametrize("part", [ImagePart, VideoPart, FilePart])
async def test_file_larger_than_the_limit_is_rejected(make: Any, part: Any) -> None:
    """The limit is exact, and the error names its keyword."""
    path = make("a.png")

    await part.from_path(path, limit_bytes=len(DATA))
    with pytest.raises(ConfigurationError, match="limit_bytes"):
        await part.from_path(path, limit_bytes=len(DATA) - 1)


async def test_missing_file_raises_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await ImagePart.from_path(tmp_path / "none.png")


async def test_file_is_read_and_encoded_in_a_thread(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    encode = base64.b64encode

    def watched(data: bytes) -> bytes:
        threads.append(threading.current_thread())
        return encode(data)

    monkeypatch.setattr(base64, "b64encode", watched)
    parts = [ImagePart.from_path(make("a.png")), FilePart.from_path(make("a.pdf"))]
    await asyncio.gather(*parts)

    assert len(threads) == 2
    assert threading.current_thread() not in threads


def test_from_bytes_encodes_as_base64() -> None:
    pdf = f"data:application/pdf;base64,{BASE64}"

    assert ImagePart.from_bytes(DATA) == ImagePart(f"data:image/png;base64,{BASE64}")
    assert ImagePart.from_bytes(DATA, "image/gif", detail="high") == ImagePart(
        {"url": f"data:image/gif;base64,{BASE64}", "detail": "high"}
    )
    assert AudioPart.from_bytes(DATA, "mp3").input_audio["data"] == BASE64
    assert VideoPart.from_bytes(DATA) == VideoPart(f"data:video/mp4;base64,{BASE64}")
    assert FilePart.from_bytes(DATA, "a.pdf") == FilePart(
        {"filename": "a.pdf", "file_data": pdf}
    )


def test_from_url_keeps_the_url() -> None:
    url = "https://x.test/a"

    assert ImagePart.from_url(url, detail="auto") == ImagePart(
        {"url": url, "detail": "auto"}
    )
    assert ImagePart.from_url(url) == ImagePart(url)
    assert VideoPart.from_url(url) == VideoPart(url)
    assert FilePart.from_url(url) == FilePart({"file_data": url})
    assert FilePart.from_url(url, filename="a.pdf") == FilePart(
        {"file_data": url, "filename": "a.pdf"}
    )


async def test_cached_text_is_sent_with_cache_control(
    server: LocalOpenRouter, client: AsyncOpenRouter
) -> None:
    """The original part is unchanged."""
    part = TextPart("A long text")

    await client.chat.send(
        messages=[UserMessage([part.cached(), part.cached(ttl="1h"), part])]
    )

    first, second, third = server.requests[0].json["messages"][0]["content"]
    assert first["cache_control"] == {"type": "ephemeral"}
    assert second["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert third == {"type": "text", "text": "A long text"}
