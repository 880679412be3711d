"""The local server's `/batches`, without the client's batch engine."""

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from support import MakeClient

from openrouter_async import (
    APIConnectionError,
    APIError,
    AsyncOpenRouter,
    MalformedResponseError,
    NotFoundError,
    Retries,
)
from openrouter_async.testing import BatchScript, LocalOpenRouter, error_reply

MODEL = "openai/gpt-4o-mini"
VALIDATOR: Any = jsonschema.Draft202012Validator
SCHEMAS = Path(os.environ.get("OPENROUTER_WIRE", "")) / "schema"


def row(name: str, text: str = "hi", **fields: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": text}], **fields}
    return {"custom_id": name, "body": body}


def submission(rows: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    order = ("callback_url", "completion_window", "provider")
    return {
        "endpoint": "/v1/chat/completions",
        "model": fields.get("model", MODEL),
        **{name: fields[name] for name in order if name in fields},
        "requests": rows,
    }


async def submit(
    client: AsyncOpenRouter, *rows: dict[str, Any], **fields: Any
) -> dict[str, Any]:
    body = submission([*rows] or [row("a"), row("b")], **fields)
    stored: dict[str, Any] = await client.request("POST", "/batches", json=body)
    return stored


async def ended(client: AsyncOpenRouter, server: LocalOpenRouter, **fields: Any) -> Any:
    """Submit two rows, and skip to the end of the batch."""
    batch = await submit(client, **fields)
    server.batches.end(batch["id"], "completed")
    return await client.request("GET", f"/batches/{batch['id']}")


def names(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["custom_id"] for row in rows)


def check(name: str, body: object) -> None:
    if not SCHEMAS.is_dir():
        pytest.skip("OPENROUTER_WIRE does not name the folder of schemas.")
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    VALIDATOR(schema).validate(body)


async def test_batch_passes_through_every_status(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.batches.script = script = BatchScript(
        validating=100, running=100, finalizing=100
    )
    async with make_client() as client:
        batch = await submit(client)
        seen = [batch["status"]]
        for _ in range(3):
            server.batches.advance(batch["id"])
            listed = await client.request("GET", "/batches")
            seen.append(listed["data"][0]["status"])
        server.batches.advance(batch["id"])
        found = await client.request("GET", f"/batches/{batch['id']}")

    assert script is server.batches.script
    assert seen == ["validating", "in_progress", "finalizing", "completed"]
    assert re.fullmatch(r"batch-\d+-\w{20}", batch["id"])
    assert names(found["results"]) == ["a", "b"]
    assert found["request_counts"] == {"total": 2, "completed": 2, "failed": 0}


async def test_bodies_match_the_schemas(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.reply(status=429, when="bad", times=None)
    async with make_client() as client:
        batch = await submit(client, row("a"), row("b", "bad"))
        check("batch-wire", batch)
        server.batches.end(batch["id"], "completed")
        found = await client.request("GET", f"/batches/{batch['id']}")
        page = await client.request("GET", f"/batches/{batch['id']}/results")
        listed = await client.request("GET", "/batches")
        deleted = await client.request("DELETE", f"/batches/{batch['id']}")
        with pytest.raises(APIError) as failure:
            await client.request("GET", f"/batches/{batch['id']}")

    check("batch-wire", found)
    check("batch-results-page", page)
    check("batch-list", listed)
    check("batch-deleted", deleted)
    check("batch-error", failure.value.body)


async def test_row_is_charged_at_the_batch_price(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    async with make_client() as client:
        live = await client.chat.send(
            {"messages": [{"role": "user", "content": "hi"}], "model": MODEL}
        )
        batch = await ended(client, server)

    assert batch["usage"]["cost"] == pytest.approx(live.usage.cost)
    assert server.stats.cost == pytest.approx(2 * (live.usage.cost or 0))
    assert server.batches.stats.rows_run == 2
    (first, _) = batch["results"]
    assert "usage" not in first["response"]["body"]
    assert first["response"]["body"]["model"] == f"{MODEL}:batch"
    assert first["response"]["body"]["id"].startswith("gen-batch-")


async def test_scripts_apply_to_rows(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.reply("scripted", when="b")
    async with make_client() as client:
        batch = await submit(client, row("x", "a"), row("y", "b"))
        server.batches.end(batch["id"], "completed")
        found = await client.request("GET", f"/batches/{batch['id']}")

    texts = {
        row["custom_id"]: row["response"]["body"]["choices"][0]["message"]["content"]
        for row in found["results"]
    }
    assert texts["y"] == "scripted"
    assert "You wrote" in texts["x"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"requests": [row("a")], "endpoint": "e", "model": "m"}, 400, "must come"),
        ({"endpoint": "/v1/chat/completions", "requests": []}, 400, "must come"),
        (submission([]), 400, "at least 1"),
        ({**submission([row("a")]), "endpoint": "/v1/x"}, 400, "not supported"),
        (submission([{"body": {}}]), 400, r"custom_id is required on requests\[0\]"),
        (submission([row("a"), row("a")]), 422, "line 2 has a duplicate"),
        (submission([row("a", model="other")]), 400, "has model 'other'"),
        (submission([row(str(n)) for n in range(6)]), 413, "at most 5"),
        (submission([row("a", "x" * 5000)]), 413, "too large"),
        (submission([row("a")], model="none/x"), 400, "not have a :batch endpoint"),
    ],
)
async def test_invalid_submission_is_rejected(
    server: LocalOpenRouter,
    make_client: MakeClient,
    body: Any,
    status: int,
    message: str,
) -> None:
    script = server.batches.script
    script.max_rows, script.max_bytes = 5, 4000
    script.no_batch = frozenset({"none/x"})
    async with make_client() as client:
        with pytest.raises(APIError, match=message) as failure:
            await client.request("POST", "/batches", json=body)

    assert failure.value.status_code == status
    assert server.batches.stats.stored == 0
    assert server.batches.stats.submissions == 1


@pytest.mark.parametrize(
    ("slug", "model"), [("batch", MODEL), ("base", f"{MODEL}:batch")]
)
async def test_slug_of_the_wrong_form_is_rejected(
    server: LocalOpenRouter, make_client: MakeClient, slug: Any, model: str
) -> None:
    server.batches.script.slug = slug
    async with make_client() as client:
        with pytest.raises(APIError, match="does not have a :batch endpoint"):
            await submit(client, model=model)


async def test_client_that_disconnects_does_not_end_a_batch_early(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    """Rows run in the task of a request, which is cancelled with its client."""
    server.batches.script.validating = server.batches.script.running = 0.0
    async with make_client() as client:
        batch = await submit(client, *[row(f"r{n}") for n in range(2000)])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.request("GET", "/batches")
        found = await client.request("GET", f"/batches/{batch['id']}")

    assert len(found["results"]) == 2000
    assert server.batches.stats.rows_run == 2000


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"messages": []}, "messages must not be empty"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"stream": True}, "stream is not supported"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "hi"},
                            {"type": "image_url", "image_url": {"url": "data:x"}},
                        ],
                    }
                ]
            },
            "public https",
        ),
    ],
)
@pytest.mark.parametrize("names_row", [True, False])
async def test_invalid_row_fails_the_whole_batch(
    server: LocalOpenRouter,
    make_client: MakeClient,
    fields: Any,
    reason: str,
    names_row: bool,
) -> None:
    script = server.batches.script
    script.names_row, script.validating = names_row, 0.0
    async with make_client() as client:
        await submit(client, row("good"), row("bad", **fields))
        (found,) = (await client.request("GET", "/batches"))["data"]

    assert found["status"] == "failed"
    assert found["results"] is None
    assert found["request_counts"] == {"total": 2, "completed": 0, "failed": 2}
    assert reason in found["error"]["message"]
    assert ("'bad'" in found["error"]["message"]) is names_row
    assert server.batches.stats.cost == 0


