"""
Search for the JSON values in the text of a response.

Models think aloud, use fences and write prose around a value. The rules:

1. If the whole text is JSON, it is the only candidate.
2. Thinking is skipped: only the text after the last closing tag, such as `</think>`,
   is searched. If there is no JSON, the text before that block of thinking is searched.
   Thinking that is not closed is not searched.
3. The candidates are the outermost objects and arrays, and whole fences. Marks that
   refer to a source, such as [1], are candidates only if there are no others.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from .exact_json import InvalidJSONError, decode_exact, decode_prefix

# Strings, not compiled patterns: most programs never use them, and `re` caches.
_FENCE: Final = r"(?s)```[\w-]*[ \t]*\n?(.*?)```"
_START: Final = r"[\[{]"
_MARK: Final = r"\[\s*\d{1,3}(?:\s*[,-]\s*\d{1,3})*\s*\]"
_TAG_NAMES: Final = r"(?:\w+:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection)"
# Magistral writes [THINK]; Kimi writes triangles in place of the angle brackets.
_OPENING_TAG: Final = rf"(?i)<{_TAG_NAMES}\s*>|\[THINK\]|\u25c1think\u25b7"
_CLOSING_TAG: Final = rf"(?i)</{_TAG_NAMES}\s*>|\[/THINK\]|\u25c1/think\u25b7"


class _Found(NamedTuple):
    """A JSON value, and where it is in the text."""

    start: int
    end: int
    value: Any


def find_candidates(text: str) -> list[Any]:
    """
    Return the JSON values in a text that may be the answer, in order; 1 or more.

    Raises:
        ValueError: If there is none. The message does not quote the text.
    """
    text = text.strip().removeprefix("\ufeff")
    if not text:
        raise ValueError("the text is empty")
    try:
        return [decode_exact(text)]
    except InvalidJSONError as error:
        if error.position is None:
            raise ValueError(str(error)) from None
    end = len(text)
    tags = _closing_tags(text)
    problem = ""
    while True:
        while tags and tags[-1].end() > end:
            tags.pop()
        start = tags[-1].end() if tags else 0
        if _begins_with_thinking(text[start:end]):
            problem = problem or "the text is thinking that was not closed"
        else:
            found, first_problem = _search(text[:end], start)
            if found:
                return found
            problem = problem or first_problem
        opening = list(re.finditer(_OPENING_TAG, text[: start and tags[-1].start()]))
        if not opening:
            raise ValueError(problem or "the text contains no JSON object or array")
        end = opening[-1].start()


def extract_json(text: str) -> Any:
    """
    Return the one JSON value in a text.

    Raises:
        ValueError: If there is no JSON value, or more than one.
    """
    candidates = find_candidates(text)
    if len(candidates) > 1:
        raise ValueError("the text contains more than one JSON value")
    return candidates[0]


def incomplete_json(text: str) -> str | None:
    """Return the text from the start of its last value on; None if there is none."""
    for tag in re.finditer(_CLOSING_TAG, text):
        text = tag.string[tag.end() :]
    if _begins_with_thinking(text):
        return None
    start = re.search(rf"(?!{_MARK}){_START}", text)
    return None if start is None else text[start.start() :]


def _begins_with_thinking(text: str) -> bool:
    return re.match(_OPENING_TAG, text.lstrip()) is not None


def _closing_tags(text: str) -> list[re.Match[str]]:
    """Return the closing tags of thinking that are not in a string of a JSON value."""
    tags = list(re.finditer(_CLOSING_TAG, text))
    if not tags:
        return []
    values = [each for each in _scan(text, 0) if isinstance(each, _Found)]
    return [
        tag
        for tag in tags
        if not any(value.start < tag.start() < value.end for value in values)
    ]


def _search(text: str, start: int) -> tuple[list[Any], str]:
    """Return the candidates in a text from a position on, and the first problem."""
    try:
        # A scalar is an answer only if nothing is around it.
        return [decode_exact(text[start:])], ""
    except InvalidJSONError:
        results = list(_scan(text, start))
    found = [each for each in results if isinstance(each, _Found)]
    problems = [str(each) for each in results if isinstance(each, InvalidJSONError)]
    fences = [
        fence
        for fence in re.finditer(_FENCE, text[start:])
        if not any(each.start < start + fence.start() < each.end for each in found)
    ]
    fenced = {start + fence.start(1) + _indent(fence[1]) for fence in fences}
    for fence in fences:
        # Objects and arrays have been found; a fence may also have a number or string.
        if re.match(_START, fence[1].strip()) is None:
            try:
                value = decode_exact(fence[1])
            except InvalidJSONError:
                continue
            found.append(_Found(start + fence.start(), start + fence.end(), value))
    values = [
        each
        for each in found
        if each.start in fenced or not re.fullmatch(_MARK, text[each.start : each.end])
    ]
    return [each.value for each in sorted(values or found)], "".join(problems[:1])


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())


def _scan(text: str, position: int) -> Iterator[_Found | InvalidJSONError]:
    """
    Yield the outermost objects and arrays in a text, and an error where JSON breaks.

    Raises:
        ValueError: If the nesting is too deep.
    """
    while start := re.compile(_START).search(text, position):
        try:
            value, position = decode_prefix(text, start.start())
        except InvalidJSONError as error:
            if error.position is None:
                raise ValueError(str(error)) from None
            yield error
            # Not inside the invalid value: its parts are not the answer.
            position = max(error.position, start.end())
        else:
            yield _Found(start.start(), position, value)
