"""The output file: locked, repaired, read, written, tidied."""

import json
import os
from pathlib import Path
from typing import Any

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
from openrouter_async.batch.journal import Journal
from openrouter_async.batch.jsonl import JsonLinesFile
from openrouter_async.batch.rows.hash_index import HashMap64
from openrouter_async.batch.rows.items import name_key
from openrouter_async.batch.rows.results import failure_line, result_line
from openrouter_async.protocol.decode import read_response
from openrouter_async.protocol.encode import encode
from openrouter_async.testing import completion


def row(number: int) -> bytes:
    response = read_response(
        dict(completion(f"reply {number}", id=f"gen-{number}", created=1))
    )
    result = BatchResult(number, f"r{number}", response, cost=0.5, attempts=1)
    return encode(result_line(result, f"r{number}", number, 0.0)) + b"\n"


def failure(number: int, message: str = "no") -> bytes:
    result = BatchResult(number, f"r{number}", error=ConfigurationError(message))
    return encode(failure_line(result, f"r{number}", {"model": "m"})) + b"\n"


def names(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_what_is_written_is_done(path: Path) -> None:
    """The next one to open it knows the rows, their requests and what they cost."""
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


def test_without_a_failure_there_is_no_file_of_them(path: Path) -> None:
    """And it goes when the last of them has succeeded."""
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
    journal.succeeded(name_key("r2"))
    journal.close()
    assert not errors_path(path).exists()


def test_failures_are_tidied(path: Path) -> None:
    """One line for each row that has not succeeded since, the last one."""
    errors_path(path).write_bytes(failure(1) + failure(2, "old") + b"what?\n")
    journal = Journal(path)
    journal.open()
    journal.write(row(1), failure(2, "new") + failure(3))
    journal.succeeded(name_key("r1"))
    journal.close()

    lines = errors_path(path).read_bytes()
    assert lines == b"what?\n" + failure(2, "new") + failure(3)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "out.errors.jsonl",
        "out.jsonl",
        "out.jsonl.lock",
    ]


def test_failures_that_can_not_be_tidied_are_told(path: Path) -> None:
    """They stay as they are, and the journal is let go of."""
    journal = Journal(path)
    journal.open()
    journal.write(b"", failure(1))
    errors_path(path).with_name("out.errors.jsonl.tmp").mkdir()

    with pytest.raises(JournalError, match="can not be used"):
        journal.close()

    assert errors_path(path).read_bytes() == failure(1)
    again = Journal(path)
    again.open()
    with pytest.raises(JournalError, match="can not be used"):
        again.close()


def test_one_run_at_a_time(path: Path) -> None:
    """The second one fails at once, and may come back later."""
    first, second = Journal(path), Journal(path)
    first.open()
    with pytest.raises(JournalError, match="in use by another run"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_a_torn_tail_is_cut_off_at_every_byte(path: Path) -> None:
    """Whatever a crash left of the last line, the lines before it stay."""
    for cut in range(len(row(2))):
        path.write_bytes(row(1) + row(2)[:cut])
        file = JsonLinesFile(path, (b'{"id":',))
        file.append(row(2))
        file.close()

        assert path.read_bytes() == row(1) + row(2)


def test_a_torn_tail_is_not_done(path: Path) -> None:
    """Its row is sent again."""
    path.write_bytes(row(1) + row(2)[:-1])
    journal = Journal(path)
    journal.open()
    assert len(journal.done) == 1
    journal.close()

    assert path.read_bytes() == row(1)


def test_a_torn_failure_is_cut_off_as_well(path: Path) -> None:
    """The same for the other file."""
    errors_path(path).write_bytes(failure(1) + failure(2)[:20])
    journal = Journal(path)
    journal.open()
    journal.close()

    assert errors_path(path).read_bytes() == failure(1)


def test_a_long_torn_tail_is_cut_off(path: Path) -> None:
    """A line may be longer than what is read at once."""
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
def test_another_file_is_left_as_it_is(path: Path, content: bytes) -> None:
    """A wrong path on the command line must cost nothing."""
    path.write_bytes(content)
    journal = Journal(path)
    with pytest.raises(JournalError):
        journal.open()

    assert path.read_bytes() == content
    path.write_bytes(b"")
    journal.open()
    journal.close()


def test_a_journal_that_is_being_written_can_be_read(path: Path) -> None:
    """Its last line may be half there."""
    path.write_bytes(row(1) + row(2)[:50])

    assert [result.custom_id for result in read_journal(path)] == ["r1"]


def test_the_first_of_two_lines_counts(path: Path) -> None:
    """Files that were joined may have a row twice."""
    path.write_bytes(row(1) + row(1))
    journal = Journal(path)
    journal.open()
    assert journal.spent == 0.5
    journal.close()


@pytest.mark.parametrize("place", ["nowhere/out.jsonl", "."])
def test_a_place_that_is_none_says_so(tmp_path: Path, place: str) -> None:
    """Nothing is made on the way there."""
    with pytest.raises(JournalError, match=r"can not be used|no folder"):
        Journal(tmp_path / place).open()


def test_a_lock_that_can_not_be_made_says_so(path: Path) -> None:
    """It is a file of its own, which the system may refuse."""
    path.with_name("out.jsonl.lock").mkdir()

    with pytest.raises(JournalError, match=r"out\.jsonl can not be used: "):
        Journal(path).open()


def test_a_full_disk_leaves_whole_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written of a group is taken back."""
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


def test_closing_may_fail_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And lets go of the lock all the same."""
    journal = Journal(path)
    journal.open()

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(JournalError, match="Input/output error"):
        journal.close()
    monkeypatch.undo()
    journal.open()
    journal.close()


@given(st.lists(st.tuples(st.integers(1, 2**64 - 1), st.integers(0, 2**64 - 1))))
def test_an_index_is_a_dict(pairs: list[tuple[int, int]]) -> None:
    """Of numbers to numbers; the last value of a key counts."""
    index, model = HashMap64(), dict[int, int]()
    for key, value in pairs:
        assert (key in index) is (key in model)
        assert index.put(key, value) is (key not in model)
        model[key] = value

    assert len(index) == len(model)
    assert all(index.get(key) == value for key, value in model.items())


def test_an_index_grows() -> None:
    """Far beyond its first size."""
    index = HashMap64()
    keys = [name_key(f"{number}") for number in range(5000)]
    for number, key in enumerate(keys):
        index.put(key, number)
        index.put(key, number + 1)

    assert len(index) == 5000
    assert [index.get(key) for key in keys] == list(range(1, 5001))
    assert index.get(7) is None


@pytest.mark.parametrize(
    "ours",
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
def test_a_line_of_something_else_is_refused(path: Path, ours: Any) -> None:
    """By its number; a run does not write into a file that is not its own."""
    line: Any = {"id": "a", "custom_id": "a", "x_openrouter": ours}
    path.write_bytes(row(1) + encode(line) + b"\n")

    with pytest.raises(JournalError, match="line 2"):
        Journal(path).open()
    with pytest.raises(JournalError, match="line 2"):
        list(read_journal(path))


def test_a_result_is_read_as_it_was(path: Path) -> None:
    """A reply without usage has none when it is read again."""
    response = read_response({"id": "gen-1", "choices": []})
    result = BatchResult(3, None, response, attempts=2, latency=0.25)
    path.write_bytes(encode(result_line(result, "#3", 1, 0.0)) + b"\n")

    (again,) = read_journal(path)

    assert (again.index, again.custom_id, again.attempts) == (3, None, 2)
    assert (again.usage, again.cost, again.latency) == (None, None, 0.25)