@pytest.mark.parametrize(
    ("fault", "stored"),
    [("stored_reset", 1), ("stored_502", 1), ("lost_502", 0), ("lost_reset", 0)],
)
async def test_response_to_a_submission_is_lost(
    server: LocalOpenRouter, make_client: MakeClient, fault: Any, stored: int
) -> None:
    server.batches.fail_next(fault)
    async with make_client() as client:
        with pytest.raises((APIConnectionError, APIError)):
            await submit(client)
        listed = await client.request("GET", "/batches")

    assert server.batches.stats.stored == len(listed["data"]) == stored


async def test_submission_is_rate_limited(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.batches.fail_next("rate_limit")
    async with make_client() as client:
        with pytest.raises(APIError) as failure:
            await submit(client)

    assert (failure.value.status_code, failure.value.retry_after) == (429, 0.1)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("response", (dict, None)),
        ("string", (str, None)),
        ("error", (None, "rate_limit_exceeded")),
        ("untyped_error", (None, None)),
    ],
)
async def test_failed_row_has_the_scripted_form(
    server: LocalOpenRouter, make_client: MakeClient, form: Any, expected: Any
) -> None:
    server.batches.script.row_errors = form
    server.reply(error_reply(429), times=None)
    async with make_client() as client:
        found = await ended(client, server)

    first = found["results"][0]
    if expected[0] is None:
        assert first["response"] is None
        assert first["error"].get("error_type") == expected[1]
    else:
        assert first["response"]["status_code"] == 429
        assert isinstance(first["response"]["body"], expected[0])
    assert found["request_counts"]["failed"] == 2


