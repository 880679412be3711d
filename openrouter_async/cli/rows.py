"""The rows of `openrouter-async batch`: lines of a file or of stdin, as requests."""

import asyncio
import json
import os
import stat
import string
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from attrs import define, field

from openrouter_async.batch import BatchItem, Item
from openrouter_async.batch.rows.items import Broken
from openrouter_async.errors import ConfigurationError

from .exit_codes import CommandError, ExitCode

STDIN = "-"
_BLOCK = 256 * 1024
# A row may hold pictures.
_LONGEST_LINE = 256 * 1024 * 1024


@define
class Rows:
    """
    Lines of JSON, each a row; with a template, the fields that are put into it.

    Attributes:
        name: A path; "-" is stdin.
        template: The prompt, with `{field}`s; None: a line is a request.
        limit: How many are taken; None: all.
        size: How many bytes of the file are read; what comes later may be our own.
    """

    name: str
    template: str | None = None
    limit: int | None = None
    size: int = field(init=False, default=0)
    _count: int | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        if self.template is not None:
            _check(self.template)
        try:
            if self.name != STDIN:
                with Path(self.name).open("rb") as file:
                    self._measure(file)
            elif _is_file():
                self._measure(sys.stdin.buffer)
                sys.stdin.buffer.seek(0)
        except OSError as error:
            raise CommandError(
                f"can not read {self.name}: {error.strerror}.", ExitCode.USAGE
            ) from error

    def _measure(self, file: BinaryIO) -> None:
        count = 0
        last = b"\n"
        while block := file.read(_BLOCK):
            count += block.count(b"\n")
            self.size += len(block)
            last = block[-1:]
        count += last != b"\n"
        self._count = count if self.limit is None else min(count, self.limit)

    def __length_hint__(self) -> int:
        """How many there are, where that is known."""
        return NotImplemented if self._count is None else self._count

    async def __aiter__(self) -> AsyncIterator[Item]:
        """Read them one after the other."""
        number = taken = 0
        lines = self._lines()
        try:
            async for line in lines:
                number += 1
                if not line.strip():
                    continue
                if self.limit is not None and taken >= self.limit:
                    return
                taken += 1
                yield self._row(line, number)
        finally:
            await lines.aclose()

    async def _lines(self) -> AsyncGenerator[bytes]:
        if self.name == STDIN and not _is_file():
            async for line in _pipe():
                yield line
            return
        file = sys.stdin.buffer if self.name == STDIN else Path(self.name).open("rb")  # noqa: ASYNC230, SIM115 - local, in blocks
        left = self.size
        try:
            while left > 0:
                lines = await asyncio.to_thread(file.readlines, _BLOCK)
                for line in lines:
                    if left > 0:
                        yield line
                    left -= len(line)
                if not lines:
                    return
        finally:
            if self.name != STDIN:
                file.close()

    def _row(self, line: bytes, number: int) -> Item:
        where = f"{self.name}, line {number}"
        try:
            found: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            return _broken(line, f"{where}: {error}")
        if self.template is None:
            return cast("Item", found)
        fields: Mapping[str, Any] = (
            cast("Mapping[str, Any]", found)
            if isinstance(found, dict)
            else {"text": found}
        )
        try:
            prompt = self.template.format_map(fields)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            return _broken(line, f"{where} has no field {error}.")
        name = fields.get("custom_id")
        body = {"messages": [{"role": "user", "content": prompt}]}
        return BatchItem(name if isinstance(name, str) else None, body)


def _broken(line: bytes, why: str) -> Item:
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    return cast("Item", Broken(text, ConfigurationError(why)))


def _check(template: str) -> None:
    try:
        list(string.Formatter().parse(template))
    except ValueError as error:
        raise CommandError(
            f"--prompt: {error}; a brace that is meant is written twice.",
            ExitCode.USAGE,
        ) from error


def _is_file() -> bool:
    return stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)


async def _pipe() -> AsyncGenerator[bytes]:
    """Read stdin without a thread, which nobody could end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    try:
        while line := await reader.readline():
            yield line
    finally:
        transport.close()
