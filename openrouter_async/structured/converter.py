"""
JSON values -> typed values, by a converter of cattrs that takes nothing for granted.

cattrs calls `int("3")` and `bool("no")`; here a value must be of its JSON type. Only
what is exact is converted (1 -> 1.0, 3.0 -> 3).
"""

# Types are values here, and what pyright knows of them it knows in part.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property
from types import GenericAlias
from typing import Any, Final, get_args, get_origin
from uuid import UUID

import cattrs
from cattrs.cols import is_namedtuple
from cattrs.errors import IterableValidationError, IterableValidationNote

from ..errors import ConfigurationError
from ..protocol.encode import encode
from ..types.shape import Shape
from .fields import is_object, members
from .invalid_value import InvalidValueError, faults_of, step
from .pydantic_schema import is_pydantic, validated
from .scalars import (
    SCALARS,
    Hook,
    check,
    duration,
    enumeration,
    literal,
    shown,
)
from .type_hints import (
    ANYTHING,
    LISTS,
    LITERALS,
    MAPPINGS,
    UNIONS,
    stripped,
    tuple_items,
)


class Converter:
    """Turns JSON values into typed ones, and typed ones into JSON values."""

    @cached_property
    def _cattrs(self) -> cattrs.Converter:
        """Made at first use: it takes a millisecond."""
        made = cattrs.Converter(detailed_validation=True)
        self._register_plain(made)
        self._register_compound(made)
        return made

    def structure(self, value: Any, kind: Any) -> Any:
        """
        Return the `kind` that a JSON value is.

        Raises:
            MisfitError: It is none; `inner` has every fault with its path.
        """
        try:
            return self._hook(kind)(value, kind)
        except Exception as error:
            raise InvalidValueError(str(error), tuple(faults_of(error, ""))) from error

    def unstructure(self, value: Any) -> Any:
        """Return a typed value as plain JSON values."""
        return self._cattrs.unstructure(value)

    def text(self, value: Any) -> str:
        """
        Return a typed value as JSON text; a string as it is.

        Raises:
            ConfigurationError: Something in it is no JSON; the message says where.
        """
        if isinstance(value, str):
            return value
        try:
            return encode(self.unstructure(value)).decode()
        except RecursionError:
            raise ConfigurationError("The value is nested too deeply.") from None

    def _register_plain(self, made: cattrs.Converter) -> None:
        give = made.register_unstructure_hook
        for kind in (datetime, date, time):
            give(kind, lambda value: value.isoformat())
        give(timedelta, duration)
        give(UUID, str)
        give(Decimal, float)
        give(set, lambda value: [self.unstructure(each) for each in value])
        give(frozenset, lambda value: [self.unstructure(each) for each in value])
        give(deque, lambda value: [self.unstructure(each) for each in value])

    def _register_compound(self, made: cattrs.Converter) -> None:
        factory = made.register_structure_hook_factory
        factory(lambda kind: _origin(kind) in UNIONS, self._union)
        factory(lambda kind: _origin(kind) in LITERALS, literal)
        factory(
            lambda kind: isinstance(kind, type) and issubclass(kind, Enum), enumeration
        )
        factory(lambda kind: _origin(kind) in LISTS, self._sequence)
        factory(lambda kind: _origin(kind) is tuple, self._tuple)
        factory(lambda kind: _origin(kind) in MAPPINGS, self._mapping)
        factory(_is_class, self._class)
        made.register_structure_hook_func(is_pydantic, validated)
        made.register_unstructure_hook_func(
            is_pydantic, lambda value: value.model_dump(mode="json")
        )
        made.register_unstructure_hook_factory(_is_class, self._taken_apart)
        # The codec knows its own.
        made.register_unstructure_hook_func(_is_shape, lambda value: value)

    def _taken_apart(self, kind: Any) -> Callable[[Any], Any]:
        names = [member.name for member in members(kind)]
        return lambda value: {
            name: self.unstructure(getattr(value, name)) for name in names
        }

    def _hook(self, kind: Any) -> Hook:
        kind = stripped(kind)
        # Not by cattrs: it would take an IntEnum for an int.
        return SCALARS.get(kind) or self._cattrs.get_structure_hook(kind)

    def _sequence(self, kind: Any) -> Hook:
        (item,) = get_args(kind) or (Any,)
        hook = self._hook(item)
        origin: Any = _origin(kind)
        make = origin if origin in (set, frozenset, deque) else list
        if "Set" in getattr(origin, "__name__", ""):
            make = set

        def structure(value: Any, _: Any) -> Any:
            check(value, list)
            found = _each(((at, hook, item, v) for at, v in enumerate(value)), kind)
            return make(found)

        return structure

    def _tuple(self, kind: Any) -> Hook:
        kinds = tuple_items(kind)
        if len(kinds) == 2 and kinds[1] is ...:  # noqa: PLR2004 -- tuple[X, ...]
            sequence = self._sequence(GenericAlias(list, kinds[:1]))
            return lambda value, given: tuple(sequence(value, given))
        hooks = [(self._hook(each), each) for each in kinds]

        def structure(value: Any, _: Any) -> Any:
            check(value, list)
            if len(value) != len(hooks):
                raise InvalidValueError(f"it has {len(value)} items, not {len(hooks)}")
            pairs = enumerate(zip(hooks, value, strict=True))
            return tuple(_each(((at, *hook, v) for at, (hook, v) in pairs), kind))

        return structure

    def _mapping(self, kind: Any) -> Hook:
        _, item = get_args(kind) or (str, Any)
        hook = self._hook(item)

        def structure(value: Any, _: Any) -> Any:
            check(value, dict)
            found = _each(((key, hook, item, v) for key, v in value.items()), kind)
            return dict(zip(value, found, strict=True))

        return structure

    def _class(self, kind: Any) -> Hook:
        """Read the members one by one; what a class does not know is passed over."""
        listed = members(kind)
        origin: Any = _origin(kind)
        aliases = {
            field.name: field.alias for field in getattr(origin, "__attrs_attrs__", ())
        }
        hooks: dict[str, Hook] = {}

        def structure(value: Any, _: Any) -> Any:
            check(value, dict)
            # Asked for at first use: a class may be made of itself.
            if len(hooks) < len(listed):
                hooks.update((m.name, self._hook(m.kind)) for m in listed)
            there = [member for member in listed if member.name in value]
            missing = [m for m in listed if m.required and m.name not in value]
            found = _each(
                (
                    *((m.name, hooks[m.name], m.kind, value[m.name]) for m in there),
                    *((m.name, _missing, m.kind, None) for m in missing),
                ),
                kind,
            )
            names = (aliases.get(member.name, member.name) for member in there)
            return origin(**dict(zip(names, found, strict=True)))

        return structure

    def _union(self, kind: Any) -> Hook:
        """
        Take the first member that fits.

        What can be told apart by its JSON type is. Among strings the narrower ones
        come first: a literal, a date, then any text. Among classes, the one whose
        members are most like the keys that came.
        """
        kinds = sorted(get_args(kind), key=_breadth)
        hooks = [(each, _json_class(each), self._hook(each)) for each in kinds]
        keys = {each: _keys(each) for each in kinds if _keys(each) is not None}

        def structure(value: Any, _: Any) -> Any:
            cls: Any = value.__class__
            fitting = [hook for hook in hooks if hook[1] in (cls, None)]
            if not fitting and cls in (int, float):
                fitting = [hook for hook in hooks if hook[1] in (int, float)]
            if cls is dict and len(fitting) > 1:
                fitting.sort(key=lambda hook: _unlike(keys.get(hook[0]), value))
            failed: list[Exception] = []
            for each, _cls, hook in fitting:
                try:
                    return hook(value, each)
                except Exception as error:  # noqa: BLE001 -- a class may raise any
                    failed.append(error)
            if failed and (len(failed) == 1 or cls is dict):
                raise failed[0]
            raise InvalidValueError(f"{shown(value)} is none of {_listed(kinds)}")

        return structure