async def test_results_miss_repeat_and_invent_rows(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    script = server.batches.script
    script.missing, script.duplicated = frozenset({"a"}), frozenset({"b"})
    script.unknown, script.order = True, "input"
    async with make_client() as client:
        found = await ended(client, server)

    assert names(found["results"]) == ["b", "b", "never-sent"]


async def test_pages_are_stable_and_complete(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    rows = [row(f"r{n}") for n in range(7)]
    async with make_client() as client:
        batch = await submit(client, *rows)
        path = f"/batches/{batch['id']}/results"
        with pytest.raises(APIError) as early:
            await client.request("GET", path)
        server.batches.end(batch["id"], "completed")
        query = {"limit": 3}
        first = await client.request("GET", path, query=query)
        again = await client.request("GET", path, query=query)
        seen = list(first["data"])
        page = first
        while page["has_more"]:
            query = {"limit": 3, "cursor": page["next_cursor"]}
            page = await client.request("GET", path, query=query)
            seen += page["data"]

    assert early.value.status_code == 409
    assert first == again
    assert names(seen) == [f"r{n}" for n in range(7)]
    assert [r["custom_id"] for r in seen] != [f"r{n}" for n in range(7)]
    assert server.batches.stats.page_reads == 5


async def test_route_of_pages_is_missing(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.batches.script.paged = False
    async with make_client() as client:
        found = await ended(client, server)
        with pytest.raises(APIError, match="HTML page") as failure:
            await client.request("GET", f"/batches/{found['id']}/results")

    assert failure.value.status_code == 404
    assert len(found["results"]) == 2


async def test_nan_makes_inline_results_invalid(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.batches.script.nan = True
    async with make_client() as client:
        batch = await submit(client)
        found = await client.request("GET", f"/batches/{batch['id']}")

    # `json` accepts NaN, and the client reads it as null.
    assert found["debug"] is None


async def test_list_is_filtered_and_paged(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    async with make_client() as client:
        ids = [(await submit(client))["id"] for _ in range(3)]
        ids.append(server.batches.foreign(rows=4))
        server.batches.end(ids[0], "completed")
        first = await client.request("GET", "/batches", query={"limit": 2})
        query = {"limit": 2, "after": first["last_id"]}
        second = await client.request("GET", "/batches", query=query)
        unknown = await client.request("GET", "/batches", query={"after": "x"})
        done = await client.request("GET", "/batches", query={"status": "completed"})
        future = {"created_after": 9e9}
        newer = await client.request("GET", "/batches", query=future)
        past = await client.request("GET", "/batches", query={"created_before": 1})
        with pytest.raises(APIError, match="not a filter"):
            await client.request("GET", "/batches", query={"status": "finalizing"})

    pages = [batch["id"] for batch in (*first["data"], *second["data"])]
    assert pages == ids[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert [batch["id"] for batch in done["data"]] == ids[:1]
    assert unknown["data"] == newer["data"] == past["data"] == []
    assert newer["first_id"] is None
    assert [batch.id for batch in server.batches.all] == ids[:3]
    assert server.batches.stats.list_reads == 7


async def test_new_batch_appears_late(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    script = server.batches.script
    script.list_lag, script.not_found = 100.0, 1
    async with make_client() as client:
        batch = await submit(client)
        listed = await client.request("GET", "/batches")
        with pytest.raises(NotFoundError):
            await client.request("GET", f"/batches/{batch['id']}")
        found = await client.request("GET", f"/batches/{batch['id']}")

    assert listed["data"] == []
    assert found["id"] == batch["id"]


@pytest.mark.parametrize("results", [True, False])
async def test_chosen_end_bills_the_rows_that_ran(
    server: LocalOpenRouter, make_client: MakeClient, results: bool
) -> None:
    async with make_client() as client:
        batch = await submit(client, *[row(f"r{n}") for n in range(10)])
        server.batches.end(batch["id"], "expired", done=0.6, results=results)
        found = await client.request("GET", f"/batches/{batch['id']}")
        page = await client.request("GET", f"/batches/{batch['id']}/results")

    assert found["status"] == "expired"
    assert len(found["results"] or ()) == len(page["data"]) == (6 if results else 0)
    assert found["usage"]["cost"] == server.batches.stats.cost > 0


async def test_withheld_and_purged_results(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    async with make_client() as client:
        batch = await ended(client, server)
        path = f"/batches/{batch['id']}"
        server.batches.withhold(batch["id"])
        with pytest.raises(APIError) as withheld:
            await client.request("GET", path)
        server.batches.release(batch["id"])
        await client.request("GET", path)
        server.batches.purge(batch["id"])
        with pytest.raises(APIError, match="expired") as purged:
            await client.request("GET", path)

    assert (withheld.value.status_code, purged.value.status_code) == (402, 410)
    check("batch-error", withheld.value.body)


async def test_batch_is_deleted_only_after_its_end(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    async with make_client() as client:
        batch = await submit(client)
        path = f"/batches/{batch['id']}"
        with pytest.raises(APIError) as early:
            await client.request("DELETE", path)
        server.batches.end(batch["id"], "cancelled", done=0)
        await client.request("DELETE", path)
        with pytest.raises(NotFoundError):
            await client.request("DELETE", path)
        with pytest.raises(NotFoundError) as cancel:
            await client.request("POST", f"{path}/cancel")

    assert early.value.status_code == 409
    assert cancel.value.body == "404 Not Found"


@pytest.mark.parametrize(
    ("form", "cost"), [("null", None), ("byok", True), ("no_cost", None)]
)
async def test_usage_of_a_batch_has_the_scripted_form(
    server: LocalOpenRouter, make_client: MakeClient, form: Any, cost: Any
) -> None:
    server.batches.script.usage = form
    server.batches.script.row_usage = True
    async with make_client() as client:
        found = await ended(client, server)

    usage: dict[str, Any] = found["usage"] or {}
    assert bool(usage.get("cost")) is bool(cost)
    assert usage.get("is_byok") in (None, form == "byok")
    assert "usage" in found["results"][0]["response"]["body"]


async def test_counts_lag_and_expiry_is_null(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    script = server.batches.script
    script.lagging, script.expires_after = True, None
    script.validating, script.running, script.finalizing = 0, 0, 100
    async with make_client() as client:
        batch = await submit(client)
        found = await client.request("GET", f"/batches/{batch['id']}")

    assert found["status"] == "finalizing"
    assert found["request_counts"] == {"total": 2, "completed": 0, "failed": 0}
    assert found["expires_at"] is None


async def test_batch_models_have_a_price_and_no_live_calls(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    server.batches.script.no_batch = frozenset({"none/x"})
    async with make_client() as client:
        live = await client.request("GET", f"/models/{MODEL}/endpoints")
        batch = await client.request("GET", f"/models/{MODEL}:batch/endpoints")
        with pytest.raises(NotFoundError):
            await client.request("GET", "/models/none/x:batch/endpoints")
        with pytest.raises(NotFoundError, match="only available through the Batch"):
            await client.chat.send(
                {
                    "messages": [{"role": "user", "content": "hi"}],
                    "model": f"{MODEL}:batch",
                }
            )

    prices = [
        float(body["data"]["endpoints"][0]["pricing"]["prompt"])
        for body in (live, batch)
    ]
    assert prices[1] == pytest.approx(prices[0] / 2)


async def test_faults_of_replies_apply_to_batches(
    server: LocalOpenRouter, make_client: MakeClient
) -> None:
    """A reply with faults only keeps the default body, here cut off."""
    server.reply(path="/results", stop="end", stop_at=40)
    async with make_client(retries=Retries(max_attempts=1)) as client:
        found = await ended(client, server)
        with pytest.raises(MalformedResponseError):
            await client.request("GET", f"/batches/{found['id']}/results")
        page = await client.request("GET", f"/batches/{found['id']}/results")

    assert len(page["data"]) == 2
