"""
The parts of Ray and pyarrow that `openrouter_async.ray` uses, in this process.

Real Ray takes seconds to start and may not be installed. `tests/ray` has the tests that
need it: processes that die, and datasets that are executed.
"""

# What stands in for untyped modules has no types either.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import pytest


class StandInError(Exception):
    """The base class of Ray's errors."""


class Actor:
    """The handle of an actor, whose methods are called at once."""

    def __init__(self, instance: Any) -> None:
        self.instance = instance
        self.is_dead = False
        self.is_slow = False
        self.call = SimpleNamespace(remote=self._remote)

    def _remote(self, *arguments: Any) -> Any:
        """Return what stands in for a reference to the result of `call`."""
        return SimpleNamespace(future=lambda: self._future(arguments))

    def _future(self, arguments: Sequence[Any]) -> Future[Any]:
        future: Future[Any] = Future()
        if self.is_dead:
            future.set_exception(StandInError("The actor died."))
        elif not self.is_slow:
            future.set_result(self.instance.call(*arguments))
        return future


class Table:
    """A table of named columns."""

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self.columns = {name: list(values) for name, values in columns.items()}

    @property
    def column_names(self) -> list[str]:
        return list(self.columns)

    def select(self, names: Sequence[str]) -> "Table":
        return Table({name: self.columns[name] for name in names})

    def to_pylist(self) -> list[dict[str, Any]]:
        rows = zip(*self.columns.values(), strict=True)
        return [dict(zip(self.columns, row, strict=True)) for row in rows]

    def append_column(self, name: str, values: Sequence[Any]) -> "Table":
        return Table({**self.columns, name: values})


class Dataset:
    """A lazy dataset of one block, with the calls that made it."""

    def __init__(self, table: Table, *, has_schema: bool = True) -> None:
        self.table = table
        self.has_schema = has_schema
        self.options: dict[str, Any] = {}
        self.stage: Any = None

    def schema(self, *, fetch_if_missing: bool) -> Any:
        assert not fetch_if_missing
        return (
            SimpleNamespace(names=self.table.column_names) if self.has_schema else None
        )

    def repartition(self, **options: Any) -> Self:
        self.options.update(options)
        return self

    def write_parquet(self, path: str) -> None:
        """Execute the dataset; nothing is written."""
        assert path
        stage = self.stage(*self.options["fn_constructor_args"])
        asyncio.run(stage(self.table))
        stage._worker.close()

    def map_batches(self, stage: Any, **options: Any) -> Self:
        self.stage = stage
        self.options.update(options)
        return self


def _array(values: Sequence[Any], type: Callable[[], object]) -> Sequence[Any]:  # noqa: A002 - pyarrow's name
    kind = type
    assert all(isinstance(value, kind) for value in values)  # type: ignore[arg-type]
    return values


class StandIn:
    """
    A Ray that is initialised.

    Attributes:
        actors: All actors that were created.
        actor_id: The id of the actor that the stages are in; None: each has its own.
        is_initialized_value: False: as before `ray.init()`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.actors: list[Actor] = []
        self.actor_id: str | None = None
        self.is_initialized_value = True
        ray, arrow = ModuleType("ray"), ModuleType("pyarrow")
        ray.__dict__.update(
            is_initialized=lambda: self.is_initialized_value,
            get_runtime_context=lambda: SimpleNamespace(
                get_node_id=lambda: "node", get_actor_id=lambda: self.actor_id
            ),
            remote=lambda cls: SimpleNamespace(options=lambda **_: self._maker(cls)),
            kill=self._kill,
            exceptions=SimpleNamespace(RayError=StandInError),
        )
        arrow.__dict__.update(
            array=_array,
            string=lambda: str,
            int64=lambda: int,
            float64=lambda: float,
        )
        strategies = ModuleType("ray.util.scheduling_strategies")
        strategies.__dict__["NodeAffinitySchedulingStrategy"] = dict
        data = ModuleType("ray.data")
        data.__dict__["ActorPoolStrategy"] = dict
        columns = {"id": ["a", "b"], "text": ["Hello", "Goodbye"]}
        data.__dict__["read_json"] = lambda _: Dataset(Table(columns))
        ray.__dict__.update(data=data, init=lambda: None)
        for module in (ray, arrow, strategies, data):
            monkeypatch.setitem(sys.modules, module.__name__, module)

    def _maker(self, cls: type) -> Any:
        def make(*arguments: Any) -> Actor:
            self.actors.append(Actor(cls(*arguments)))
            return self.actors[-1]

        return SimpleNamespace(remote=make)

    def _kill(self, actor: Actor) -> None:
        actor.is_dead = True
