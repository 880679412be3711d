"""The parts that a message's content may be made of."""

# ruff: noqa: PYI051 -- open vocabularies name the words that are known.

import base64
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol, Required, Self, TypedDict

from attrs import define, evolve, field

from .shape import Null, Shape

_LIMIT_BYTES: Final = 20 * 1024 * 1024
# What providers take inline is some 20 MB at most; what is larger fails after the
# upload.

_FORMATS: Final = {
    "mpeg": "mp3",
    "mp4": "m4a",
    "x-m4a": "m4a",
    "x-wav": "wav",
    "vnd.wave": "wav",
    "wave": "wav",
    "x-aiff": "aiff",
    "x-flac": "flac",
    "x-aac": "aac",
}
# Audio's media types that do not end as the wire names the format.


class PathLike(Protocol):
    """A file system path, such as a `pathlib.Path`."""

    def __fspath__(self) -> str: ...


class CacheControl(TypedDict, total=False):
    """
    Where a provider may cut the prompt for its cache (Anthropic, Gemini, ...).

    Attributes:
        type: Always "ephemeral".
        ttl: How long the entry lives; absent: the provider's default, "5m".
    """

    type: Required[Literal["ephemeral"]]
    ttl: Literal["5m", "1h"] | str


class PromptCacheBreakpoint(TypedDict, total=False):
    """
    Where OpenAI's explicit cache may cut the prompt.

    Attributes:
        mode: Always "explicit".
        ttl: How long the entry lives, such as "30m"; null: the provider's default.
    """

    mode: Required[Literal["explicit"]]
    ttl: str | None


class ImageUrl(TypedDict, total=False):
    """
    Where an image is.

    Attributes:
        url: `https://...`, or `data:image/png;base64,...` (jpeg, webp, gif too).
        detail: How closely the model looks.
    """

    url: Required[str]
    detail: Literal["auto", "low", "high", "original"] | str


class InputAudio(TypedDict, total=False):
    """
    A recording.

    Attributes:
        data: The bytes as base64; URLs are not accepted.
        format: "wav", "mp3", "aiff", "aac", "ogg", "flac", "m4a", "pcm16", ...
    """

    data: Required[str]
    format: Required[str]


class VideoUrl(TypedDict, total=False):
    """
    Where a video is.

    Attributes:
        url: A URL that the provider can read (AI Studio: YouTube only), or a data
            URL.
        processing: How the provider takes it in.
    """

    url: Required[str]
    processing: Literal["agentic", "static"] | str


class FileSource(TypedDict, total=False):
    """
    A file, by content or by id.

    Attributes:
        filename: Its name, as the model is told.
        file_data: A URL or a data URL.
        file_id: The id of an uploaded file.
    """

    filename: str
    file_data: str
    file_id: str


def _data_url(encoded: str, media_type: str) -> str:
    return f"data:{media_type};base64,{encoded}"


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _image_url(value: str | ImageUrl) -> str | ImageUrl:
    return {"url": value} if isinstance(value, str) else value


def _video_url(value: str | VideoUrl) -> str | VideoUrl:
    return {"url": value} if isinstance(value, str) else value


@define(eq=False, repr=False)
class TextPart(Shape):
    """
    Words.

    Attributes:
        type: Always "text".
        text: The words.
        cache_control: Ends a cached prefix here (Anthropic: at most 4 in all).
        prompt_cache_breakpoint: The same for OpenAI's explicit cache; nullable.
    """

    type: Literal["text"] = field(default="text", kw_only=True)
    text: str
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: PromptCacheBreakpoint | Null | None = None

    def cached(self, *, ttl: Literal["5m", "1h"] | str | None = None) -> Self:
        """
        Return the same words with a mark that ends a cached prefix here.

        Args:
            ttl: How long the entry lives; the provider's default unless given.
        """
        mark: CacheControl = {"type": "ephemeral"}
        if ttl is not None:
            mark["ttl"] = ttl
        return evolve(self, cache_control=mark)


@define(eq=False, repr=False)
class ImagePart(Shape):
    """
    An image to look at.

    Attributes:
        type: Always "image_url".
        image_url: Where it is; a plain string is its `url`.
    """

    type: Literal["image_url"] = field(default="image_url", kw_only=True)
    image_url: str | ImageUrl = field(converter=_image_url)

    @classmethod
    def from_url(cls, url: str, *, detail: str | None = None) -> Self:
        """Show the image at a URL; `detail` is how closely the model looks."""
        return cls({"url": url} if detail is None else {"url": url, "detail": detail})

    @classmethod
    def from_bytes(
        cls, data: bytes, media_type: str = "image/png", *, detail: str | None = None
    ) -> Self:
        """Show an image that is at hand; large ones are better encoded in a thread."""
        return cls.from_url(_data_url(_encoded(data), media_type), detail=detail)

    @classmethod
    async def from_path(
        cls,
        path: str | PathLike,
        *,
        media_type: str | None = None,
        detail: str | None = None,
        limit_bytes: int = _LIMIT_BYTES,
    ) -> Self:
        """
        Show an image from a file, read and encoded in a thread.

        Args:
            path: The file.
            media_type: By its name unless given.
            detail: How closely the model looks.
            limit_bytes: The largest file taken; 20 MiB.

        Raises:
            ConfigurationError: It is larger, or its name tells no media type.
            OSError: It cannot be read.
        """
        from ..files import encode_file

        return await encode_file(
            path,
            media_type,
            limit_bytes,
            lambda encoded, _name, media: cls.from_url(
                _data_url(encoded, media), detail=detail
            ),
        )


