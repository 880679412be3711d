"""
Conversion between JSON values and typed values.

It is a cattrs converter with hooks of its own. All errors are reported, each with its
path, and only exact conversions are made: a string is never converted to a number.
"""

# Annotations are values here, and pyright knows the types of only some of them.
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
from typing import Any, Final, get_args
from uuid import UUID

import cattrs
from cattrs.errors import IterableValidationError, IterableValidationNote

from ..errors import ConfigurationError
from ..protocol.encode import encode
from ..types.shape import Shape
from .exact_json import ExactFloat
from .fields import fields_of, has_fields
from .invalid_value import ANY_KEY, InvalidValueError, errors_of, path_step, quotes
from .pydantic_schema import dump_model, is_pydantic, model_field_names, validate_model
from .scalars import (
    SCALARS,
    Hook,
    check_type,
    decimal_to_json,
    enum_hook,
    format_duration,
    literal_hook,
    mismatch,
)
from .type_hints import (
    ANY_TYPES,
    ARRAYS,
    LITERALS,
    MAPPINGS,
    UNIONS,
    origin_of,
    tuple_items,
    unwrap,
)


class Converter:
    """Converts JSON values to typed values (`structure`), and back (`unstructure`)."""

    @cached_property
    def _cattrs(self) -> cattrs.Converter:
        """The cattrs converter; created on first use, because it takes 1 ms."""
        converter = cattrs.Converter(detailed_validation=True)
        self._register_structure_hooks(converter)
        self._register_unstructure_hooks(converter)
        return converter

    def structure(self, value: Any, kind: Any) -> Any:
        """
        Convert a JSON value to a value of type `kind`.

        Raises:
            InvalidValueError: If the value does not match the type.
        """
        try:
            return self._hook(kind)(value, kind)
        except Exception as error:
            errors = errors_of(error, value)
            if not quotes(error, value):
                raise InvalidValueError("Invalid value", errors) from error
        # Raised outside the except block: a traceback would show what is quoted.
        raise InvalidValueError("Invalid value", errors)

    def unstructure(self, value: Any) -> Any:
        """Convert a typed value to plain JSON values."""
        return self._cattrs.unstructure(value)

    def to_text(self, value: Any) -> str:
        """
        Return a string unchanged, and any other value as JSON text.

        Raises:
            ConfigurationError: If the value cannot be encoded as JSON.
        """
        if isinstance(value, str):
            return value
        try:
            return encode(self.unstructure(value)).decode()
        except RecursionError:
            raise ConfigurationError("The value is nested too deeply.") from None

    def _register_structure_hooks(self, converter: cattrs.Converter) -> None:
        register = converter.register_structure_hook_factory
        register(lambda kind: origin_of(kind) in UNIONS, self._union)
        register(lambda kind: origin_of(kind) in LITERALS, literal_hook)
        register(lambda kind: origin_of(kind) in ARRAYS, self._array)
        register(lambda kind: origin_of(kind) is tuple, self._tuple)
        register(lambda kind: origin_of(kind) in MAPPINGS, self._mapping)
        register(_is_class, self._class)
        converter.register_structure_hook_func(is_pydantic, validate_model)

    def _register_unstructure_hooks(self, converter: cattrs.Converter) -> None:
        register = converter.register_unstructure_hook
        for moment in (datetime, date, time):
            register(moment, lambda value: value.isoformat())
        register(timedelta, format_duration)
        register(UUID, str)
        register(Decimal, decimal_to_json)
        for array in (set, frozenset, deque):
            register(array, lambda value: [self.unstructure(each) for each in value])
        converter.register_unstructure_hook_func(is_pydantic, dump_model)
        converter.register_unstructure_hook_factory(_is_class, self._unstructure_class)
        # `encode` writes the package's own shapes.
        converter.register_unstructure_hook_func(_is_shape, lambda value: value)

    def _unstructure_class(self, kind: Any) -> Callable[[Any], Any]:
        names = [field.name for field in fields_of(kind)]
        return lambda value: {
            name: self.unstructure(getattr(value, name)) for name in names
        }

    def _hook(self, kind: Any) -> Hook:
        kind = unwrap(kind)
        # Scalars and enums are not registered with cattrs, because its dispatch looks
        # at superclasses first: an IntEnum would be structured as an int.
        if isinstance(kind, type) and issubclass(kind, Enum):
            return enum_hook(kind)
        return SCALARS.get(kind) or self._cattrs.get_structure_hook(kind)

    def _array(self, kind: Any) -> Hook:
        (item,) = get_args(kind) or (Any,)
        hook = self._hook(item)
        origin = origin_of(kind)
        make = origin if origin in (set, frozenset, deque) else list
        # `collections.abc.Set` and `MutableSet`.
        if "Set" in getattr(origin, "__name__", ""):
            make = set

        def structure(value: Any, _: Any) -> Any:
            check_type(value, list)
            items = _structure_each(
                ((index, hook, item, each) for index, each in enumerate(value)), kind
            )
            return make(items)

        return structure

    def _tuple(self, kind: Any) -> Hook:
        kinds = tuple_items(kind)
        if kinds[1:] == (...,):
            array = self._array(GenericAlias(list, kinds[:1]))
            return lambda value, kind: tuple(array(value, kind))
        hooks = [(self._hook(each), each) for each in kinds]

        def structure(value: Any, _: Any) -> Any:
            check_type(value, list)
            if len(value) != len(hooks):
                raise InvalidValueError(
                    f"expected {len(hooks)} items, got {len(value)}"
                )
            pairs = enumerate(zip(hooks, value, strict=True))
            return tuple(
                _structure_each(
                    ((index, *hook, each) for index, (hook, each) in pairs), kind
                )
            )

        return structure

    def _mapping(self, kind: Any) -> Hook:
        _, item = get_args(kind) or (str, Any)
        hook = self._hook(item)

        def structure(value: Any, _: Any) -> Any:
            check_type(value, dict)
            items = _structure_each(
                ((ANY_KEY, hook, item, each) for each in value.values()), kind
            )
            return dict(zip(value, items, strict=True))

        return structure

    def _class(self, kind: Any) -> Hook:
        """Return the hook of a class with fields; unknown keys are ignored."""
        fields = fields_of(kind)
        cls = origin_of(kind)
        # attrs strips the underscore of a private field from its `__init__` argument.
        aliases = {
            each.name: each.alias for each in getattr(cls, "__attrs_attrs__", ())
        }
        hooks: dict[str, Hook] = {}

        def structure(value: Any, _: Any) -> Any:
            check_type(value, dict)
            # Looked up on first use: in a recursive class, a field's hook is this one.
            if len(hooks) < len(fields):
                hooks.update((field.name, self._hook(field.kind)) for field in fields)
            present = [field for field in fields if field.name in value]
            missing = [f for f in fields if f.required and f.name not in value]
            values = _structure_each(
                (
                    *((f.name, hooks[f.name], f.kind, value[f.name]) for f in present),
                    *((f.name, _missing, f.kind, None) for f in missing),
                ),
                kind,
            )
            names = (aliases.get(field.name, field.name) for field in present)
            return cls(**dict(zip(names, values, strict=True)))

        return structure

    def _union(self, kind: Any) -> Hook:
        """
        Return the hook that takes the first member of a union that fits.

        1. Members that have another JSON type than the value are skipped.
        2. The others are tried from specific to general: of those that are strings, a
           literal, then a date, then any text.
        3. For an object, the classes whose fields are most like its keys come first.
        """
        kinds = sorted(get_args(kind), key=_generality)
        hooks = [(each, _json_class(each), self._hook(each)) for each in kinds]
        keys = {each: _field_names(each) for each in kinds}

        def structure(value: Any, _: Any) -> Any:
            cls: Any = value.__class__
            if cls is ExactFloat:
                cls = float
            candidates = [hook for hook in hooks if hook[1] in (cls, None)]
            # 1 is a float, and 1.0 an int, where the union has only the other one.
            if not candidates and cls in (int, float):
                candidates = [hook for hook in hooks if hook[1] in (int, float)]
            if cls is dict and len(candidates) > 1:
                candidates.sort(key=lambda hook: _key_distance(keys[hook[0]], value))
            errors: list[Exception] = []
            for each, _cls, hook in candidates:
                try:
                    return hook(value, each)
                except Exception as error:  # noqa: BLE001 - a class may raise anything
                    errors.append(error)
            # Report the errors of the most likely member; between scalars, none is.
            if errors and (len(errors) == 1 or cls is dict):
                raise errors[0]
            raise mismatch(" | ".join(map(_type_name, kinds)), value)

        return structure


