"""
Environments for other versions of Python, and for clients that cannot share one.

    python -m benchmarks.environments [NAME ...]

creates them, or updates them to the newest versions, in `build/benchmarks`; without
names all of them, in about a minute. It needs uv, which `[bench]` installs, access to a
package index, and the versions of Python. It measures nothing.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build" / "benchmarks"


@frozen
class Environment:
    """
    A virtual environment with this project.

    Attributes:
        packages: Packages that are installed in addition to it.
        python: Version of Python; "" for that of the harness.
    """

    packages: tuple[str, ...]
    python: str = ""


ENVIRONMENTS = {
    "python3.12": Environment((), python="3.12"),
    "python3.13": Environment((), python="3.13"),
    "litellm": Environment(("litellm",)),
    "langchain": Environment(("langchain-openrouter",)),
}


def python_of(name: str) -> Path:
    """Return the interpreter of an environment; "" is that of this process."""
    return FOLDER / name / "bin" / "python" if name else Path(sys.executable)


def create(name: str) -> None:
    """
    Create or update an environment.

    Raises:
        LookupError: If its version of Python is not installed.
        subprocess.CalledProcessError: If a package cannot be installed.
    """
    wanted = ENVIRONMENTS[name]
    if not python_of(name).exists():
        python = find_python(wanted.python) if wanted.python else sys.executable
        _uv("venv", "--python", python, str(FOLDER / name))
    _uv(
        "pip",
        "install",
        "--upgrade",
        "--python",
        str(python_of(name)),
        "--editable",
        str(ROOT),
        *wanted.packages,
    )


def find_python(version: str) -> str:
    """
    Return the path of an interpreter of this version, such as "3.12".

    Raises:
        LookupError: If there is none on the path or installed by pyenv.
    """
    for path in _candidates(version):
        # pyenv puts programs on the path that only work if a version is active.
        if subprocess.run(
            [path, "-c", ""], capture_output=True, check=False
        ).returncode:
            continue
        return path
    raise LookupError(f"Python {version} was not found; install it")


def _candidates(version: str) -> Iterator[str]:
    on_path = shutil.which(f"python{version}")
    if on_path is not None:
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, pyenv.glob(f"versions/{version}.*/bin/python"))


def _uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], check=True)


def main() -> None:
    """Create the requested environments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.environments")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=", ".join(ENVIRONMENTS)
    )
    names: list[str] = parser.parse_args().names
    unknown = set(names) - ENVIRONMENTS.keys()
    if unknown:
        parser.error(f"unknown environment: {', '.join(sorted(unknown))}")
    for name in names or ENVIRONMENTS:
        print(name, flush=True)
        create(name)


if __name__ == "__main__":
    main()
