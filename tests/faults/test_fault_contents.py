"""The table of faults is complete and up to date."""

from contents import NUMBERS, README, UNTESTED, contents, missing


def test_every_fault_has_a_test_or_a_reason() -> None:
    assert missing() == []
    assert set(UNTESTED) <= set(NUMBERS)


def test_table_of_faults_is_up_to_date() -> None:
    assert README.read_text(encoding="utf-8") == contents()
