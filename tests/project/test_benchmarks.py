"""The inputs of the benchmarks, their server, contenders, harness and tables."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

# `benchmarks` is not installed, and plain `pytest` does not add the root to the path.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import checks, environments, harness, inputs, markdown, report, server
from benchmarks.calls import Complete
from benchmarks.case import Job, Sample
from benchmarks.contender import (
    BARE,
    HANDWRITTEN,
    OPENAI,
    OURS,
    OURS_CHOICES,
    OURS_RAW,
    load,
)
from benchmarks.handwritten import Handwritten
from benchmarks.results import CaseResults, Result
from benchmarks.rows import run_handwritten, run_send_many
from benchmarks.settings import AS_INSTALLED, EQUAL_MALLOC, PYTHON_3_12, UVLOOP

FACTS: dict[str, Any] = {
    "cpu": "CPU",
    "cores": 2,
    "system": "Linux",
    "python": "CPython 3.11",
    "rounds": 2,
    "minutes": 9.5,
    "quick": False,
    "packages": {"aiohttp": "3", "orjson": "3", "uvloop": "0"},
}


def test_inputs_are_the_same_in_every_run() -> None:
    assert inputs.text_stream(50) == inputs.text_stream(50)
    assert inputs.fold_stream(200) == inputs.fold_stream(200)
    assert inputs.completion() == inputs.completion()
    assert inputs.turns() == inputs.turns()


def test_text_events_are_320_to_340_bytes_long() -> None:
    events = inputs.text_events(1000)

    assert len(events) == 1000
    assert {len(event) for event in events} == set(range(320, 341))


def test_chunk_has_the_keys_of_recorded_traffic_in_order() -> None:
    chunk = json.loads(inputs.text_events(1)[0].removeprefix(b"data: "))

    assert list(chunk) == [
        "id",
        "object",
        "created",
        "model",
        "provider",
        "choices",
    ]
    assert list(chunk["choices"][0]) == [
        "index",
        "delta",
        "finish_reason",
        "native_finish_reason",
    ]
    assert chunk["choices"][0]["delta"].keys() == {"role", "content"}


def test_text_stream_ends_with_finish_reason_and_usage() -> None:
    events = inputs.text_stream(1000)
    *_, text, finish, usage = (json.loads(event[6:]) for event in events)

    assert len(events) == 1000
    assert text["choices"][0]["finish_reason"] is None
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"]["total_tokens"] == 1013


def test_fold_stream_has_signed_reasoning_and_eight_tool_calls() -> None:
    events = inputs.fold_stream(1000)
    signatures = 0
    arguments: dict[int, str] = {}
    for event in events:
        delta = json.loads(event[6:])["choices"][0]["delta"]
        for detail in delta.get("reasoning_details", []):
            signatures += "signature" in detail
        for call in delta.get("tool_calls", []):
            index = call["index"]
            arguments[index] = arguments.get(index, "") + call["function"]["arguments"]

    assert len(events) == 1000
    assert signatures == 1
    assert [len(json.loads(text)["keys"]) for text in arguments.values()] == [10] * 8
    assert all(length > 0 for length in inputs.fold_lengths(events))


def test_giant_event_and_completion_have_exact_sizes() -> None:
    assert len(inputs.giant_event(inputs.MIB)) == inputs.MIB
    assert len(inputs.completion()) == inputs.KIB
    assert len(inputs.completion_text()) > 100


def test_request_has_fifty_messages_with_tools_and_routing() -> None:
    body = json.loads(Handwritten.encoder()())

    roles = [message["role"] for message in body["messages"]]
    assert len(roles) == 50
    assert set(roles) == {"system", "user", "assistant", "tool"}
    assert len(body["tools"]) == 8
    assert body["provider"]["allow_fallbacks"] is False


@pytest.mark.parametrize(
    "scenario",
    ["completion", "text-100-20-1000", "fold-100", "giant-4096-1024-60", "hold"],
)
def test_server_writes_a_valid_chunked_body(scenario: str) -> None:
    plan = server.plan(scenario)
    sent = b"".join(plan.writes) + plan.held
    head, _, rest = sent.partition(b"\r\n\r\n")
    body = b""
    length = -1
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]

    assert length == 0
    assert b"Transfer-Encoding: chunked" in head
    assert json.loads(body) if scenario == "completion" else body.endswith(inputs.DONE)


def test_batch_in_the_scenario_is_the_number_of_events_per_write() -> None:
    plan = server.plan("text-100-20-1000")

    assert [write.count(b"\ndata: {") for write in plan.writes] == [20] * 5
    assert plan.pause_us == 1000


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """The server of the benchmarks, in this process."""
    loop = asyncio.get_running_loop()
    held: dict[server.Connection, bytes] = {}
    listening = await loop.create_server(
        lambda: server.Connection(held), "127.0.0.1", 0
    )
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("contender", [BARE, HANDWRITTEN, OURS, OURS_CHOICES, OURS_RAW])
async def test_each_contender_reads_the_same_text(url: str, contender: str) -> None:
    events = inputs.text_stream(60)
    stream = load(contender)(f"{url}/text-60-20-0/api/v1", 1)
    call = load(contender)(f"{url}/completion/api/v1", 1)

    counts = await stream.stream()
    text = await call.complete()
    await stream.aclose()
    await call.aclose()

    assert counts.chunks == 60
    assert counts.characters == inputs.text_length(events)
    assert text == inputs.completion_text()


@pytest.mark.parametrize(
    ("contender", "exceptions"),
    [
        (BARE, ["-", "-", "-", "KeyError", "-"]),
        (HANDWRITTEN, ["RuntimeError", "RuntimeError", "-", "RuntimeError", "-"]),
        (
            OURS,
            [
                "PaymentRequiredError",
                "StreamInterruptedError",
                "-",
                "PaymentRequiredError",
                "-",
            ],
        ),
    ],
)
async def test_checks_of_each_contender_are_those_of_the_readme(
    contender: str, exceptions: list[str]
) -> None:
    found = await checks.check(load(contender))

    row = f"| {contender} | " + " | ".join(exceptions) + " |"
    assert list(found.values()) == exceptions
    assert row in (environments.ROOT / "benchmarks" / "README.md").read_text()


async def test_both_worker_pools_send_all_rows(url: str, tmp_path: Path) -> None:
    length = 20 * len(inputs.completion_text())
    base_url = f"{url}/completion/api/v1"
    journal = tmp_path / "journal.jsonl"

    assert await run_handwritten(base_url, 20, 4) == length
    assert await run_send_many(base_url, 20, 4) == length
    assert await run_send_many(base_url, 20, 4, journal=journal) == length
    assert len(journal.read_bytes().splitlines()) >= 20


def test_harness_runs_each_contender_in_its_own_process() -> None:
    results = harness.participants(Complete, [EQUAL_MALLOC], peers=False)
    found = CaseResults(Complete, results)
    with harness.server() as port:
        harness.run(found, Job(port, quick=True), 1, lambda _: None)

    assert [result.contender for result in results] == [BARE, HANDWRITTEN, OURS]
    assert [result.note for result in results] == ["", "", ""]
    assert all(len(found.ratios(result)) == 1 for result in results)


def test_worker_caches_compiled_files_and_has_only_the_malloc_of_its_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")

    installed = harness.worker_variables(AS_INSTALLED)
    equal = harness.worker_variables(EQUAL_MALLOC)

    assert "PYTHONDONTWRITEBYTECODE" not in installed
    assert "MALLOC_TRIM_THRESHOLD_" not in installed
    assert equal["MALLOC_TRIM_THRESHOLD_"] == "8388608"
    assert equal["MALLOC_MMAP_THRESHOLD_"] == "4194304"


def test_other_clients_take_part_only_as_installed() -> None:
    settings = [AS_INSTALLED, EQUAL_MALLOC, UVLOOP]
    results = harness.participants(Complete, settings, peers=False)

    by_setting = {
        setting.name: [r.contender for r in results if r.setting == setting]
        for setting in settings
    }
    assert OPENAI in by_setting["as installed"]
    assert by_setting["equal malloc"] == [BARE, HANDWRITTEN, OURS]
    assert by_setting["uvloop"] == [HANDWRITTEN, OURS]


def test_environment_that_does_not_exist_is_named_in_the_note(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    result = Result(OURS, PYTHON_3_12)

    harness.run(CaseResults(Complete, [result]), Job(0), 1, lambda _: None)

    assert result.note == (
        "not installed: run `python -m benchmarks.environments python3.12`"
    )


def test_missing_version_of_python_is_reported() -> None:
    with pytest.raises(LookupError, match=r"Python 2\.99 was not found"):
        environments.find_python("2.99")


def measured() -> CaseResults:
    """Return invented results of two rounds."""

    def samples(*figures: float) -> list[Sample]:
        return [Sample(figure, 0.5, 10) for figure in figures]

    versions = {"Python": "3.11.7", "openai": "3.0"}
    return CaseResults(
        Complete,
        [
            Result(BARE, samples=samples(80, 80)),
            Result(HANDWRITTEN, samples=samples(100, 100), versions=versions),
            Result(OURS, samples=samples(60, 70), versions=versions),
            Result(OPENAI, samples=samples(1000, 1200), versions=versions),
            Result(HANDWRITTEN, EQUAL_MALLOC, samples=samples(100, 100)),
            Result(OURS, EQUAL_MALLOC, samples=samples(98, 98)),
            Result(HANDWRITTEN, UVLOOP, samples=samples(50, 50), versions=versions),
            Result(OURS, UVLOOP, samples=samples(40, 40), versions=versions),
        ],
    )


def test_outcomes_compare_medians_with_the_marks_of_each_setting() -> None:
    outcomes = measured().outcomes()

    assert [outcome.value for outcome in outcomes] == pytest.approx(
        [0.65, 0.98, 0.8125]
    )
    assert [outcome.status for outcome in outcomes] == ["met", "MISSED", "met"]


def test_results_can_be_read_from_their_json(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    report.write_json(path, FACTS, [measured()])

    assert report.read_json(path) == (FACTS, [measured()])


def test_markdown_replaces_the_text_between_the_markers(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{markdown.BEGIN}\nold\n{markdown.END}\nafter\n")

    markdown.fill(path, FACTS, [measured()])

    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert (
        "| | openrouter_async | 65 | 0.65 (0.6 to 0.7) | 0.812 "
        "| 98 | 0.98 (0.98 to 0.98) | - |"
    ) in text.replace("|  |", "| |")
    assert "| openrouter_async | 65 (0.65) | 40 (0.8) |" in text
    assert "| openai (httpx) | openai 3.0 | 1,100 (11) | pydantic models" in text


def test_markdown_needs_both_markers(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("no markers")

    with pytest.raises(ValueError, match="each once"):
        markdown.fill(path, FACTS, [measured()])
