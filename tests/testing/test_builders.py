import aiohttp
import pytest
from raw_client import parse_events, read_stream, text_of

from openrouter_async.testing import LocalOpenRouter, chunks, completion, tool_call
from openrouter_async.testing.reply import UsageForm


def test_completion_contains_its_arguments() -> None:
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


def test_completion_numbers_its_tool_calls() -> None:
    """Arguments are a mapping or text, valid or not."""
    calls = [tool_call("a", {"x": 1}), tool_call("b", "{", id="")]
    choice = completion(tool_calls=calls)["choices"][0]

    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "tool_calls"
    assert [call["index"] for call in choice["message"]["tool_calls"]] == [0, 1]
    assert choice["message"]["tool_calls"][1]["function"]["arguments"] == "{"
    assert choice["message"]["tool_calls"][1]["id"] == ""


def test_chunks_contain_every_part_of_the_message() -> None:
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
    plain = chunks(completion(message={"reasoning": "bare"}), finish=False)

    last_members = [next(reversed(delta)) for delta in deltas]
    assert last_members == [
        "annotations",
        "reasoning_details",
        "reasoning_details",
        "role",
        "refusal",
        "audio",
    ]
    assert deltas[1]["reasoning"] is None
    assert deltas[2]["reasoning"] == "s"
    assert plain[0]["choices"][0]["delta"]["reasoning"] == "bare"


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
def test_chunks_have_the_usage_where_the_form_says(
    form: UsageForm, last: tuple[int, str | None, bool]
) -> None:
    made = chunks(["a", "b"], usage=form)
    choices = made[-1]["choices"]
    finish = choices[0]["finish_reason"] if choices else None

    assert (len(choices), finish, "usage" in made[-1]) == last
    assert len(made) == (3 if form in ("with_finish", "none") else 4)
    assert text_of(made) == text_of(chunks("ab"))


def test_chunks_of_a_body_without_usage_have_none() -> None:
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}

    assert len(chunks(body)) == 2


async def test_long_text_is_split_into_a_limited_number_of_chunks(
    loop_server: LocalOpenRouter, http: aiohttp.ClientSession
) -> None:
    text = "word " * 40_000
    loop_server.reply(text)

    events = parse_events(await read_stream(http))

    assert text_of(events) == text
    assert len(events) < 2100
