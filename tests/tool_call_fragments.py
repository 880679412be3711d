"""
Fragments of streamed tool calls, as providers send them.

Providers disagree about indexes, ids and repeated keys; the accumulator and a tool run
are both tested with these streams.
"""

from typing import Any

from openrouter_async.protocol.surrogates import SurrogateText


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
    "a new id on each fragment": (
        [[fragment(0, "a", "f", "")], [fragment(0, "b", arguments='{"x"')], [fragment(0, "c", arguments=":1}")]],
        [("a", "f", '{"x":1}')],
    ),
    "a new id on each fragment, without index": (
        [[fragment(..., "a", "f")], [fragment(..., "b", arguments='{"x"')], [fragment(..., "c", arguments=":1}")]],
        [("a", "f", '{"x":1}')],
    ),
    "a new id and a new index on each fragment": (
        [[fragment(0, "a", "f", "")], [fragment(1, "b", arguments='{"x"')], [fragment(2, "c", arguments=":1}")]],
        [("a", "f", '{"x":1}')],
    ),
    "a new id and the name on each fragment": (
        [[fragment(0, "a", "f", "")], [fragment(0, "b", "f", '{"x"')], [fragment(0, "c", "f", ":1}")]],
        [("a", "f", '{"x":1}')],
    ),
    "new ids in two calls": (
        [[fragment(0, "a", "f", ""), fragment(1, "b", "g", "")], [fragment(1, "c", arguments="[]")], [fragment(0, "d", arguments="{}")]],
        [("a", "f", "{}"), ("b", "g", "[]")],
    ),
    "one index for all, ids in turn": (
        [[fragment(0, "a", "f", "")], [fragment(0, "b", "g", "")], [fragment(0, "a", arguments="{}")], [fragment(0, "b", arguments="[]")]],
        [("a", "f", "{}"), ("b", "g", "[]")],
    ),
    "one index for all, calls of one function": (
        [[fragment(0, "a", "f", '{"x":1}')], [fragment(0, "b", "f", '{"x":2}')], [fragment(0, "c", "f", "")]],
        [("a", "f", '{"x":1}'), ("b", "f", '{"x":2}'), ("c", "f", "{}")],
    ),
    "the id decides under an unknown index": (
        [[fragment(0, "a", "f", ""), fragment(1, "b", "g", "{}")], [fragment(2, "a", arguments="[]")]],
        [("a", "f", "[]"), ("b", "g", "{}")],
    ),
    "the name after the id under a new index": (
        [[fragment(0, "a", "f", "{}")], [fragment(1, "b", arguments="")], [fragment(1, name="g", arguments="[]")]],
        [("a", "f", "{}"), ("b", "g", "[]")],
    ),
    "the name after another id": ([[fragment(0, "a", arguments="")], [fragment(0, "b", "f", "{}")]], [("a", "f", "{}")]),
    "no index, the name after another id": (
        [[fragment(..., "a", arguments="{}")], [fragment(..., "b", "f", "[]")]],
        [("a", "", "{}"), ("b", "f", "[]")],
    ),
    "indexes as text and as floats": (
        [[fragment("0", "a", "f", ""), fragment("1", "b", "g", "")], [fragment(1.0, arguments="[]")], [fragment(0, arguments="{}")]],
        [("a", "f", "{}"), ("b", "g", "[]")],
    ),
    "the same fragment twice, inside": (
        [[fragment(0, "a", "f", '{"a":')], [fragment(0, arguments='{"a":')], [fragment(0, arguments="1}}")]],
        [("a", "f", '{"a":{"a":1}}')],
    ),
    "the same fragment twice, inside a list": (
        [[fragment(0, "a", "f", "[[")], [fragment(0, arguments="[[")], [fragment(0, arguments="]]]]")]],
        [("a", "f", "[[[[]]]]")],
    ),
    "a list repeated at the end": ([[fragment(0, "a", "f", "[1]")], [fragment(0, arguments="[1]")]], [("a", "f", "[1]")]),
    "an empty object in front": (
        [[fragment(0, "a", "f", "{}")], [fragment(0, arguments="\n")], [fragment(0, arguments='{"x"')], [fragment(0, arguments=":1}")]],
        [("a", "f", '{"x":1}')],
    ),
    "ids that are numbers": (
        [[fragment(0, 31, "f", ""), fragment(1, 4.0, "g", "")], [fragment(0, 31, arguments="{}")], [fragment(1, 4.0, arguments="[]")]],
        [("31", "f", "{}"), ("4", "g", "[]")],
    ),
    "one index and one id for two calls": (
        [[fragment(0, "a", "f", '{"x":1}')], [fragment(0, "a", "g", '{"a"')], [fragment(0, "a", "g", ":2}")]],
        [("a", "f", '{"x":1}'), ("call_gen17AbC_0_1", "g", '{"a":2}')],
    ),
    "no index, one id for two calls": (
        [[fragment(..., "a", "f", "{}")], [fragment(..., "a", "g", "[]")]],
        [("a", "f", "{}"), ("call_gen17AbC_0_1", "g", "[]")],
    ),
    "another name before the end of the arguments": (
        [[fragment(0, "a", "f", '{"x"')], [fragment(0, "a", "g", ":1}")]],
        [("a", "f", '{"x":1}')],
    ),
    "the name in pieces": (
        [[fragment(0, "a", "get_")], [fragment(0, name="wea")], [fragment(0, name="ther")], [fragment(0, arguments="{}")]],
        [("a", "get_weather", "{}")],
    ),
    "no index, the name in pieces": (
        [[fragment(..., "a", "get_")], [fragment(name="time")], [fragment(arguments="{}")]],
        [("a", "get_time", "{}")],
    ),
    "the name repeated alone": ([[fragment(0, "a", "f")], [fragment(0, name="f")], [fragment(0, arguments="{}")]], [("a", "f", "{}")]),
    "no index, no id, names without arguments": (
        [[fragment(name="f")], [fragment(name="g")]],
        [("call_gen17AbC_0_0", "f", "{}"), ("call_gen17AbC_0_1", "g", "{}")],
    ),
    "another name with empty arguments": (
        [[fragment(0, None, "f", "")], [fragment(0, None, "g", "")]],
        [("call_gen17AbC_0_0", "f", "{}"), ("call_gen17AbC_0_1", "g", "{}")],
    ),
    "another name after arguments": (
        [[fragment(0, "a", "f", "{}")], [fragment(0, name="g")]],
        [("a", "f", "{}"), ("call_gen17AbC_0_1", "g", "{}")],
    ),
    "numbers in an object keep their digits": (
        [[fragment(0, "a", "f", {"x": 36893488147419103232})]],
        [("a", "f", '{"x":36893488147419103232}')],
    ),
    "halves of a character": (
        [[fragment(0, "a", "f", SurrogateText('{"x":"\ud83e'))], [fragment(0, arguments=SurrogateText('\udd80"}'))]],
        [("a", "f", '{"x":"\U0001f980"}')],
    ),
    "fragments that are not objects": ([[None, 5, fragment(0, "a", "f", "{}")], [{"index": 0, "function": None}]], [("a", "f", "{}")]),
}  # fmt: skip
