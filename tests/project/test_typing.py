"""What the types promise: by mypy, by pyright, and by running it."""

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
LINES = [5, 6, 7, 9, 11]


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """A file in which five lines are wrong."""
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    return path


def run(*command: str) -> str:
    """Run a checker; return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def lines(said: str, mark: str) -> list[int]:
    """Return the numbers of the lines that were found wrong."""
    found = {
        int(line.split(mark, 1)[1].split(":")[0])
        for line in said.splitlines()
        if mark in line and "error" in line
    }
    return sorted(found)


def test_mypy_agrees(wrong: Path) -> None:
    """Strict mypy takes the example and the overloads, and finds what is wrong."""
    pytest.importorskip("mypy")

    said = run("mypy", "--strict", str(CHECKED), str(CHECKED_OUTPUT), str(wrong))

    assert lines(said, "typing_send.py:") == []
    assert lines(said, "typing_output.py:") == []
    assert lines(said, "wrong.py:") == LINES


def test_pyright_agrees(wrong: Path, tmp_path: Path) -> None:
    """So does pyright."""
    pytest.importorskip("pyright")
    config = tmp_path / "pyrightconfig.json"
    config.write_text(
        f'{{"include": ["{CHECKED}", "{CHECKED_OUTPUT}", "{wrong}"], "extraPaths": ["{ROOT}"],'
        f'"typeCheckingMode": "strict", "pythonVersion": "3.11"}}'
    )

    said = run("pyright", "-p", str(config), "--pythonpath", sys.executable)

    assert lines(said, "typing_send.py:") == []
    assert lines(said, "typing_output.py:") == []
    assert lines(said, "wrong.py:") == LINES


async def test_the_example_runs(
    server: LocalOpenRouter,
    client: AsyncOpenRouter,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same file does at run time what its types say."""
    monkeypatch.setenv("OPENROUTER_API_KEY", server.api_key)
    monkeypatch.setenv("OPENROUTER_BASE_URL", server.url)

    await typing_send.example()
    await typing_send.overloads(client, flag=True)
    await typing_send.overloads(client, flag=False)
    await typing_send.options(client)

    assert '"Hello"' in capsys.readouterr().out
    assert client.stats.in_use == 0


async def test_the_typed_results_are_so(client: AsyncOpenRouter) -> None:
    """Outputs, tools and runs are at run time what their types say."""
    await typing_output.outputs(client)
    await typing_output.streams(client, flag=True)
    await typing_output.streams(client, flag=False)
    await typing_output.tools()
    await typing_output.runs(client, flag=True)
    await typing_output.runs(client, flag=False)

    assert client.stats.in_use == 0
