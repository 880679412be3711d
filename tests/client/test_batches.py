"""`client.batches`: single calls of the hosted-batch routes."""

from typing import Any

import pytest
from support import MakeClient

from openrouter_async import (
    APIConnectionError,
    APIError,
    BadGatewayError,
    BadRequestError,
    BatchItem,
    ChatGenerationParams,
    ConfigurationError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    UserMessage,
)
from openrouter_async.batch import Item
from openrouter_async.batch.hosted.routes import is_ambiguous, is_unsent
from openrouter_async.testing import LocalOpenRouter
from openrouter_async.types import Batch

MODEL = "openai/gpt-4o-mini"


async def test_batch_is_created_read_and_deleted(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    rows: list[Item] = [
        "hello",
        BatchItem("named", {"messages": [UserMessage("hi")], "temperature": 0.5}),
        ChatGenerationParams(messages=[UserMessage("params")]),
    ]
    async with make_client() as client:
        batch = await client.batches.create(
            rows, model=MODEL, max_tokens=50, callback_url="https://example.com/x"
        )
        stored = server.batches.all[0]
        server.batches.end(batch.id, "completed")
        found = await client.batches.get(batch.id)
        results = [result async for result in client.batches.results(batch.id)]
        deletion = await client.batches.delete(batch.id)

    assert isinstance(batch, Batch)
    assert batch.status == "validating"
    assert batch.http.status == 202
    assert found.is_ended
    assert (found.cost or 0) > 0
    assert {result.custom_id for result in results} == {"row-0", "named", "row-2"}
    assert all(result.ok and result.text for result in results)
    assert sorted(result.index for result in results) == [0, 1, 2]
    assert deletion["deletion"]["openrouter"] == "deleted"
    assert stored.callback_url == "https://example.com/x"
    assert [row["body"]["max_tokens"] for row in stored.rows] == [50, 50, 50]
    assert "model" not in stored.rows[0]["body"]


async def test_provider_of_the_rows_becomes_that_of_the_batch(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    async with make_client() as client:
        await client.batches.create(["a"], model=MODEL, provider={"only": ["openai"]})

    (stored,) = server.batches.all
    assert stored.provider == {"only": ["openai"]}


async def test_rows_of_another_endpoint_are_sent_unchanged(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    rows = [{"custom_id": "a b", "body": {"input": "text"}}]
    async with make_client() as client:
        await client.batches.create(rows, model="m/e", endpoint="/v1/embeddings")

    (stored,) = server.batches.all
    assert (stored.endpoint, stored.model) == ("/v1/embeddings", "m/e")
    assert stored.rows[0]["body"] == {"input": "text"}
    assert len(stored.rows[0]["custom_id"]) == 16


@pytest.mark.parametrize("slug", ["base", "batch"])
@pytest.mark.parametrize("model", [MODEL, f"{MODEL}:batch"])
async def test_other_form_of_the_slug_is_tried_once(
    server: LocalOpenRouter, make_client: MakeClient, slug: Any, model: str
) -> None:
    server.batches.script.slug = slug
    async with make_client() as client:
        batch = await client.batches.create(["a"], model=model)

    accepted = model.endswith(":batch") is (slug == "batch")
    assert server.batches.stats.submissions == (1 if accepted else 2)
    assert (batch.model or "").endswith(":batch") is (slug == "batch")


async def test_model_without_batches_is_rejected(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.batches.script.no_batch = frozenset({MODEL})
    async with make_client() as client:
        with pytest.raises(BadRequestError, match="does not have a :batch endpoint"):
            await client.batches.create(["a"], model=MODEL)

    assert server.batches.stats.submissions == 2


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "at least one row"),
        (["a", {"messages": [UserMessage("b")], "model": "x/y"}], "differs in model"),
        ([BatchItem("a", {"prompt": "p"}), "x"], "messages= is empty|no messages"),
        (
            [BatchItem(name, {"messages": [UserMessage("x")]}) for name in ("a", "a")],
            "same name",
        ),
        (["x"] * 5001, "at most 5000 rows"),
    ],
)
async def test_invalid_rows_are_rejected_before_anything_is_sent(
    server: LocalOpenRouter, make_client: MakeClient, rows: Any, problem: str
) -> None:
    async with make_client() as client:
        with pytest.raises(ConfigurationError, match=problem):
            await client.batches.create(rows, model=MODEL)

    assert server.requests == []


async def test_other_rejections_are_raised(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.batches.script.max_bytes = 10
    async with make_client() as client:
        with pytest.raises(APIError, match="too large"):
            await client.batches.create(["a"], model=MODEL)


async def test_rate_limited_submission_is_sent_again(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.batches.fail_next("rate_limit", times=2)
    async with make_client() as client:
        await client.batches.create(["a"], model=MODEL)
        server.batches.fail_next("rate_limit", times=5)
        with pytest.raises(RateLimitError):
            await client.batches.create(["a"], model=MODEL)

    assert server.batches.stats.submissions == 8
    assert server.batches.stats.stored == 1


@pytest.mark.parametrize("fault", ["stored_reset", "stored_502", "lost_502"])
async def test_submission_that_may_be_stored_is_not_sent_again(
    server: LocalOpenRouter, make_client: MakeClient, fault: Any
) -> None:
    server.batches.fail_next(fault)
    async with make_client() as client:
        with pytest.raises((APIConnectionError, BadGatewayError)) as failure:
            await client.batches.create(["a"], model=MODEL)

    assert server.batches.stats.submissions == 1
    assert is_ambiguous(failure.value)


async def test_list_follows_pages_and_filters(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    async with make_client() as client:
        server.batches.script.validating = 100
        for _ in range(101):
            server.batches.foreign()
        batch = await client.batches.create(["a"], model=MODEL)
        found = [each.id async for each in client.batches.list()]
        running = client.batches.list(status=["in_progress", "expired"])
        foreign = [each.id async for each in running]
        newer = [each.id async for each in client.batches.list(created_after=9e9)]

    assert found[0] == batch.id
    assert len(found) == 102
    assert found[1:] == foreign
    assert newer == []
    assert server.batches.stats.list_reads == 5


@pytest.mark.parametrize("paged", [True, False])
async def test_results_are_paged_or_inline(
    server: LocalOpenRouter, make_client: MakeClient, paged: bool
) -> None:
    server.batches.script.paged = paged
    server.reply(status=400, when="row 7.", times=None)
    async with make_client() as client:
        rows = [f"row {n}." for n in range(450)]
        batch = await client.batches.create(rows, model=MODEL)
        server.batches.end(batch.id, "completed")
        results = [result async for result in client.batches.results(batch.id)]

    assert len({result.custom_id for result in results}) == 450
    (failed,) = [result for result in results if not result.ok]
    assert isinstance(failed.error, BadRequestError)
    assert failed.custom_id == "row-7"
    assert server.batches.stats.page_reads == (3 if paged else 0)


async def test_withheld_and_missing_batches_raise(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    async with make_client() as client:
        batch = await client.batches.create(["a"], model=MODEL)
        server.batches.end(batch.id, "completed")
        server.batches.withhold(batch.id)
        with pytest.raises(PaymentRequiredError):
            await client.batches.get(batch.id)
        with pytest.raises(PaymentRequiredError):
            await anext(client.batches.results(batch.id))
        with pytest.raises(NotFoundError):
            await client.batches.get("batch-x/y")


async def test_submission_is_sent_again_if_no_connection_is_made(
    server: LocalOpenRouter, make_client: MakeClient, unused_tcp_port: int
) -> None:
    async with make_client(base_url=f"http://127.0.0.1:{unused_tcp_port}/v1") as client:
        with pytest.raises(APIConnectionError) as failure:
            await client.batches.create(["a"], model=MODEL)

    assert is_unsent(failure.value)
    assert not is_ambiguous(failure.value)


async def test_estimate_counts_the_batches(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    async with make_client() as client:
        found = await client.batches.estimate(
            ["x"] * 5001, model=MODEL, max_tokens=9, done={"row-7"}
        )
        more = await client.batches.estimate(["x"] * 5001, model=f"{MODEL}:batch")

    assert (found.rows, found.done, found.invalid) == (5001, 1, 0)
    assert [(model.rows, model.batches) for model in found.models] == [(5000, 1)]
    (model,) = found.models
    assert model.batch_cost == pytest.approx((model.live_cost or 0) / 2)
    assert [(each.rows, each.batches) for each in more.models] == [(5001, 2)]
    assert more.models[0].batch_cost is None
    assert server.batches.stats.submissions == 0
