"""Parts of a message's content: text, images, audio, video and files."""

# ruff: noqa: PYI051 - open vocabularies list the known values.

import base64
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol, Required, Self, TypedDict

from attrs import define, evolve, field

from .shape import Null, Shape

# Providers accept about 20 MB inline; a larger file would fail only after its upload.
_LIMIT_BYTES: Final = 20 * 1024 * 1024

# Audio media types whose subtype is not the name of the format in a request.
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


class PathLike(Protocol):
    """A file system path, such as a `pathlib.Path`."""

    def __fspath__(self) -> str: ...


class CacheControl(TypedDict, total=False):
    """
    The end of a prompt prefix that the provider caches (Anthropic, Gemini and others).

    Attributes:
        type: Always "ephemeral".
        ttl: Lifetime of the cache entry; if absent, the provider's default, "5m".
    """

    type: Required[Literal["ephemeral"]]
    ttl: Literal["5m", "1h"] | str


class PromptCacheBreakpoint(TypedDict, total=False):
    """
    The end of a prompt prefix that OpenAI's explicit cache stores.

    Attributes:
        mode: Always "explicit".
        ttl: Lifetime of the cache entry, such as "30m"; null for the provider's
            default.
    """

    mode: Required[Literal["explicit"] | str]
    ttl: str | None


class ImageUrl(TypedDict, total=False):
    """
    The URL of an image.

    Attributes:
        url: `https://...`, or a data URL of a PNG, JPEG, WebP or GIF
            (`data:image/png;base64,...`).
        detail: Resolution at which the model sees the image.
    """

    url: Required[str]
    detail: Literal["auto", "low", "high", "original"] | str


class InputAudio(TypedDict, total=False):
    """
    An audio recording.

    Attributes:
        data: The recording in base64; URLs are not accepted.
        format: "wav", "mp3", "aiff", "aac", "ogg", "flac", "m4a", "pcm16" and others.
    """

    data: Required[str]
    format: Required[str]


class VideoUrl(TypedDict, total=False):
    """
    The URL of a video.

    Attributes:
        url: A URL that the provider can read (AI Studio: YouTube only), or a data URL.
        processing: The way in which the provider processes the video.
    """

    url: Required[str]
    processing: Literal["agentic", "static"] | str


class FileSource(TypedDict, total=False):
    """
    A file, given by its content, a URL or the id of an upload.

    Attributes:
        filename: Name of the file, as the model sees it.
        file_data: A URL or a data URL.
        file_id: Id of an uploaded file.
    """

    filename: str
    file_data: str
    file_id: str


def _data_url(encoded: str, media_type: str) -> str:
    return f"data:{media_type};base64,{encoded}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _image_url(value: str | ImageUrl) -> str | ImageUrl:
    return {"url": value} if isinstance(value, str) else value


def _video_url(value: str | VideoUrl) -> str | VideoUrl:
    return {"url": value} if isinstance(value, str) else value


@define(eq=False, repr=False)
class TextPart(Shape):
    """
    A text.

    Attributes:
        type: Always "text".
        text: The text.
        cache_control: Ends a cached prefix after this part (Anthropic: at most 4 in a
            request).
        prompt_cache_breakpoint: Ends a prefix in OpenAI's explicit cache. Nullable.
    """

    type: Literal["text"] = field(default="text", kw_only=True)
    text: str
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: PromptCacheBreakpoint | Null | None = None

    def cached(self, *, ttl: Literal["5m", "1h"] | str | None = None) -> Self:
        """
        Return a copy that ends a cached prefix after this part.

        Args:
            ttl: Lifetime of the cache entry; None for the provider's default.
        """
        mark: CacheControl = {"type": "ephemeral"}
        if ttl is not None:
            mark["ttl"] = ttl
        return evolve(self, cache_control=mark)


