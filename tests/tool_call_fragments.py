"""
Fragments of streamed tool calls, as providers send them.

Providers disagree about indexes, ids and repeated keys; the accumulator and a tool run
are both tested with these streams.
"""

from typing import Any


def fragment(
    index: Any = ...,
    ident: Any = ...,
    name: Any = ...,
    arguments: Any = ...,
    **more: Any,
) -> dict[str, Any]:
    """Return one element of a delta's `tool_calls`; `...` leaves a key out."""
    members = {"index": index, "id": ident}
    function = {"name": name, "arguments": arguments}
    return {
        **{key: value for key, value in members.items() if value is not ...},
        "function": {key: value for key, value in function.items() if value is not ...},
        **more,
    }


# For each case, the `tool_calls` of each delta, and the id, name and arguments of
# each call that they add up to.
FRAGMENTED_CALLS: dict[str, tuple[list[list[Any]], list[tuple[str, str, str]]]] = {
    "by the specification": (
        [[fragment(0, "a", "f", "")], [fragment(0, arguments='{"x"')], [fragment(0, arguments="")], [fragment(0, arguments=":1}")]],
        [("a", "f", '{"x":1}')],
    ),
    "parallel": (
        [[fragment(0, "a", "f", ""), fragment(1, "b", "g", "")], [fragment(1, arguments="{}")], [fragment(0, arguments="[]")]],
        [("a", "f", "[]"), ("b", "g", "{}")],
    ),
    "no index, ids": (
        [[fragment(..., "a", "f", "{")], [fragment(..., "b", "g", "[")], [fragment(..., "a", arguments="}")], [fragment(..., "b", arguments="]")]],
        [("a", "f", "{}"), ("b", "g", "[]")],
    ),
    "no index, later fragments belong to the last call": (
        [[fragment(..., "a", "f", "")], [fragment(arguments="{")], [fragment(arguments="}")], [fragment(..., "b", "g")], [fragment(arguments="{}")]],
        [("a", "f", "{}"), ("b", "g", "{}")],
    ),
    "no index, no id, a name in each fragment": (
        [[fragment(name="f", arguments="{")], [fragment(name="f", arguments="}")], [fragment(name="g", arguments="{}")]],
        [("call_gen17AbC_0_0", "f", "{}"), ("call_gen17AbC_0_1", "g", "{}")],
    ),
    "no index, no id, whole calls": (
        [[fragment(name="f", arguments='{"a":1}')], [fragment(name="f", arguments='{"a":2}')], [fragment(name="f", arguments={"a": 2})]],
        [("call_gen17AbC_0_0", "f", '{"a":1}'), ("call_gen17AbC_0_1", "f", '{"a":2}'), ("call_gen17AbC_0_2", "f", '{"a":2}')],
    ),
    "no index, no id, in one chunk": (
        [[fragment(name="f"), fragment(name="f"), fragment(name="f")]],
        [(f"call_gen17AbC_0_{n}", "f", "{}") for n in range(3)],
    ),
    "no index, the id in a later fragment": ([[fragment(name="f")], [fragment(..., "a", arguments="{}")]], [("a", "f", "{}")]),
    "the name in each fragment, cut inside a number": (
        [[fragment(name="f", arguments=text)] for text in ('{"a":', "1", "2", "}")],
        [("call_gen17AbC_0_0", "f", '{"a":12}')],
    ),
    "no index, id or name": ([[fragment(arguments="{")], [fragment(arguments="}")]], [("call_gen17AbC_0_0", "", "{}")]),
    "one index for all": (
        [[fragment(0, "a", "f", "{}")], [fragment(0, "b", "g", "")], [fragment(0, arguments="[]")], [fragment(0, "a", arguments=" ")]],
        [("a", "f", "{}"), ("b", "g", "[]")],
    ),
    "one index for all, no ids": (
        [[fragment(0, "", "f", "{}"), fragment(0, "", "f", "{}")], [fragment(0, None, "g", "{}")], [fragment(0, None, "g", '{"x":1}')]],
        [(f"call_gen17AbC_0_{n}", name, text) for n, (name, text) in enumerate([("f", "{}"), ("f", "{}"), ("g", "{}"), ("g", '{"x":1}')])],
    ),
    "ids and names repeated": (
        [[fragment(0, "a", "f", "{")], [fragment(0, "a", "f", '"x"')], [fragment(0, "a", "f", ":1}")]],
        [("a", "f", '{"x":1}')],
    ),
    "the id in a later fragment": ([[fragment(0, None, "f", "{")], [fragment(0, "a", "f", "}")]], [("a", "f", "{}")]),
    "an id in a later fragment with another name": (
        [[fragment(0, None, "f", "{}")], [fragment(0, "a", "g", "{}")]],
        [("call_gen17AbC_0_0", "f", "{}"), ("a", "g", "{}")],
    ),
    "ids null and empty": (
        [[fragment(0, None, "f", "{}")], [fragment(1, "", "g", "{}")], [fragment(2, name="h")]],
        [("call_gen17AbC_0_0", "f", "{}"), ("call_gen17AbC_0_1", "g", "{}"), ("call_gen17AbC_0_2", "h", "{}")],
    ),
    "the name in a later fragment": ([[fragment(0, "a", None, "")], [fragment(0, "a", "f", "{}")], [fragment(0, "a", "ff")]], [("a", "f", "{}")]),
    "arguments null": ([[fragment(0, "a", "f", None)], [fragment(0, arguments="{}")], [fragment(0, arguments=None)]], [("a", "f", "{}")]),
    "arguments absent": ([[fragment(0, "a", "f")]], [("a", "f", "{}")]),
    "arguments empty": ([[fragment(0, "a", "f", "")], [fragment(0, arguments=" ")], [fragment(0, arguments="\n")]], [("a", "f", "{}")]),
    "arguments as an object": ([[fragment(0, "a", "f", {"x": "\u00e9"})], [fragment(0, arguments="")]], [("a", "f", '{"x":"\u00e9"}')]),
    "arguments repeated as an object at the end": ([[fragment(0, "a", "f", '{"x"')], [fragment(0, "a", arguments={"x": 1})]], [("a", "f", '{"x":1}')]),
    "the whole call repeated": ([[fragment(0, "a", "f", '{"x"')], [fragment(0, arguments=":1}")], [fragment(0, "a", "f", '{"x":1}')]], [("a", "f", '{"x":1}')]),
    "the whole call repeated, no id": ([[fragment(0, None, "f", '{"x":1}')], [fragment(0, None, "f", '{"x":1}')]], [("call_gen17AbC_0_0", "f", '{"x":1}')]),
    "white space after the end": ([[fragment(0, "a", "f", '{"x":1}')], [fragment(0, arguments=" ")], [fragment(0, arguments="\n")]], [("a", "f", '{"x":1}')]),
    "white space inside": ([[fragment(0, "a", "f", '{"x":')], [fragment(0, arguments=" ")], [fragment(0, arguments="1}")]], [("a", "f", '{"x": 1}')]),
    "cut after white space": ([[fragment(0, "a", "f", '{"x": ')]], [("a", "f", '{"x": ')]),
    "indexes out of order": ([[fragment(7, "b", "g", "{}")], [fragment(2, "a", "f", "{}")]], [("a", "f", "{}"), ("b", "g", "{}")]),
    "indexes from 1": ([[fragment(1, "a", "f", "{")], [fragment(2, "b", "g", "{}")], [fragment(1, arguments="}")]], [("a", "f", "{}"), ("b", "g", "{}")]),
    "indexes of other types": ([[fragment("0", "a", "f", "{")], [fragment(None, arguments="}")]], [("a", "f", "{}")]),
    "two calls with one id": ([[fragment(0, "a", "f", "{}")], [fragment(1, "a", "g", "{}")]], [("a", "f", "{}"), ("a", "g", "{}")]),
    "fragments that are not objects": ([[None, 5, fragment(0, "a", "f", "{}")], [{"index": 0, "function": None}]], [("a", "f", "{}")]),
}  # fmt: skip