@define(eq=False, repr=False)
class AudioPart(Shape):
    """
    A recording to listen to.

    Attributes:
        type: Always "input_audio".
        input_audio: The recording.
    """

    type: Literal["input_audio"] = field(default="input_audio", kw_only=True)
    input_audio: InputAudio

    @classmethod
    def from_bytes(cls, data: bytes, format: str) -> Self:  # noqa: A002 -- wire's name
        """Play a recording that is at hand; `format` is "wav", "mp3", ..."""
        return cls({"data": _encoded(data), "format": format})

    @classmethod
    async def from_path(
        cls,
        path: str | PathLike,
        *,
        format: str | None = None,  # noqa: A002 -- the wire's name
        limit_bytes: int = _LIMIT_BYTES,
    ) -> Self:
        """
        Play a recording from a file, read and encoded in a thread.

        Args:
            path: The file.
            format: By its name unless given.
            limit_bytes: The largest file taken; 20 MiB.

        Raises:
            ConfigurationError: It is larger, or its name tells no format.
            OSError: It cannot be read.
        """
        from ..files import encode_file

        def build(encoded: str, _name: str, media: str) -> Any:
            kind = media.partition("/")[2]
            return cls({"data": encoded, "format": _FORMATS.get(kind, kind)})

        given = None if format is None else f"audio/{format}"
        return await encode_file(path, given, limit_bytes, build)


@define(eq=False, repr=False)
class VideoPart(Shape):
    """
    A video to watch.

    Attributes:
        type: "video_url"; "input_video" is its legacy name.
        video_url: Where it is; a plain string is its `url`.
    """

    type: Literal["video_url", "input_video"] = field(default="video_url", kw_only=True)
    video_url: str | VideoUrl = field(converter=_video_url)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Show the video at a URL that the provider can read."""
        return cls({"url": url})

    @classmethod
    def from_bytes(cls, data: bytes, media_type: str = "video/mp4") -> Self:
        """Show a video that is at hand; large ones are better encoded in a thread."""
        return cls.from_url(_data_url(_encoded(data), media_type))

    @classmethod
    async def from_path(
        cls,
        path: str | PathLike,
        *,
        media_type: str | None = None,
        limit_bytes: int = _LIMIT_BYTES,
    ) -> Self:
        """
        Show a video from a file, read and encoded in a thread.

        Args:
            path: The file.
            media_type: By its name unless given.
            limit_bytes: The largest file taken; 20 MiB.

        Raises:
            ConfigurationError: It is larger, or its name tells no media type.
            OSError: It cannot be read.
        """
        from ..files import encode_file

        return await encode_file(
            path,
            media_type,
            limit_bytes,
            lambda encoded, _name, media: cls.from_url(_data_url(encoded, media)),
        )


@define(eq=False, repr=False)
class FilePart(Shape):
    """
    A file to read, a PDF above all.

    Attributes:
        type: Always "file".
        file: The file.
    """

    type: Literal["file"] = field(default="file", kw_only=True)
    file: FileSource

    @classmethod
    def from_url(cls, url: str, *, filename: str | None = None) -> Self:
        """Give the file at a URL to read."""
        source: FileSource = {} if filename is None else {"filename": filename}
        return cls({**source, "file_data": url})

    @classmethod
    def from_bytes(
        cls, data: bytes, filename: str, media_type: str = "application/pdf"
    ) -> Self:
        """Give a file that is at hand; large ones are better encoded in a thread."""
        return cls.from_url(_data_url(_encoded(data), media_type), filename=filename)

    @classmethod
    async def from_path(
        cls,
        path: str | PathLike,
        *,
        media_type: str | None = None,
        filename: str | None = None,
        limit_bytes: int = _LIMIT_BYTES,
    ) -> Self:
        """
        Give a file to read, which is read and encoded in a thread.

        Args:
            path: The file.
            media_type: By its name unless given.
            filename: What the model is told; the file's own name unless given.
            limit_bytes: The largest file taken; 20 MiB.

        Raises:
            ConfigurationError: It is larger, or its name tells no media type.
            OSError: It cannot be read.
        """
        from ..files import encode_file

        return await encode_file(
            path,
            media_type,
            limit_bytes,
            lambda encoded, name, media: cls.from_url(
                _data_url(encoded, media), filename=filename or name
            ),
        )


Part = TextPart | ImagePart | AudioPart | VideoPart | FilePart
"""A part of a message, as a class."""

PartLike = Part | Mapping[str, Any]
"""A part of a message; a mapping goes out as it is."""
