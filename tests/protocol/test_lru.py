"""LRUCache: bounded size, order of eviction, the mapping interface."""

import pytest

from openrouter_async.protocol.lru import LRUCache


def test_adding_to_a_full_cache_evicts_the_entry_used_least_recently() -> None:
    cache = LRUCache[str, int](2)
    cache["a"] = 1
    cache["b"] = 2
    assert cache["a"] == 1

    cache["c"] = 3

    assert dict(cache) == {"a": 1, "c": 3}


def test_get_marks_an_entry_as_used() -> None:
    cache = LRUCache[str, int](2)
    cache.update(a=1, b=2)

    assert cache.get("a") == 1
    cache["c"] = 3
    assert [*cache] == ["a", "c"]


def test_membership_test_does_not_mark_an_entry_as_used() -> None:
    cache = LRUCache[str, int](2)
    cache.update(a=1, b=2)

    assert "a" in cache
    cache["c"] = 3
    assert [*cache] == ["b", "c"]


def test_replacing_a_value_evicts_nothing() -> None:
    cache = LRUCache[str, int](2)
    cache.update(a=1, b=2)

    cache["a"] = 3

    assert len(cache) == 2
    assert [*cache.items()] == [("b", 2), ("a", 3)]


def test_missing_key_is_a_key_error_and_get_returns_the_default() -> None:
    cache = LRUCache[str, int](1)

    assert cache.get("a") is None
    with pytest.raises(KeyError):
        cache["a"]
    with pytest.raises(KeyError):
        del cache["a"]


def test_deleted_entry_makes_way_for_another() -> None:
    cache = LRUCache[str, int](1)
    cache["a"] = 1

    del cache["a"]

    assert "a" not in cache
    assert len(cache) == 0


def test_get_or_add_returns_the_value_that_is_there_and_marks_it_as_used() -> None:
    cache = LRUCache[str, int](2)
    cache.update(a=1, b=2)

    assert cache.get_or_add("a", 3) == 1
    assert cache.get_or_add("c", 4) == 4
    assert dict(cache) == {"a": 1, "c": 4}


def test_discard_removes_an_entry_or_does_nothing() -> None:
    cache = LRUCache[str, int](2)
    cache.update(a=1, b=2)

    cache.discard("a")
    cache.discard("a")

    assert dict(cache) == {"b": 2}
