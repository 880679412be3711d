from openrouter_async.cli.formatting import Step, dollars, seconds


def test_durations_and_costs_are_short() -> None:
    assert [seconds(value) for value in (None, 0.0042, 1.5)] == ["", "4 ms", "1.50 s"]
    assert [dollars(value) for value in (None, 0, 1.5, 0.25, 0.0000187)] == [
        "",
        "free",
        "$1.50",
        "$0.25",
        "$0.000019",
    ]
    assert Step("none", [], 0.0).row() == ("none", "0", "0", "", "", "", "", "")
