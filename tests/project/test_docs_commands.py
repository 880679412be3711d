"""The commands in the documentation."""

import json
import re
import shlex
from pathlib import Path

import pytest

from openrouter_async.cli import app
from openrouter_async.testing import LocalOpenRouter, error_reply

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
COMMANDS = re.findall(
    r"^\$ openrouter-async (batch .*)$", PAGE.read_text(), re.MULTILINE
)


def write(path: str, rows: list[object]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_page_has_the_batch_commands() -> None:
    assert {shlex.split(line)[1] for line in COMMANDS} == {"run", "status", "retry"}


def test_batch_commands_of_the_page_run_in_order(
    server: LocalOpenRouter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The input file has a row of each accepted form."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)
    monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)
    request = {"messages": [{"role": "user", "content": "bad"}]}
    write("in.jsonl", ["a prompt", request, {"custom_id": "c", "body": request}])
    write("texts.jsonl", [{"text": "long", "other": 1}])
    server.reply(error_reply(400), when="bad")
    codes = [app.run(shlex.split(line)) for line in COMMANDS]

    assert codes == [3, 0, 0, 0]
    status = json.loads(capsys.readouterr().out)
    assert (status["ok"], status["failed"]) == (2, 1)
    lines = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert len({json.loads(line)["custom_id"] for line in lines}) == 3
    assert not (tmp_path / "out.errors.jsonl").exists()
    assert "Summarise: long" in {seen.prompt for seen in server.requests}
