"""Chunks put together again give the answer that would have come whole."""

import json

from connections.providers.calls import Mode
from gateway.assembling import Assembly


def assembled(mode: Mode, *chunks: dict) -> dict:
    assembly = Assembly(mode)
    for chunk in chunks:
        assembly.feed(json.dumps({"id": "c1", "created": 1, "model": "m", **chunk}).encode())
    return assembly.whole()


def delta(finish: str | None = None, index: int = 0, **fields) -> dict:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish}]}


def test_text_is_joined_and_usage_kept():
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}

    whole = assembled(
        Mode.CHAT,
        delta(role="assistant", content=None),
        delta(content="Hello "),
        delta(content="world"),
        delta("stop"),
        {"choices": [], "usage": usage},
    )

    assert whole["object"] == "chat.completion"
    assert whole["choices"] == [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello world"}}
    ]
    assert whole["usage"] == usage


def test_tool_calls_are_joined_by_their_index():
    def piece(index: int, arguments: str, **more) -> dict:
        return {"index": index, "function": {"arguments": arguments, **more.pop("function", {})}, **more}

    whole = assembled(
        Mode.CHAT,
        delta(tool_calls=[piece(0, "", id="a", function={"name": "look"})]),
        delta(tool_calls=[piece(0, '{"x":')]),
        delta(tool_calls=[piece(0, "1}"), piece(1, "{}", id="b", function={"name": "go"})]),
        delta("tool_calls"),
    )

    calls = whole["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], call["function"]) for call in calls] == [
        ("a", {"name": "look", "arguments": '{"x":1}'}),
        ("b", {"name": "go", "arguments": "{}"}),
    ]


def test_several_choices_stay_apart():
    whole = assembled(Mode.CHAT, delta(content="a"), delta(index=1, content="b"), delta("stop"), delta("length", 1))

    assert [(choice["message"]["content"], choice["finish_reason"]) for choice in whole["choices"]] == [
        ("a", "stop"),
        ("b", "length"),
    ]


def test_completions_have_texts():
    whole = assembled(
        Mode.COMPLETION,
        {"choices": [{"index": 0, "text": "one "}]},
        {"choices": [{"index": 0, "text": "two", "finish_reason": "stop"}]},
    )

    assert (whole["object"], whole["choices"]) == (
        "text_completion",
        [{"index": 0, "finish_reason": "stop", "text": "one two"}],
    )