def _structure_each(
    parts: Iterable[tuple[str | int, Hook, Any, Any]], kind: Any
) -> list[Any]:
    """
    Structure the parts of a value: (key or index, hook, type, JSON value) of each.

    Raises:
        IterableValidationError: With the errors of all parts, each with its key.
    """
    structured: list[Any] = []
    errors: list[Exception] = []
    for key, hook, item, value in parts:
        try:
            structured.append(hook(value, item))
        except Exception as error:  # noqa: BLE001 - a class may raise anything
            error.add_note(IterableValidationNote(path_step(key), key, item))
            errors.append(error)
    if errors:
        # To pyright, its constructor is that of `ExceptionGroup`.
        raise IterableValidationError("Invalid value", errors, kind)  # pyright: ignore[reportCallIssue]
    return structured


def _missing(_value: Any, _kind: Any) -> Any:
    raise InvalidValueError("a required field is missing")


def _is_shape(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Shape)


def _is_class(kind: Any) -> bool:
    return has_fields(origin_of(kind)) and not is_pydantic(kind)


def _json_class(kind: Any) -> Any:
    """Return the class of a type's JSON values; None if there are several."""
    kind = unwrap(kind)
    origin = origin_of(kind)
    if kind in (bool, int, float, str, type(None)):
        return kind
    if kind in (datetime, date, time, timedelta, UUID):
        return str
    if origin in ARRAYS or origin is tuple:
        return list
    if origin in MAPPINGS or _is_class(kind):
        return dict
    return None


def _generality(kind: Any) -> int:
    """Return the sort key of a union's member: specific types come first."""
    kind = unwrap(kind)
    if kind in ANY_TYPES:
        return 4
    if kind in (str, float):
        return 3
    specific = origin_of(kind) in LITERALS or isinstance(kind, type)
    return 1 if specific and _json_class(kind) is None else 2


def _field_names(kind: Any) -> frozenset[str] | None:
    """Return the names of a class's fields; None for a type without fields."""
    kind = unwrap(kind)
    if is_pydantic(kind):
        return model_field_names(kind)
    if _is_class(kind):
        return frozenset(field.name for field in fields_of(kind))
    return None


def _key_distance(names: frozenset[str] | None, value: Mapping[str, Any]) -> int:
    """Count the keys that only the class or only the object has; mappings are last."""
    return sys.maxsize if names is None else len(names ^ value.keys())


def _type_name(kind: Any) -> str:
    if kind is type(None):
        return "None"
    return kind.__name__ if isinstance(kind, type) else str(kind)


converter: Final = Converter()
"""The converter of the package; it keeps the hooks of the types it has met."""