@define(eq=False, repr=False)
class ImagePart(Shape):
    """
    An image.

    Attributes:
        type: Always "image_url".
        image_url: The image; a string is converted to `{"url": ...}`.
    """

    type: Literal["image_url"] = field(default="image_url", kw_only=True)
    image_url: str | ImageUrl = field(converter=_image_url)

    @classmethod
    def from_url(cls, url: str, *, detail: str | None = None) -> Self:
        """Create a part from a URL; `detail` is the resolution that the model sees."""
        return cls({"url": url} if detail is None else {"url": url, "detail": detail})

    @classmethod
    def from_bytes(
        cls, data: bytes, media_type: str = "image/png", *, detail: str | None = None
    ) -> Self:
        """
        Create a part from an encoded image.

        Use `from_path` for large files, because it encodes in a thread.
        """
        return cls.from_url(_data_url(_base64(data), media_type), detail=detail)

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
        Create a part from a file, which is read and encoded in a thread.

        Args:
            path: Path of the file.
            media_type: Media type; by default guessed from the file's name.
            detail: Resolution at which the model sees the image.
            limit_bytes: Maximum size of the file; 20 MiB by default.

        Raises:
            ConfigurationError: If the file is too large, or its name has no known
                extension.
            OSError: If the file cannot be read.
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
    An audio recording.

    Attributes:
        type: Always "input_audio".
        input_audio: The recording.
    """

    type: Literal["input_audio"] = field(default="input_audio", kw_only=True)
    input_audio: InputAudio

    @classmethod
    def from_bytes(cls, data: bytes, format: str) -> Self:  # noqa: A002 - API name
        """Create a part from encoded audio; `format` is "wav", "mp3" and so on."""
        return cls({"data": _base64(data), "format": format})

    @classmethod
    async def from_path(
        cls,
        path: str | PathLike,
        *,
        format: str | None = None,  # noqa: A002 - API name
        limit_bytes: int = _LIMIT_BYTES,
    ) -> Self:
        """
        Create a part from a file, which is read and encoded in a thread.

        Args:
            path: Path of the file.
            format: Audio format; by default guessed from the file's name.
            limit_bytes: Maximum size of the file; 20 MiB by default.

        Raises:
            ConfigurationError: If the file is too large, or its name has no known
                extension.
            OSError: If the file cannot be read.
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
    A video.

    Attributes:
        type: "video_url", or its legacy name "input_video".
        video_url: The video; a string is converted to `{"url": ...}`.
    """

    type: Literal["video_url", "input_video"] = field(default="video_url", kw_only=True)
    video_url: str | VideoUrl = field(converter=_video_url)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Create a part from a URL that the provider can read."""
        return cls({"url": url})

    @classmethod
    def from_bytes(cls, data: bytes, media_type: str = "video/mp4") -> Self:
        """
        Create a part from an encoded video.

        Use `from_path` for large files, because it encodes in a thread.
        """
        return cls.from_url(_data_url(_base64(data), media_type))

    @classmethod
    async def from_path(
        cls,
        path: str | PathLike,
        *,
        media_type: str | None = None,
        limit_bytes: int = _LIMIT_BYTES,
    ) -> Self:
        """
        Create a part from a file, which is read and encoded in a thread.

        Args:
            path: Path of the file.
            media_type: Media type; by default guessed from the file's name.
            limit_bytes: Maximum size of the file; 20 MiB by default.

        Raises:
            ConfigurationError: If the file is too large, or its name has no known
                extension.
            OSError: If the file cannot be read.
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
    A file, such as a PDF.

    Attributes:
        type: Always "file".
        file: The file.
    """

    type: Literal["file"] = field(default="file", kw_only=True)
    file: FileSource

    @classmethod
    def from_url(cls, url: str, *, filename: str | None = None) -> Self:
        """Create a part from the URL of a file."""
        source: FileSource = {} if filename is None else {"filename": filename}
        return cls({**source, "file_data": url})

    @classmethod
    def from_bytes(
        cls, data: bytes, filename: str, media_type: str = "application/pdf"
    ) -> Self:
        """
        Create a part from the bytes of a file.

        Use `from_path` for large files, because it encodes in a thread.
        """
        return cls.from_url(_data_url(_base64(data), media_type), filename=filename)

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
        Create a part from a file, which is read and encoded in a thread.

        Args:
            path: Path of the file.
            media_type: Media type; by default guessed from the file's name.
            filename: Name of the file, as the model sees it; by default that of `path`.
            limit_bytes: Maximum size of the file; 20 MiB by default.

        Raises:
            ConfigurationError: If the file is too large, or its name has no known
                extension.
            OSError: If the file cannot be read.
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
"""A part of a message's content, as an object."""

PartLike = Part | Mapping[str, Any]
"""A part of a message's content; a mapping is sent unchanged."""
