"""Lines of files, pipes, terminals and devices, and of a stdin in any state."""

import asyncio
import io
import os
import pty
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openrouter_async import ConfigurationError
from openrouter_async.batch.line_readers import LineReader, check_stdin, open_lines

ROWS = [b"1\n", b"22\n", b"333\n"]


async def read_lines(reader: LineReader) -> list[bytes]:
    lines: list[bytes] = []
    while block := await reader.read():
        lines += block
    reader.close()
    return lines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            # The test has closed it.
            continue


def write_slowly(descriptor: int) -> None:
    for part in (b"1\n2", b"2", b"\n33", b"3\n"):
        os.write(descriptor, part)
        time.sleep(0.01)
    os.close(descriptor)


async def test_pipe_by_name_is_read_once(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    thread = threading.Thread(target=write_slowly, args=(writing,))
    thread.start()
    reader = open_lines(Path(f"/dev/fd/{reading}"))

    assert reader.count is None
    assert await read_lines(reader) == ROWS
    assert os.get_blocking(reading)
    thread.join()


async def test_fifo_without_a_writer_does_not_block_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = open_lines(path)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(), 0.05)
    reading = asyncio.create_task(read_lines(reader))
    thread = threading.Thread(
        target=lambda: write_slowly(os.open(path, os.O_WRONLY)), daemon=True
    )
    thread.start()

    assert await asyncio.wait_for(reading, 10) == ROWS
    thread.join()


async def test_pipe_that_does_not_block_is_waited_for(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(reading, False)
    first, second = (open_lines(Path(f"/proc/self/fd/{reading}")) for _ in range(2))
    tasks = [asyncio.create_task(reader.read()) for reader in (first, second)]
    await asyncio.sleep(0.01)
    # Both are told that there is data; one of them finds none.
    os.write(writing, b"x\n")
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.01)
    os.close(writing)
    lines = await asyncio.gather(*tasks)
    first.close()
    second.close()

    assert sorted(lines) == [[], [b"x\n"]]


async def test_last_line_of_a_pipe_needs_no_newline(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b"1\nlast")
    os.close(writing)

    assert await read_lines(open_lines(Path(f"/dev/fd/{reading}"))) == [b"1\n", b"last"]


async def test_line_beyond_the_limit_is_refused(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openrouter_async.batch.line_readers._MAX_LINE_BYTES", 10)
    reading, writing = pipe
    os.write(writing, b"12345678901")
    reader = open_lines(Path(f"/dev/fd/{reading}"))
    with pytest.raises(ConfigurationError, match="longer than 10 bytes"):
        await reader.read()
    reader.close()


async def test_terminal_is_read_and_stays_blocking() -> None:
    master, slave = pty.openpty()
    os.write(master, b"1\n\x04")
    lines = await read_lines(open_lines(Path(f"/dev/fd/{slave}")))

    assert lines == [b"1\n"]
    assert os.get_blocking(slave)
    os.close(master)
    os.close(slave)


async def test_device_that_cannot_be_polled_is_read() -> None:
    assert await read_lines(open_lines(Path(os.devnull))) == []


async def test_directory_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        open_lines(tmp_path)


async def test_error_of_the_reading_thread_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(io.BytesIO):
        def readline(self, _: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Broken()))
    reader = open_lines(None)
    with pytest.raises(OSError, match="Input/output error"):
        await reader.read()
    reader.close()


# --- stdin --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
async def test_redirected_file_continues_at_its_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"header\n" + b"".join(ROWS))
    saved = os.dup(0)
    with path.open("rb") as file:
        os.dup2(file.fileno(), 0)
        os.lseek(0, 7, os.SEEK_SET)
    try:
        with os.fdopen(0, closefd=False) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            reader = open_lines(None if name is None else Path(name))
            lines = await read_lines(reader)
    finally:
        os.dup2(saved, 0)
        os.close(saved)

    assert lines == ROWS
    assert reader.count == 3


async def test_line_that_the_program_has_read_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"header\n" + b"".join(ROWS))
    with path.open() as file:
        assert os.read(file.fileno(), 100) == path.read_bytes()
        file.seek(7)
        monkeypatch.setattr(sys, "stdin", file)

        assert await read_lines(open_lines(None)) == ROWS


async def test_stdin_in_memory_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.TextIOWrapper(io.BytesIO(b"".join(ROWS)))
    monkeypatch.setattr(sys, "stdin", data)

    assert await read_lines(open_lines(None)) == ROWS
    assert not data.closed


def test_closed_stdin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ConfigurationError, match="stdin is closed"):
        check_stdin()