def _each(found: Iterable[tuple[Any, Hook, Any, Any]], kind: Any) -> "list[Any]":
    """Structure values one by one; all faults are told, each with its place."""
    made: list[Any] = []
    errors: list[Exception] = []
    for place, hook, item, value in found:
        try:
            made.append(hook(value, item))
        except Exception as error:  # noqa: BLE001 -- a class may raise any
            error.add_note(IterableValidationNote(step(place), place, item))
            errors.append(error)
    if errors:
        # pyright takes it for a plain `ExceptionGroup`.
        raise IterableValidationError("It does not fit", errors, kind)  # pyright: ignore[reportCallIssue]
    return made


def _missing(_value: Any, _kind: Any) -> Any:
    raise InvalidValueError("it is missing")


def _origin(kind: Any) -> Any:
    return get_origin(kind) or kind


def _is_shape(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Shape)


def _is_class(kind: Any) -> bool:
    return is_object(_origin(kind)) and not is_pydantic(kind)


def _json_class(kind: Any) -> Any:
    """Return the class that `kind` has in JSON; None where it may be several."""
    kind = stripped(kind)
    origin = _origin(kind)
    if kind in (bool, int, float, str, type(None)):
        return kind
    if kind in (datetime, date, time, timedelta, UUID):
        return str
    if origin in LISTS or (origin is tuple and not is_namedtuple(kind)):
        return list
    if origin in MAPPINGS or _is_class(kind):
        return dict
    return None


def _breadth(kind: Any) -> int:
    """Order the members of a union: the narrower a type, the sooner it is tried."""
    kind = stripped(kind)
    if kind in ANYTHING:
        return 4
    if kind in (str, float):
        return 3
    narrow = _origin(kind) in LITERALS or isinstance(kind, type)
    return 1 if narrow and _json_class(kind) is None else 2


def _keys(kind: Any) -> frozenset[str] | None:
    kind = stripped(kind)
    if is_pydantic(kind):
        return frozenset(kind.model_fields)
    if _is_class(kind):
        return frozenset(member.name for member in members(kind))
    return None


def _unlike(known: frozenset[str] | None, value: Mapping[str, Any]) -> int:
    """Count the keys that only one of the two has; a free mapping comes last."""
    return sys.maxsize if known is None else len(known ^ value.keys())


def _listed(kinds: Iterable[Any]) -> str:
    return ", ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)


converter: Final = Converter()
"""The one converter; hooks are made at the first use of a type and kept."""
