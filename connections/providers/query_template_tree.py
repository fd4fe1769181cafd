"""The request of a query template: a JSON tree in which some nodes stand for values of the call.

A node `{"$": "prompt"}` is replaced by the value of that name as a whole, never inside a text: no prompt can change
the request's shape, and `{{prompt}}` or `%s` in a text mean nothing. `{"$": "max_tokens", "default": 512}` says what
is sent where the caller gave nothing; without a default the key, or the item of a list, is left out, as is whatever is
null. `{"$": "literal", "value": …}` is its value, untouched.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SIGN, DEFAULT, LITERAL = "$", "default", "literal"
CONTENT: Mapping[str, str] = {
    "prompt": "The conversation as one text, in the prompt style below; of a completion its prompt.",
    "messages": "The conversation as OpenAI's list of messages.",
    "input": "The list of texts to embed.",
    "system": "The instructions alone; messages and prompt are without them then.",
}
"""What is asked."""
PARAMETERS: Mapping[str, str] = {
    "max_tokens": "The most tokens of the answer.",
    "temperature": "A number.",
    "top_p": "A number.",
    "top_k": "A whole number.",
    "min_p": "A number.",
    "stop": "A list of texts. Without this placeholder we end the answer at them.",
    "seed": "A whole number.",
    "presence_penalty": "A number.",
    "frequency_penalty": "A number.",
    "repetition_penalty": "A number.",
    "response_format": "An object in OpenAI's form.",
    "reasoning_effort": "A word.",
    "dimensions": "The length of the vectors.",
    "user": "The caller's own name for its user.",
}
CIRCUMSTANCES: Mapping[str, str] = {
    "model": "The model's id at the provider.",
    "stream": "true if the answer is to be streamed, else false.",
    "request_id": "Our id of the call.",
}
PLACEHOLDERS: Mapping[str, str] = {**CONTENT, **PARAMETERS, **CIRCUMSTANCES}
"""What a node may stand for."""
ASKED = ("prompt", "messages", "input")
"""Of these every request needs one."""
MAX_DEPTH = 32
_MISSING = object()


def parsed(text: str) -> Any:
    """The tree that a text is. Raises ValueError with a sentence that says what is wrong and where."""
    try:
        return json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is not JSON: {error.msg} in line {error.lineno}, column {error.colno}.") from error
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


_TOO_DEEP = f"The request is nested too deeply; at most {MAX_DEPTH} levels are taken."


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"The key {double[:60]} stands twice in one object.")
    return found


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is not a number in JSON.")


# --- checking --------------------------------------------------------------------------------------------


def check_depth(value: Any, most: int = 2 * MAX_DEPTH) -> None:
    """Raises ValueError for a value that is nested more deeply."""
    waiting = [(value, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > most:
            raise ValueError(_TOO_DEEP)
        if isinstance(node, dict | list | tuple):
            inner = node.values() if isinstance(node, dict) else node
            waiting.extend((one, depth + 1) for one in inner)


def check(tree: Any) -> None:
    """Raises ValueError unless this is the tree of a request."""
    named = list(placeholders(tree))
    for name in ASKED:
        if named.count(name) > 1:
            raise ValueError(f"The placeholder {name} stands more than once.")
    if not any(name in named for name in ASKED):
        wanted = " or ".join(json.dumps({SIGN: name}) for name in ASKED)
        raise ValueError(f"Nothing of what is asked goes into the request. Put in {wanted}.")
    if "input" in named and ("prompt" in named or "messages" in named):
        raise ValueError("A request either embeds (input) or asks (prompt, messages).")


def placeholders(tree: Any) -> Iterator[str]:
    """The names of all placeholders. Raises ValueError for one that is none, and for a tree that is too deep."""
    waiting = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError(_TOO_DEEP)
        if isinstance(node, dict) and SIGN in node:
            if (name := _checked(node)) != LITERAL:
                yield name
        elif isinstance(node, dict | list):
            inner = node.values() if isinstance(node, dict) else node
            waiting.extend((one, depth + 1) for one in inner)


def _checked(node: Mapping[str, Any]) -> str:
    name, others = node[SIGN], set(node) - {SIGN}
    if name == LITERAL:
        if others != {"value"}:
            raise ValueError('A literal is written as {"$": "literal", "value": …}.')
        return LITERAL
    if not isinstance(name, str) or name not in PLACEHOLDERS:
        raise ValueError(f"There is no placeholder {str(name)[:60]!r}. There are: {', '.join(PLACEHOLDERS)}.")
    if others - {DEFAULT}:
        raise ValueError(f"Beside {SIGN} the placeholder {name} may have a {DEFAULT} only.")
    return name


# --- filling ---------------------------------------------------------------------------------------------


def filled(tree: Any, values: Mapping[str, Any]) -> Any:
    """The request: the tree with these values in place of the nodes that name them."""
    found = _filled(tree, values)
    return None if found is _MISSING else found


def defaults(tree: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """What the tree sends by itself where no value is given."""
    found: dict[str, Any] = {}
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict) and SIGN in node:
            if node.get(DEFAULT) is not None and values.get(node[SIGN]) is None:
                found[node[SIGN]] = node[DEFAULT]
        elif isinstance(node, dict | list):
            waiting.extend(node.values() if isinstance(node, dict) else node)
    return found


def _filled(node: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(node, dict):
        if SIGN in node:
            return _value(node, values)
        pairs = ((name, _filled(one, values)) for name, one in node.items())
        return {name: value for name, value in pairs if value is not _MISSING}
    if isinstance(node, list):
        return [value for one in node if (value := _filled(one, values)) is not _MISSING]
    return _MISSING if node is None else node


def _value(node: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    if node[SIGN] == LITERAL:
        return node["value"]
    value = values.get(node[SIGN])
    value = node.get(DEFAULT) if value is None else value
    return _MISSING if value is None else value
