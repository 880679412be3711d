"""The public types: checked by mypy and pyright, and compared with a run."""

import subprocess
import sys
from pathlib import Path

import pytest
import typing_output
import typing_send

from openrouter_async import AsyncOpenRouter
from openrouter_async.testing import LocalOpenRouter

ROOT = Path(__file__).parents[2]
CHECKED = Path(__file__).with_name("typing_send.py")
CHECKED_OUTPUT = Path(__file__).with_name("typing_output.py")
WRONG = """\
from openrouter_async import AsyncOpenRouter, ChatResponse, UserMessage


async def wrong(client: AsyncOpenRouter) -> None:
    await client.chat.send(temprature=0.5)  # line 5
    await client.chat.send(messages="hi", stream="yes")  # line 6
    async with client.chat.send(messages=[UserMessage("hi")]):  # line 7
        pass
    async for _ in client.chat.send(stream=True):  # line 9
        pass
    reply: ChatResponse = await client.chat.send(stream=True)  # line 11
    print(reply)
"""
WRONG_LINES = [5, 6, 7, 9, 11]


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """A file with five lines that a type checker must reject."""
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    return path


def run(*command: str) -> str:
    """Run a type checker and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def error_lines(output: str, file: str) -> list[int]:
    """Return the line numbers of the errors in a file."""
    found = {
        int(line.split(file, 1)[1].split(":")[0])
        for line in output.splitlines()
        if file in line and "error" in line
    }
    return sorted(found)


def test_mypy_accepts_the_examples_and_rejects_mistakes(wrong: Path) -> None:
    pytest.importorskip("mypy")

    output = run("mypy", "--strict", str(CHECKED), str(CHECKED_OUTPUT), str(wrong))

    assert error_lines(output, "typing_send.py:") == []
    assert error_lines(output, "typing_output.py:") == []
    assert error_lines(output, "wrong.py:") == WRONG_LINES
    # The notes after it are long: mypy prints every overload with all its keywords.
    assert 'argument "temprature"' in output
    assert 'did you mean "temperature"?' in output


def test_pyright_accepts_the_examples_and_rejects_mistakes(
    wrong: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyright")
    config = tmp_path / "pyrightconfig.json"
    config.write_text(
        f'{{"include": ["{CHECKED}", "{CHECKED_OUTPUT}", "{wrong}"], "extraPaths": ["{ROOT}"],'
        f'"typeCheckingMode": "strict", "pythonVersion": "3.11"}}'
    )

    output = run("pyright", "-p", str(config), "--pythonpath", sys.executable)

    assert error_lines(output, "typing_send.py:") == []
    assert error_lines(output, "typing_output.py:") == []
    assert error_lines(output, "wrong.py:") == WRONG_LINES


async def test_send_returns_at_run_time_what_its_types_say(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)
    monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)

    await typing_send.example()
    await typing_send.overloads(client, flag=True)
    await typing_send.overloads(client, flag=False)
    await typing_send.options(client)

    assert '"Hello"' in capsys.readouterr().out
    assert client.stats.in_use == 0


async def test_outputs_and_tools_are_at_run_time_what_their_types_say(
    client: AsyncOpenRouter,
) -> None:
    await typing_output.outputs(client)
    await typing_output.streams(client, flag=True)
    await typing_output.streams(client, flag=False)
    await typing_output.tools()
    await typing_output.runs(client, flag=True)
    await typing_output.runs(client, flag=False)

    assert client.stats.in_use == 0
