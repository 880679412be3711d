"""The table of contents is as the tests are, and every fault is in it."""

from contents import ELSEWHERE, NUMBERS, PLACE, contents, missing


def test_every_fault_is_covered() -> None:
    """Each fault of the list has a row, a test, or a reason why not."""
    assert missing() == []
    assert set(ELSEWHERE) <= set(NUMBERS)


def test_the_table_of_contents_is_not_stale() -> None:
    """`python tests/faults/contents.py` has nothing to write."""
    assert PLACE.read_text(encoding="utf-8") == contents()
