import aiohttp
import aiohttp.web
import pytest
from raw_client import parse, read, text_of

from openrouter_async.testing import (
    LocalOpenRouter,
    chunks,
    completion,
    tool_call,
)
from openrouter_async.testing.reply import (
    UsageForm,
)


def test_a_completion_has_what_it_is_given() -> None:
    """Everything stands where the wire has it."""
    body = completion(
        "hi",
        reasoning_details=[],
        refusal="no",
        finish_reason="content_filter",
        id="gen-1",
        created=5,
        usage={"prompt_tokens": 1},
        provider="P",
        message={"annotations": []},
        service_tier="flex",
    )

    assert (body["id"], body["created"], body["provider"]) == ("gen-1", 5, "P")
    assert body["service_tier"] == "flex"
    assert body["usage"] == {"prompt_tokens": 1}
    assert body["choices"][0]["finish_reason"] == "content_filter"
    message = body["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": "hi",
        "refusal": "no",
        "reasoning": None,
        "reasoning_details": [],
        "annotations": [],
    }


def test_tool_calls_are_numbered() -> None:
    """Their arguments may be a mapping or text, broken or not."""
    calls = [tool_call("a", {"x": 1}), tool_call("b", "{", id="")]
    made = completion(tool_calls=calls)["choices"][0]

    assert made["message"]["content"] is None
    assert made["finish_reason"] == "tool_calls"
    assert [call["index"] for call in made["message"]["tool_calls"]] == [0, 1]
    assert made["message"]["tool_calls"][1]["function"]["arguments"] == "{"
    assert made["message"]["tool_calls"][1]["id"] == ""


def test_every_part_of_a_message_is_streamed() -> None:
    """Annotations come first; encrypted reasoning and media come whole."""
    encrypted = {"type": "reasoning.encrypted", "data": "x", "index": 0}
    body = completion(
        "hi",
        refusal="no",
        reasoning_details=[
            encrypted,
            {"type": "reasoning.summary", "summary": "s"},
        ],
        message={"annotations": [{"type": "url_citation"}], "audio": {"data": "a"}},
    )
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(body, finish=False)]
    only = chunks(completion(message={"reasoning": "bare"}), finish=False)

    kinds = [next(reversed(delta)) for delta in deltas]
    assert kinds == [
        "annotations",
        "reasoning_details",
        "reasoning_details",
        "role",
        "refusal",
        "audio",
    ]
    assert deltas[1]["reasoning"] is None
    assert deltas[2]["reasoning"] == "s"
    assert only[0]["choices"][0]["delta"]["reasoning"] == "bare"


@pytest.mark.parametrize(
    ("form", "last"),
    [
        ("repeated", (1, "stop", True)),
        ("no_choices", (0, None, True)),
        ("null_finish", (1, None, True)),
        ("with_finish", (1, "stop", True)),
        ("none", (1, "stop", False)),
    ],
)
def test_usage_comes_in_every_form(
    form: UsageForm, last: tuple[int, str | None, bool]
) -> None:
    """The last chunk looks as each era left it."""
    made = chunks(["a", "b"], usage=form)
    choices = made[-1]["choices"]
    finish = choices[0]["finish_reason"] if choices else None

    assert (len(choices), finish, "usage" in made[-1]) == last
    assert len(made) == (3 if form in ("with_finish", "none") else 4)
    assert text_of(made) == text_of(chunks("ab"))


def test_a_body_without_usage_ends_without() -> None:
    """Nothing is made up for a body that was given whole."""
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}

    assert len(chunks(body)) == 2


async def test_a_very_long_answer_has_few_chunks(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    """A text of a million characters does not take a million events."""
    text = "word " * 40_000
    loop_server.reply(text)

    events = parse(await read(http))

    assert text_of(events) == text
    assert len(events) < 2100
