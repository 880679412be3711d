"""Checks, groups and names of rows in hosted batches."""

import json
from typing import Any

import pytest

from openrouter_async import ConfigurationError
from openrouter_async.batch.hosted.plan import (
    BatchGroup,
    other_slug,
    plan_row,
    submission_head,
    wire_name,
)

TEXT = {"role": "user", "content": "hi"}
FORMAT = {"type": "json_object"}


def parts(*content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*content]}]


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def request(**fields: Any) -> dict[str, Any]:
    return {"model": "a/b", "messages": [TEXT], **fields}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"model": None}, "names no model"),
        ({"model": "a/b:online"}, "searches the web"),
        ({"models": ["a/b", "c/d"]}, "a batch for each model"),
        ({"messages": []}, "messages= is empty"),
        ({"messages": "hi"}, "messages= is empty"),
        ({"stream": True}, "stream= is not supported"),
        ({"audio": {"voice": "x"}}, "audio= is not supported"),
        ({"image_config": {"size": 1}}, "image_config= is not supported"),
        ({"modalities": ["text", "image"]}, "can only contain 'text'"),
        ({"max_tokens": 0}, "an integer of 1 or more, not 0"),
        ({"max_completion_tokens": True}, "not True"),
        ({"max_tokens": 1.5}, "not 1.5"),
        ({"plugins": [{"id": "web"}]}, "web search"),
        ({"tools": [{"type": "openrouter:web_search"}]}, "web search"),
        ({"web_search_options": {"x": 1}}, "web_search_options= is not"),
        ({"provider": {"order": ["x"], "only": ["y"]}}, r"not \['order'\]"),
        ({"messages": parts(image("data:image/png;base64,AA"))}, "'image_url' is not"),
        ({"messages": parts(image("http://example.com/a"))}, "'image_url' is not"),
        ({"messages": parts({"type": "input_audio"})}, "'input_audio' is not"),
        ({"messages": parts({"type": "file", "file": {"file_data": 1}})}, "'file' is"),
    ],
)
def test_row_that_a_batch_would_fail_on_is_rejected(
    fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem) as error:
        plan_row(request(**fields), "r")

    assert "Row 'r' cannot be sent in a hosted batch" in str(error.value)
    assert "send_many" in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"modalities": ["text"], "max_tokens": 1},
        {"messages": parts({"type": "text", "text": "x"}, image("https://x.com/a"))},
        {"tools": [{"type": "function"}], "plugins": [{"id": "response-healing"}]},
        {"provider": {"only": ["openai"], "allow_fallbacks": False}},
        {"provider": None, "stream": False},
    ],
)
def test_row_that_a_batch_takes_is_planned(fields: dict[str, Any]) -> None:
    planned = plan_row(request(**fields), "r")

    line = json.loads(planned.line)
    assert line["custom_id"] == planned.wire_name == "r"
    assert line["body"].keys() == {*fields, "messages"} - {"provider"}


def test_group_has_what_all_rows_of_a_batch_share() -> None:
    provider = {"only": ["y"], "allow_fallbacks": True}
    swapped = {"allow_fallbacks": True, "only": ["y"]}
    groups = [
        plan_row(request(**fields), "r").group
        for fields in (
            {},
            {"response_format": FORMAT},
            {"provider": provider},
            {"provider": swapped},
            {"model": "google/g"},
            {"model": "google/g", "response_format": FORMAT},
        )
    ]

    assert groups[0] == groups[1] == BatchGroup("a/b")
    assert groups[2] == groups[3]
    assert json.loads(groups[2].provider or b"") == provider
    assert len(set(groups)) == 4


@pytest.mark.parametrize(
    ("name", "is_kept"),
    [
        ("row-7", True),
        ("A_b-9" * 12, True),
        ("a" * 65, False),
        ("a b", False),
        ("", False),
        ("naïve", False),
        ("a\n", False),
    ],
)
def test_wire_name_keeps_names_that_every_provider_takes(
    name: str, is_kept: bool
) -> None:
    found = wire_name(name)

    assert (found == name) is is_kept
    if not is_kept:
        assert len(found) == 16
        assert int(found, 16) > 0


@pytest.mark.parametrize(("callback", "provider"), [(None, None), ("https://x", b"{}")])
def test_submission_has_its_keys_in_order(
    callback: str | None, provider: bytes | None
) -> None:
    head = submission_head("/e", "m", callback_url=callback, provider=provider)

    keys = list(json.loads(head + b"]}"))
    full = ["endpoint", "model", "callback_url", "provider", "requests"]
    assert keys == (full if callback else [full[0], full[1], full[4]])


def test_other_slug_adds_or_removes_the_variant() -> None:
    assert other_slug("a/b") == "a/b:batch"
    assert other_slug("a/b:batch") == "a/b"


def test_row_that_is_named_by_its_position_has_its_fingerprint_on_the_wire() -> None:
    planned = plan_row(request(), "row-7", 0xAB)

    assert planned.wire_name == "row-7-00000000000000ab"
