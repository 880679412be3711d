"""The journal: its lock, its repair after a crash, its lines, its failures file."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import filelock
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_async import (
    BatchResult,
    ConfigurationError,
    JournalError,
    read_journal,
)
from openrouter_async.batch import errors_path
from openrouter_async.batch.journal import (
    Journal,
    count_failures,
    is_row_line,
    journals_of,
)
from openrouter_async.batch.jsonl import JsonLinesFile
from openrouter_async.batch.rows.hash_index import HashMap64
from openrouter_async.batch.rows.items import name_key
from openrouter_async.batch.rows.results import failure_line, result_line
from openrouter_async.protocol.encode import encode
from openrouter_async.protocol.response_objects import read_response
from openrouter_async.testing import completion


def row(number: int) -> bytes:
    response = read_response(
        dict(completion(f"reply {number}", id=f"gen-{number}", created=1))
    )
    result = BatchResult(number, f"r{number}", response, cost=0.5, attempts=1)
    return encode(result_line(result, f"r{number}", number, 0.0)) + b"\n"


def failure(number: int, message: str = "no") -> bytes:
    result = BatchResult(number, f"r{number}", error=ConfigurationError(message))
    line = {**failure_line(result, f"r{number}"), "body": {"model": "m"}}
    return encode(line) + b"\n"


def names(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_rows_that_were_written_are_done_when_the_journal_is_opened_again(
    path: Path,
) -> None:
    journal = Journal(path)
    journal.open()
    journal.write(row(1) + row(2), b"")
    journal.close()
    journal.close()

    again = Journal(path)
    again.open()
    assert len(again.done) == 2
    assert again.done.get(name_key("r2")) == 2
    assert again.done.get(name_key("r3")) is None
    assert again.spent == 1.0
    again.close()
    assert [result.text for result in read_journal(path)] == ["reply 1", "reply 2"]


def test_failures_file_exists_only_while_it_has_a_row(path: Path) -> None:
    journal = Journal(path)
    journal.open()
    journal.write(row(1), b"")
    journal.close()
    assert not errors_path(path).exists()

    journal.open()
    journal.write(b"", failure(2))
    journal.close()
    assert names(errors_path(path)) == ["r2"]

    journal.open()
    journal.write(row(2), b"")
    journal.mark_succeeded("r2", 2, 2, b"{}")
    journal.close()
    assert not errors_path(path).exists()


def test_close_keeps_the_last_line_of_each_row_that_still_fails(path: Path) -> None:
    errors_path(path).write_bytes(failure(1) + failure(2, "old") + b"what?\n")
    journal = Journal(path)
    journal.open()
    journal.write(row(1), failure(2, "new") + failure(3))
    journal.mark_succeeded("r1", 1, 1, b"{}")
    journal.close()

    lines = errors_path(path).read_bytes()
    assert lines == b"what?\n" + failure(2, "new") + failure(3)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "out.errors.jsonl",
        "out.jsonl",
        "out.jsonl.lock",
    ]


def test_failures_file_that_cannot_be_compacted_stays_and_unlocks_the_journal(
    path: Path,
) -> None:
    journal = Journal(path)
    journal.open()
    journal.write(b"", failure(1))
    errors_path(path).with_name("out.errors.jsonl.tmp").mkdir()

    with pytest.raises(JournalError, match="Cannot use the journal"):
        journal.close()

    assert errors_path(path).read_bytes() == failure(1)
    again = Journal(path)
    again.open()
    with pytest.raises(JournalError, match="Cannot use the journal"):
        again.close()


def test_journal_can_be_opened_by_one_run_at_a_time(path: Path) -> None:
    first, second = Journal(path), Journal(path)
    first.open()
    with pytest.raises(JournalError, match="in use by another run"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_incomplete_last_line_is_truncated_wherever_it_was_cut(path: Path) -> None:
    # The cut that removes only the newline leaves a complete line.
    for cut in range(len(row(2)) - 1):
        path.write_bytes(row(1) + row(2)[:cut])
        file = JsonLinesFile(path, (b'{"id":',), is_row_line)
        file.append(row(2))
        file.close()

        assert path.read_bytes() == row(1) + row(2)


def test_row_of_an_incomplete_last_line_is_not_done(path: Path) -> None:
    path.write_bytes(row(1) + row(2)[:-2])
    journal = Journal(path)
    journal.open()
    assert len(journal.done) == 1
    journal.close()

    assert path.read_bytes() == row(1)


@pytest.mark.parametrize("end", [b"", b"\r", b" \t", b"\r\n\r\n", b"\n  "])
def test_complete_last_line_without_newline_is_kept(path: Path, end: bytes) -> None:
    """Editors and other programs remove the last newline."""
    path.write_bytes(row(4) + row(5)[:-1] + end)
    errors_path(path).write_bytes(failure(6)[:-1])
    assert [result.custom_id for result in read_journal(path)] == ["r4", "r5"]
    journal = Journal(path)
    journal.open()
    journal.write(row(7), failure(8))
    assert len(journal.done) == 2
    journal.close()

    found = [result.custom_id for result in read_journal(path)]
    assert found == ["r4", "r5", "r7"]
    assert names(errors_path(path)) == ["r6", "r8"]


@pytest.mark.parametrize(
    ("tail", "kept"), [(b'{"a":2}', b'{"a":2}\n'), (b'{"a":', b""), (b'{"a":[]', b"")]
)
def test_file_of_any_lines_keeps_a_complete_last_line(
    path: Path, tail: bytes, kept: bytes
) -> None:
    path.write_bytes(b'{"a":1}\n' + tail)
    JsonLinesFile(path, (b'{"a":',)).close()

    assert path.read_bytes() == b'{"a":1}\n' + kept


def test_failure_is_resolved_by_a_response_to_the_same_row_only(path: Path) -> None:
    def line(index: int, fingerprint: int = 0) -> bytes:
        result = BatchResult(index, "same", error=ConfigurationError("no"))
        body = {"messages": [f"prompt {index}"]}
        return (
            encode({**failure_line(result, "same", fingerprint), "body": body}) + b"\n"
        )

    only_named = b'{"custom_id":"same","body":{}}\n'
    errors_path(path).write_bytes(line(1, 11) + line(2, 22) + line(3) + only_named)
    journal = Journal(path)
    journal.open()
    journal.mark_succeeded("other", 11, 1, b"{}")
    journal.mark_succeeded("same", 99, 8, b"{}")
    assert journal.failed_before("same", 22, 9)
    assert journal.failed_before("same", 0, 3)
    assert not journal.failed_before("same", 23, 9)
    journal.close()
    # The last line has only a name.
    assert errors_path(path).read_bytes() == line(1, 11) + line(2, 22) + line(3)

    journal.open()
    journal.mark_succeeded("same", 11, 1, b"{}")
    # A row that failed because of a parameter: its messages are the same.
    journal.mark_succeeded("same", 99, 2, b'{"model":"n","messages":["prompt 2"]}')
    journal.close()
    assert errors_path(path).read_bytes() == line(3)

    journal.open()
    journal.mark_succeeded("same", 99, 3, b"{}")
    journal.close()
    assert not errors_path(path).exists()


def test_failures_of_a_run_that_was_killed_are_resolved_by_the_journal(
    path: Path,
) -> None:
    path.write_bytes(row(1))
    result = BatchResult(1, "r1", error=ConfigurationError("no"))
    failed = [
        encode(failure_line(result, "r1", fingerprint)) + b"\n"
        for fingerprint in (1, 2, 0)
    ]
    errors_path(path).write_bytes(b"".join(failed))
    journal = Journal(path)
    journal.open()
    journal.close()

    assert errors_path(path).read_bytes() == failed[1]
    assert count_failures(path) == {"ConfigurationError": 1}


def test_journal_that_is_not_a_regular_file_is_rejected(path: Path) -> None:
    os.mkfifo(path)

    with pytest.raises(JournalError, match="not a regular file"):
        Journal(path).open()


def test_name_too_long_for_the_compacted_file_is_rejected_at_the_start(
    path: Path,
) -> None:
    long = path.with_name("n" * 240 + ".jsonl")

    with pytest.raises(JournalError, match="File name too long"):
        Journal(long).open()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NotImplementedError(), "does not support locks"),
        (OSError(errno.ENOLCK, "No locks available"), "does not support locks"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
    ids=repr,
)
def test_file_system_without_locks_is_reported(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def acquire(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)

    with pytest.raises(JournalError, match=message):
        Journal(path).open()


@pytest.mark.parametrize(
    ("failures", "journals"),
    [
        ("a.errors.jsonl", ["a.jsonl", "a"]),
        ("a.csv.errors.jsonl", ["a.csv.jsonl", "a.csv"]),
        (".errors.jsonl", [".jsonl"]),
        ("a.jsonl", []),
    ],
)
def test_journals_of_a_failures_file_are_found(
    path: Path, failures: str, journals: list[str]
) -> None:
    found = journals_of(path.with_name(failures))

    assert [journal.name for journal in found] == journals
    assert {errors_path(journal).name for journal in found} <= {failures}


def test_incomplete_last_line_of_the_failures_file_is_truncated(path: Path) -> None:
    errors_path(path).write_bytes(failure(1) + failure(2)[:20])
    journal = Journal(path)
    journal.open()
    journal.close()

    assert errors_path(path).read_bytes() == failure(1)


def test_incomplete_last_line_longer_than_a_block_is_truncated(path: Path) -> None:
    path.write_bytes(row(1) + b'{"id":"' + b"x" * 1_000_000)
    journal = Journal(path)
    journal.open()
    journal.close()

    assert path.read_bytes() == row(1)


@pytest.mark.parametrize(
    "content",
    [
        b"Dear diary,",
        b"Dear diary,\n",
        b'{"id":"x"}\n',
        b'{"id":"x","custom_id":"a","x_openrouter":{}}\n',
        b"[1]\n",
    ],
)
def test_file_that_is_not_a_journal_is_not_changed(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    journal = Journal(path)
    with pytest.raises(JournalError):
        journal.open()

    assert path.read_bytes() == content
    path.write_bytes(b"")
    journal.open()
    journal.close()


def test_read_journal_ignores_an_incomplete_last_line(path: Path) -> None:
    path.write_bytes(row(1) + row(2)[:50])

    assert [result.custom_id for result in read_journal(path)] == ["r1"]


def test_row_that_is_in_the_journal_twice_is_counted_once(path: Path) -> None:
    path.write_bytes(row(1) + row(1))
    journal = Journal(path)
    journal.open()
    assert journal.spent == 0.5
    journal.close()


@pytest.mark.parametrize("name", ["nowhere/out.jsonl", "."])
def test_unusable_path_is_rejected_and_no_directory_created(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(JournalError, match=r"Cannot use|does not exist"):
        Journal(tmp_path / name).open()

    assert not (tmp_path / "nowhere").exists()


def test_lock_file_that_cannot_be_created_is_reported(path: Path) -> None:
    path.with_name("out.jsonl.lock").mkdir()

    with pytest.raises(JournalError, match=r"Cannot use the journal .*out\.jsonl: "):
        Journal(path).open()


def test_write_to_a_full_disk_leaves_whole_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path)
    journal.open()
    journal.write(row(1), b"")
    write = os.write

    def full(file: int, data: Any) -> int:
        if len(data) < len(row(2)):
            raise OSError(28, "No space left on device")
        return write(file, data[:100])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(JournalError, match="No space left"):
        journal.write(row(2), b"")
    monkeypatch.undo()
    assert path.read_bytes() == row(1)
    journal.close()


def test_close_that_fails_releases_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path)
    journal.open()

    journal.write(row(1), b"")

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(JournalError, match="Input/output error"):
        journal.close()
    monkeypatch.undo()
    journal.open()
    journal.close()


@given(st.lists(st.tuples(st.integers(1, 2**64 - 1), st.integers(0, 2**64 - 1))))
def test_hash_map_behaves_as_a_dict(pairs: list[tuple[int, int]]) -> None:
    index, model = HashMap64(), dict[int, int]()
    for key, value in pairs:
        assert (key in index) is (key in model)
        assert index.put(key, value) is (key not in model)
        model[key] = value

    assert len(index) == len(model)
    assert all(index.get(key) == value for key, value in model.items())


def test_hash_map_grows_beyond_its_initial_size() -> None:
    index = HashMap64()
    keys = [name_key(f"{number}") for number in range(5000)]
    for number, key in enumerate(keys):
        index.put(key, number)
        index.put(key, number + 1)

    assert len(index) == 5000
    assert [index.get(key) for key in keys] == list(range(1, 5001))
    assert index.get(7) is None


@pytest.mark.parametrize(
    "extension",
    [
        {"fp": "zz"},
        {"fp": 7},
        {"fp": "1" * 17},
        {"fp": "1", "cost": "much"},
        {"fp": "1", "cost": [1]},
        {"fp": "1", "i": "x"},
        {"fp": "1", "attempts": {}},
        {"fp": "1", "ms": "soon"},
        None,
    ],
    ids=repr,
)
def test_line_with_invalid_extension_is_rejected_with_its_number(
    path: Path, extension: Any
) -> None:
    line: Any = {"id": "a", "custom_id": "a", "x_openrouter": extension}
    path.write_bytes(row(1) + encode(line) + b"\n")

    with pytest.raises(JournalError, match="line 2"):
        Journal(path).open()
    with pytest.raises(JournalError, match="line 2"):
        list(read_journal(path))


def test_response_without_usage_has_none_when_it_is_read_again(path: Path) -> None:
    response = read_response({"id": "gen-1", "choices": []})
    result = BatchResult(3, None, response, attempts=2, latency=0.25)
    path.write_bytes(encode(result_line(result, "row-3", 1, 0.0)) + b"\n")

    (again,) = read_journal(path)

    assert (again.index, again.custom_id, again.attempts) == (3, None, 2)
    assert (again.usage, again.cost, again.latency) == (None, None, 0.25)
