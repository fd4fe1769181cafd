"""The table of parameters: renamed, clamped, dropped, and always told."""

import pytest

from connections.providers.calls import Call, Mode, Target
from connections.providers.parameters import ParameterTable, Rule

TABLE = ParameterTable.of(
    "seed",
    "grammar",
    temperature=Rule(minimum=0, maximum=1),
    max_completion_tokens=Rule("max_tokens"),
    max_tokens=Rule(),
)


def applied(forwarded=(), **body):
    call = Call(Mode.CHAT, Target("m"), body, forwarded=frozenset(forwarded))
    return TABLE.apply(call), list(map(str, call.adjusted))


@pytest.mark.parametrize(
    ("body", "expected", "adjusted"),
    [
        ({"messages": []}, {"messages": []}, []),
        ({"seed": 1}, {"seed": 1}, []),
        ({"grammar": "x"}, {"grammar": "x"}, []),
        ({"top_k": 1}, {}, ["top_k dropped"]),
        ({"top_k": None, "temperature": None}, {}, []),
        ({"temperature": 0.5}, {"temperature": 0.5}, []),
        ({"temperature": 1.5}, {"temperature": 1}, ["temperature clamped to 1"]),
        ({"temperature": -1}, {"temperature": 0}, ["temperature clamped to 0"]),
        ({"temperature": True}, {"temperature": True}, []),
        ({"max_completion_tokens": 5}, {"max_tokens": 5}, ["max_completion_tokens renamed to max_tokens"]),
        ({"max_completion_tokens": 5, "max_tokens": 7}, {"max_tokens": 7}, ["max_completion_tokens dropped"]),
        ({"max_tokens": 7, "max_completion_tokens": 5}, {"max_tokens": 7}, ["max_completion_tokens dropped"]),
        ({"stream": True, "stream_options": {}, "model": "x"}, {}, []),
    ],
)
def test_each_parameter_is_taken_or_told(body, expected, adjusted):
    assert applied(**body) == (expected, adjusted)


def test_what_the_connection_forwards_passes():
    assert applied(forwarded={"top_k", "new_thing"}, top_k=1, new_thing=2) == ({"top_k": 1, "new_thing": 2}, [])


def test_tables_are_made_from_tables():
    assert not TABLE.without("seed").takes("seed")
    assert TABLE.changed(seed=Rule("random_seed")).rules["seed"].name == "random_seed"
    assert TABLE.takes("seed") and TABLE.rules["seed"].name == ""
