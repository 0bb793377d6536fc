"""Values written into a recipe's own text, so that its comments and its order stay; for a person to read as a diff.

PyYAML says where each value stands; what stands there is replaced, a key that is missing is put at the end of its
mapping. Limits: a value behind an anchor is changed for all that refer to it, so that callers compare what the new
text means with what they wanted (`edit` does).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import yaml

from flows.recipe import set_value
from infra.errors import NightshiftError

Edits = Sequence[tuple[str, Any]]


def edit(text: str, edits: Edits) -> str:
    """The recipe `text` with the values of `edits` at their paths; raises NightshiftError where that fails."""
    wanted = _apart(yaml.safe_load(text))
    for path, value in edits:
        set_value(wanted, path, value, path)
    for path, value in edits:
        for place in _places(yaml.safe_load(text), path.split(".")):
            text = _put(text, place, value)
    if yaml.safe_load(text) != wanted:
        raise NightshiftError("the recipe's text cannot be changed in place: it shares values through anchors")
    return text


def diff(before: str, after: str, name: str) -> str:
    """A unified diff of two texts of the recipe file `name`, as `patch` takes it."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"a/{name}", f"b/{name}", lineterm="")
    return "\n".join(lines) + "\n"


def _apart(content: Any) -> Any:
    """A copy in which what two anchors shared is there twice."""
    if isinstance(content, dict):
        return {key: _apart(value) for key, value in content.items()}
    return [_apart(value) for value in content] if isinstance(content, list) else content


def _places(content: Any, keys: list[str], begun: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths that `keys` stand for in `content`: one, or several where there is a `*`."""
    if not keys:
        return [begun]
    key, *rest = keys
    if isinstance(content, list):
        places = range(len(content)) if key == "*" else [int(key)]
        return [found for i in places for found in _places(content[i], rest, (*begun, str(i)))]
    inside = content.get(key) if isinstance(content, dict) else None
    return _places(inside, rest, (*begun, key))


def _put(text: str, place: tuple[str, ...], value: Any) -> str:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, key in enumerate(place):
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(key)]
            continue
        found = [inside for name, inside in node.value if name.value == key]
        if not found:
            for outer in reversed(place[depth + 1 :]):
                value = {outer: value}
            return _append(text, node, key, value)
        node = found[0]
    return text[: node.start_mark.index] + in_flow(value) + text[_end(text, node) :]


def _append(text: str, mapping: Any, key: str, value: Any) -> str:
    """The text with a further key in `mapping`, after its last one."""
    last = mapping.value[-1][1] if mapping.value else mapping
    if mapping.flow_style:
        at = _end(text, last) if mapping.value else mapping.end_mark.index - 1
        return f"{text[:at]}{', ' if mapping.value else ''}{key}: {in_flow(value)}{text[at:]}"
    at = _end(text, last)
    line = text.find("\n", at)
    at = len(text) if line < 0 else line
    indent = " " * mapping.value[0][0].start_mark.column
    return f"{text[:at]}\n{indent}{key}: {in_flow(value)}{text[at:]}"


def _end(text: str, node: Any) -> int:
    """Where a value ends: a block ends, for PyYAML, only where the next one begins."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style:
        return node.end_mark.index
    inside = node.value[-1]
    return _end(text, inside[1] if isinstance(inside, tuple) else inside)


def in_flow(value: Any) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).removesuffix("\n...\n").strip()
