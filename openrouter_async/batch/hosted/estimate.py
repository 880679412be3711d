"""The number of batches that rows need, and their price in batches and live."""

import datetime as dt
from collections.abc import Container
from typing import Any

from attrs import define, field, frozen

from ...errors import ConfigurationError
from ...protocol.budget import Price, TokenBounds, token_bounds
from ...protocol.decode import decode
from ...protocol.encode import encode
from ..request_builder import RequestBuilder
from ..rows.items import read_item
from ..source import END, Source
from .plan import MAX_BYTES, MAX_ROWS, BatchGroup, other_slug, plan_row


@frozen
class ModelEstimate:
    """
    The rows of one model.

    Attributes:
        model: Model id.
        rows: Number of rows.
        batches: Number of batches that they need.
        batch_price: Highest price in batches; None if unknown.
        live_price: Highest live price; None if unknown.
        batch_cost: Highest cost of all rows in batches, in US dollars; None if
            unknown, because a row has no token limit or more than text.
        live_cost: Highest cost of all rows as calls, in US dollars; None if unknown.
    """

    model: str
    rows: int
    batches: int
    batch_price: Price | None
    live_price: Price | None
    batch_cost: float | None
    live_cost: float | None


@frozen
class HostedEstimate:
    """
    The estimate of a run with hosted batches.

    Attributes:
        rows: Number of rows.
        done: Rows whose result is in the journal.
        invalid: Rows that cannot be sent in a hosted batch.
        problem: The reason for the first invalid row; None if all are valid.
        models: The valid rows, by model.
        read_at: Time at which the prices were read.
    """

    rows: int
    done: int
    invalid: int
    problem: ConfigurationError | None
    models: list[ModelEstimate]
    read_at: dt.datetime


@define
class _FilledGroup:
    rows: int = 0
    size: int = 0
    batches: int = 1


@define
class _Model:
    groups: dict[BatchGroup, _FilledGroup] = field(
        factory=dict[BatchGroup, _FilledGroup]
    )
    rows: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    is_bounded: bool = True

    def add(self, group: BatchGroup, line: bytes, body: Any, size: int) -> None:
        found = self.groups.setdefault(group, _FilledGroup())
        if found.rows == MAX_ROWS or found.size + len(line) > MAX_BYTES:
            found.rows = found.size = 0
            found.batches += 1
        found.rows += 1
        found.size += len(line) + 2
        self.rows += 1
        bounds = token_bounds(body, size)
        if bounds is None:
            self.is_bounded = False
        else:
            self.prompt_tokens += bounds.prompt
            self.completion_tokens += bounds.completion

    def cost(self, price: Price | None) -> float | None:
        if price is None or not self.is_bounded:
            return None
        bounds = TokenBounds(self.prompt_tokens, self.completion_tokens)
        return price.highest_cost(bounds, requests=self.rows)


async def estimate_rows(
    source: Source, builder: RequestBuilder, done: Container[str]
) -> HostedEstimate:
    """
    Check all rows, and read the prices of their models; nothing is submitted.

    Args:
        source: The rows.
        builder: Builds the requests, and reads prices.
        done: Names of the rows whose result is in the journal.
    """
    count = already_done = invalid = 0
    problem: ConfigurationError | None = None
    models: dict[str, _Model] = {}
    while (item := await source.pull()) is not END:
        count += 1
        try:
            row = read_item(item, count - 1)
            if row.name in done:
                already_done += 1
                continue
            encoded = encode(builder.body(row))
            body = decode(encoded)
            planned = plan_row(body, row.name)
        except (ConfigurationError, TypeError) as error:
            invalid += 1
            problem = problem or ConfigurationError(str(error))
            continue
        model = models.setdefault(planned.group.model, _Model())
        model.add(planned.group, planned.line, body, len(encoded))
    found: list[ModelEstimate] = []
    for name, model in models.items():
        base = name.removesuffix(":batch")
        batch_price = await builder.fetch_price(other_slug(base))
        live_price = await builder.fetch_price(base)
        found.append(
            ModelEstimate(
                name,
                model.rows,
                sum(group.batches for group in model.groups.values()),
                batch_price,
                live_price,
                model.cost(batch_price),
                model.cost(live_price),
            )
        )
    now = dt.datetime.now(dt.UTC)
    return HostedEstimate(count, already_done, invalid, problem, found, now)
