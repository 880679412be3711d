"""Files for content parts: read, measured and encoded in a thread."""

import asyncio
import base64
import mimetypes
import os
from collections.abc import Callable
from typing import TypeVar

from .errors import ConfigurationError
from .types.parts import PathLike

T = TypeVar("T")


async def encode_file(
    path: str | PathLike,
    media_type: str | None,
    limit_bytes: int,
    build: Callable[[str, str, str], T],
) -> T:
    """
    Read a file and make a part of it.

    Args:
        path: The file.
        media_type: By its name unless given.
        limit_bytes: The largest file taken.
        build: Makes the part of base64, the file's name and its media type.

    Raises:
        ConfigurationError: It is larger, or its name tells no media type.
        OSError: It cannot be read.
    """
    return await asyncio.to_thread(_encode_file, path, media_type, limit_bytes, build)


def _encode_file(
    path: str | PathLike,
    media_type: str | None,
    limit_bytes: int,
    build: Callable[[str, str, str], T],
) -> T:
    place = os.fspath(path)
    name = os.path.basename(place)  # noqa: PTH119 -- pathlib would be another import
    media = media_type or mimetypes.guess_type(name, strict=False)[0]
    if media is None:
        raise ConfigurationError(
            f"{name!r} does not tell what it is; give its media type."
        )
    with open(place, "rb") as file:  # noqa: PTH123 -- likewise
        # One byte more than allowed: a size that was asked for may be old.
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise ConfigurationError(
            f"{name!r} is larger than {limit_bytes} bytes (limit_bytes=). "
            "Large files go by URL, where the provider takes one."
        )
    return build(base64.b64encode(data).decode("ascii"), name, media)
