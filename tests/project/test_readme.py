"""The README's code blocks run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import told

from openrouter_async.testing import LocalOpenRouter

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_readme_runs(number: int, tmp_path: Path) -> None:
    """Each block is a whole program, and runs without a word on stderr."""
    script = tmp_path / "block.py"
    script.write_text(BLOCKS[number], "utf-8")
    with LocalOpenRouter() as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-X", "dev", str(script)],
            env={
                "OPENROUTER_BASE_URL": server.url,
                "OPENROUTER_API_KEY": "sk-or-v1-readme",
                "PYTHONPATH": str(README.parent),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert (done.returncode, told(done.stderr)) == (0, "")


def test_the_readme_has_recipes() -> None:
    """The blocks are found at all."""
    assert len(BLOCKS) >= 6
