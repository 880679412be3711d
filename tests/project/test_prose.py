"""
Rules for names and prose that a program can check.

They cover the package, the tests, the benchmarks and the documents that people read.
"""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("openrouter_async", "tests", "benchmarks", "docs")
SOURCES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if path != Path(__file__)
)
DOCUMENTS = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("benchmarks/*.md"),
        *ROOT.glob("tests/**/*.md"),
        *ROOT.glob("docs/**/*.md"),
    )
    if "_build" not in path.parts
)

FORBIDDEN_STARTS = re.compile(r"(What|Whether|Who|How)\b")
FORBIDDEN_PHRASES = re.compile(
    r"\bcan not\b|(?<!\bthere )(?<!\bThere )\b(?:is|are) no (?!longer\b)"
    r"|\bat the most\b|\bfor ever\b|\bunless told\b|\blikewise\b",
    re.IGNORECASE,
)
FORBIDDEN_WORDS = {
    *("answer", "answers", "answered", "place", "places", "room", "rooms", "door"),
    *("doors", "gate", "gates", "shelf", "crew", "hand", "hands", "desk", "tally"),
    *("wish", "wishes", "verdict", "scribe", "teller", "clocks", "words", "thoughts"),
}
# `Clock` is the public class, `clock` its keyword.
SECTION = re.compile(r"^\s*(Args|Attributes|Raises|Returns|Yields|Source):\s*$")
ENTRY = re.compile(r"^\s+[\w.* ,`]+?: (.*)$")


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield each docstring, and each string below an assignment, with its line."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for child in body if isinstance(body, list) else []:
            if (
                isinstance(child, ast.Expr)
                and isinstance(child.value, ast.Constant)
                and isinstance(child.value.value, str)
            ):
                yield child.lineno, child.value.value


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string.lstrip("# ")


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the text of each string that is an argument of a call or a value."""
    seen = {id(node) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}"
                for part in node.values
                if isinstance(part, ast.Constant | ast.FormattedValue)
            )
            yield node.lineno, text
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and " " in node.value
            and id(node) not in seen
        ):
            yield node.lineno, node.value


def starts(text: str) -> Iterator[str]:
    """Yield the beginnings that the rule is about: summary and section entries."""
    lines = text.strip().splitlines()
    if lines:
        yield lines[0]
    inside = False
    for line in lines[1:]:
        if SECTION.match(line):
            inside = True
        elif inside and (entry := ENTRY.match(line)):
            yield entry[1]


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield every name that the module itself gives to something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname


def words_of(name: str) -> set[str]:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return {word.lower() for word in snake.split("_") if word}


def hits_in(path: Path) -> list[str]:
    """Return every violation in a source file, as "line: text"."""
    tree = ast.parse(path.read_bytes())
    in_tests = path.is_relative_to(ROOT / "tests")
    found: list[str] = []
    for line, text in docstrings(tree):
        found += (
            f"{line}: {start.strip()}"
            for start in starts(text)
            if FORBIDDEN_STARTS.match(start.strip())
        )
        found += (f"{line}: {hit[0]}" for hit in FORBIDDEN_PHRASES.finditer(text))
    for line, text in comments(path):
        found += (f"{line}: {hit[0]}" for hit in FORBIDDEN_PHRASES.finditer(text))
    if not in_tests:
        # Strings in tests are data, and often the words of other programs.
        for line, text in messages(tree):
            if FORBIDDEN_STARTS.match(text) and not text.rstrip().endswith("?"):
                found.append(f"{line}: {text}")
            found += (f"{line}: {hit[0]}" for hit in FORBIDDEN_PHRASES.finditer(text))
    found += (
        f"{line}: {name}"
        for line, name in identifiers(tree)
        if words_of(name) & FORBIDDEN_WORDS
    )
    return found


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_source_follows_the_prose_rules(path: Path) -> None:
    assert hits_in(path) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=label)
def test_document_follows_the_prose_rules(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    found = [
        f"{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]}"
        for hit in FORBIDDEN_PHRASES.finditer(text)
    ]

    assert found == []


def test_the_rules_find_what_they_forbid(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(
        '"""What a module is."""\n'
        "# It can not be, and there is no reason.\n"
        "def place(hand: int) -> None:\n"
        '    """\n    Do it.\n\n    Raises:\n        ValueError: Whether so.\n    """\n'
        '    raise ValueError(f"{hand} is no number")\n'
    )

    assert hits_in(sample) == [
        "1: What a module is.",
        "4: Whether so.",
        "2: can not",
        "9: is no ",
        "3: place",
        "3: hand",
    ]
