"""Files for content parts: read and encoded as base64 in a thread."""

import base64
import mimetypes
import os
from collections.abc import Callable
from typing import TypeVar

from .errors import ConfigurationError
from .threads import FILE_THREADS
from .types.parts import PathLike

T = TypeVar("T")


async def encode_file(
    path: str | PathLike,
    media_type: str | None,
    limit_bytes: int,
    build: Callable[[str, str, str], T],
) -> T:
    """
    Read a file and build a content part from it, in a thread.

    Args:
        path: Path of the file.
        media_type: Media type; by default guessed from the file's name.
        limit_bytes: Maximum size of the file.
        build: Function that builds the part from the base64 text, the file's name and
            its media type.

    Raises:
        ConfigurationError: If the file is too large, or its name has no known
            extension.
        OSError: If the file cannot be read.
    """
    return await FILE_THREADS.run(_encode_file, path, media_type, limit_bytes, build)


def _encode_file(
    path: str | PathLike,
    media_type: str | None,
    limit_bytes: int,
    build: Callable[[str, str, str], T],
) -> T:
    path = os.fspath(path)
    name = os.path.basename(path)  # noqa: PTH119 - pathlib takes time to import
    media = media_type or mimetypes.guess_type(name, strict=False)[0]
    if media is None:
        raise ConfigurationError(
            f"Cannot guess the media type of {name!r} from its extension: pass "
            "media_type=, or format= for audio."
        )
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes time to import
        # One byte more than allowed: the file may grow after its size was read.
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise ConfigurationError(
            f"{name!r} is larger than {limit_bytes} bytes. Raise limit_bytes=, or "
            "upload the file and pass its URL."
        )
    return build(base64.b64encode(data).decode("ascii"), name, media)
