"""Bodies that `/v1` refuses: each with an error of the contract, and without a call to any provider."""

import json
import time
from collections.abc import Callable

import pytest

from connections.providers.calls import Mode
from gateway import bodies
from gateway.envelope import Problem
from tests.gateway.contract import chat, check_refusal

CHAT = "/v1/chat/completions"
PLAIN = json.dumps(chat()).encode()
COMPACT = json.dumps(chat(), separators=(",", ":")).encode()


@pytest.fixture
def mesh(shared_mesh):
    return shared_mesh


def with_field(name, value):
    return lambda: json.dumps(chat() | {name: value}).encode()


def with_raw(name, raw):
    """A field whose JSON no encoder would write."""
    return lambda: PLAIN[:-1] + b', "%s": %s}' % (name.encode(), raw)


def with_content(content):
    return with_field("messages", [{"role": "user", "content": content}])


def with_text(raw):
    return lambda: PLAIN.replace(b"one two three", raw)


def with_schema(schema):
    return with_field("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})


BODIES = {
    "empty": (lambda: b"", "invalid_json"),
    "white space": (lambda: b" \n ", "invalid_json"),
    "null": (lambda: b"null", "invalid_json"),
    "array": (lambda: b"[]", "invalid_json"),
    "string": (lambda: b'"hello"', "invalid_json"),
    "truncated": (lambda: PLAIN[:-5], "invalid_json"),
    "trailing garbage": (lambda: PLAIN + b"x", "invalid_json"),
    "two documents": (lambda: PLAIN + PLAIN, "invalid_json"),
    "byte order mark": (lambda: b"\xef\xbb\xbf" + PLAIN, "invalid_json"),
    "UTF-16": (lambda: PLAIN.decode().encode("utf-16"), "invalid_json"),
    "invalid UTF-8": (with_text(b"\xff\xfe"), "invalid_json"),
    "overlong UTF-8": (with_text(b"\xc0\xaf"), "invalid_json"),
    "lone surrogate": (with_text(b"\\ud800"), "invalid_json"),
    "lone surrogate in UTF-8": (with_text(b"\xed\xa0\x80"), "invalid_json"),
    "NUL in the prompt": (with_text(b"a\\u0000b"), "invalid_json"),
    "NUL in the model's name": (lambda: PLAIN.replace(b"gpt-4o-mini", b"gpt\\u0000"), "invalid_json"),
    "model twice": (with_raw("model", b'"other"'), "duplicate_key"),
    "messages twice": (with_raw("messages", b"[]"), "duplicate_key"),
    "model twice, once escaped": (with_raw("mod\\u0065l", b'"other"'), "duplicate_key"),
    "n twice, which makes up for spaces": (lambda: COMPACT[:-1] + b',"user":"x","n":10,"n":11}', "duplicate_key"),
    "deep arrays": (with_raw("metadata", b"[" * 100_000 + b"]" * 100_000), "invalid_json"),
    "deep arrays without end": (lambda: b"[" * 100_000, "invalid_json"),
    "deep objects": (with_raw("metadata", b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "invalid_json"),
    "NaN": (with_raw("temperature", b"NaN"), "invalid_json"),
    "Infinity": (with_raw("temperature", b"-Infinity"), "invalid_json"),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_is_not_plain_json_is_refused(mesh, upstream, name):
    body, code = BODIES[name]

    answer = mesh.post(CHAT, body())

    check_refusal(answer, 400, code)
    assert upstream.requests == []


CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

VALUES = {
    "5,000 digits": ("seed", with_raw("seed", b"9" * 5_000)),
    "overflowing number": ("temperature", with_raw("temperature", b"1e400")),
    "number as text": ("temperature", with_field("temperature", "0.5")),
    "boolean for an integer": ("max_tokens", with_field("max_tokens", True)),
    "boolean for a number": ("temperature", with_field("temperature", True)),
    "float for an integer": ("max_tokens", with_field("max_tokens", 1.5)),
    "max_tokens 0": ("max_tokens", with_field("max_tokens", 0)),
    "max_tokens -1": ("max_tokens", with_field("max_tokens", -1)),
    "max_tokens 2^63": ("max_tokens", with_field("max_tokens", 2**63)),
    "n 10^9": ("n", with_field("n", 10**9)),
    "top_p 1.0001": ("top_p", with_field("top_p", 1.0001)),
    "temperature -1": ("temperature", with_field("temperature", -1)),
    "100,000 stops": ("stop", with_field("stop", ["x"] * 100_000)),
    "a number as stop": ("stop", with_field("stop", [1])),
    "a million biases": ("", lambda: with_field("logit_bias", {str(n): 1 for n in range(1_000_000)})()),
    "no messages": ("messages", with_field("messages", [])),
    "messages null": ("messages", with_field("messages", None)),
    "messages text": ("messages", with_field("messages", "hello")),
    "100,000 messages": ("messages", lambda: with_field("messages", chat()["messages"] * 100_000)()),
    "unknown role": ("messages", with_field("messages", [{"role": "wizard", "content": "hi"}])),
    "content null": ("", with_content(None)),
    "content number": ("messages", with_content(7)),
    "content nested list": ("messages", with_content([["hi"]])),
    "content empty list": ("", with_content([])),
    "unknown part": ("messages", with_content([{"type": "hologram", "hologram": "x"}])),
    "part without its text": ("messages", with_content([{"type": "text"}])),
    "tool call without id": (
        "messages",
        with_field("messages", [{"role": "assistant", "content": None, "tool_calls": [CALL]}]),
    ),
    "tool result without call": (
        "messages[1].tool_call_id",
        with_field("messages", [*chat()["messages"], {"role": "tool", "tool_call_id": "x", "content": "5"}]),
    ),
    "zero-width prompt": ("messages", with_content("\u200b\u200d\u2060" * 50)),
    "right-to-left marks": ("messages", with_content("\u200f\u202e" * 50)),
    "a million accents": ("messages", with_content("\u0301" * 1_000_000)),
    "user of a megabyte": ("user", with_field("user", "u" * 2**20)),
    "metadata of two megabytes": ("metadata", with_field("metadata", {"a": ["x"] * 500_000})),
    "tools without end": ("tools", with_field("tools", [TOOL] * 5_000)),
    "tools as text": ("tools", with_field("tools", "f")),
    "a number as tool": ("tools", with_field("tools", [1])),
    "a function that is none": ("tools", with_field("tools", [{"type": "function", "function": 1}])),
    "a function without a name": ("tools", with_field("tools", [{"type": "function", "function": {}}])),
    "schema refers to itself": ("response_format", with_schema({"$ref": "#/a", "a": {"$ref": "#/a"}})),
    "schema refers to its root": ("response_format", with_schema({"$ref": "#"})),
    "schema refers outside": ("response_format", with_schema({"$ref": "http://169.254.169.254/schema.json"})),
    "schema backtracks": ("response_format", with_schema({"type": "string", "pattern": "^(a+)+$"})),
    "schema backtracks by choice": ("response_format", with_schema({"type": "string", "pattern": "^(a|a)*$"})),
    "schema backtracks deeper": ("response_format", with_schema({"items": {"pattern": "((?:a+)b?)+"}})),
    "schema backtracks by number": ("response_format", with_schema({"items": {"pattern": "(a{1,9}){1,99}"}})),
    "schema of a tool refers outside": (
        "tools",
        with_field(
            "tools", [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "file:///etc/passwd"}}}]
        ),
    ),
    "stream as text": ("stream", with_field("stream", "true")),
    "stream as number": ("stream", with_field("stream", 1)),
    "stream_options without stream": ("stream_options", with_field("stream_options", {"include_usage": True})),
    "model absent": ("model", lambda: b'{"messages": [{"role": "user", "content": "hi"}]}'),
    "model null": ("model", with_field("model", None)),
    "model number": ("model", with_field("model", 5)),
    "model with line break": ("model", with_field("model", "openai/gpt\n4")),
    "model of 301 characters": ("model", with_field("model", "m" * 301)),
    "model for embeddings": ("model", with_field("model", "openai/text-embedding-3-small")),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_bad_value_is_refused_by_its_name(mesh, upstream, name):
    param, body = VALUES[name]

    answer = mesh.post(CHAT, body())

    check_refusal(answer, 400, "invalid_value")
    assert (answer.error["param"] or "").startswith(param)
    assert upstream.requests == []


PATTERNS = [r"^(\d{1,3}\.){3}\d{1,3}$", r"^[(a+)]+$", r"^\(a+\)+$", "^(a|b)$", "^[a-z]+(-[a-z])*$", ")+", "(a+"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_harmless_pattern_passes(mesh, upstream, pattern):
    assert mesh.post(CHAT, with_schema({"type": "string", "pattern": pattern})()).status == 200


def in_message(**fields):
    return {"messages": [{"role": "user", "content": "hi", **fields}]}


def in_part(**fields):
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", **fields}]}]}


UNKNOWN = ["whatever", "api_base", "base_url", "api_key", "headers", "extra_headers", "extra_body", "proxy"]
UNKNOWN += ["aws_access_key_id", "azure_endpoint", "vertex_project", "Model", "__class__"]


@pytest.mark.parametrize("field", UNKNOWN)
def test_an_unknown_field_is_refused(mesh, upstream, field):
    answer = mesh.post(CHAT, chat() | {field: "x"})

    check_refusal(answer, 400, "unknown_field", field)
    assert upstream.requests == []


@pytest.mark.parametrize("field", ["whatever", "api_base", "api_key", "headers"])
@pytest.mark.parametrize("place", [in_message, in_part])
def test_an_unknown_field_is_refused_in_any_depth(mesh, upstream, field, place):
    answer = mesh.post(CHAT, chat() | place(**{field: "x"}))

    check_refusal(answer, 400, "invalid_value")
    assert upstream.requests == []


def test_a_million_keys_are_refused(mesh, upstream):
    fields = ",".join(f'"k{number}":1' for number in range(1_000_000))

    answer = mesh.post(CHAT, PLAIN[:-1] + b"," + fields.encode() + b"}")

    check_refusal(answer, 400, "invalid_value")
    assert upstream.requests == []


def test_more_than_a_hundred_keys_are_refused(mesh, upstream):
    answer = mesh.post(CHAT, chat() | {f"k{number}": 1 for number in range(101)})

    check_refusal(answer, 400, "unknown_field")


LARGE = {
    "many keys": lambda: PLAIN[:-1] + b"," + b",".join(b'"k%d":1' % number for number in range(1_000_000)) + b"}",
    "one key again and again": lambda: PLAIN[:-1] + b',"k":1' * 2_000_000 + b"}",
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_body_is_refused_in_little_time(name):
    body = LARGE[name]()

    def refused() -> None:
        with pytest.raises(Problem):
            bodies.read(body, Mode.CHAT)

    assert min(seconds(refused) for _ in range(3)) < seconds(lambda: json.loads(body))


def seconds(work: Callable[[], object]) -> float:
    """Of this thread alone, so that a busy machine does not count."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


def test_millions_of_tokens_are_refused(mesh, upstream):
    answer = mesh.post("/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": [1] * 1_000_000})

    check_refusal(answer, 400, "invalid_value", "input")
    assert upstream.requests == []


def test_a_prompt_of_twenty_megabytes_is_refused(mesh, upstream):
    answer = mesh.post(CHAT, chat(text="a" * 20_000_000))

    check_refusal(answer, 413, "body_too_large")
    assert upstream.requests == []


NAMES = [
    "../../etc/passwd",
    "a/b?c#d",
    "m" * 300,
    "openai/gpt-4о-mini",
    "openai",
    "openai/",
    "OPENAI/gpt-4o-mini",
    "%00",
]


@pytest.mark.parametrize("model", NAMES)
def test_a_model_that_is_not_there_is_not_found(mesh, upstream, model):
    answer = mesh.post(CHAT, chat() | {"model": model})

    check_refusal(answer, 404, "model_not_found", "model")
    assert upstream.requests == []


INPUTS = {
    "empty list": [],
    "empty text": "",
    "an empty text inside": ["a", ""],
    "100,000 items": ["a"] * 100_000,
    "negative token": [1, -2],
    "negative token inside": [[1], [-2]],
    "texts and tokens": ["a", 1],
    "null": None,
    "number": 5,
    "object": {"text": "a"},
    "boolean tokens": [True, False],
    "float tokens": [1.5],
}


@pytest.mark.parametrize("name", INPUTS)
def test_a_bad_embedding_input_is_refused(mesh, upstream, name):
    answer = mesh.post("/v1/embeddings", {"model": "openai/text-embedding-3-small", "input": INPUTS[name]})

    check_refusal(answer, 400, "invalid_value", "input")
    assert upstream.requests == []


@pytest.mark.parametrize("size", ["1e9x1e9", "0x0", "-1x5", "1024", "1024x1024x3", "١٠٢٤x١٠٢٤", "999999x1"])
def test_an_image_has_a_sane_size(mesh, upstream, size):
    """Input 47."""
    answer = mesh.post("/v1/images/generations", {"model": "openai/x", "prompt": "x", "size": size})

    check_refusal(answer, 400, "invalid_value", "size")
    assert upstream.requests == []


def test_embeddings_do_not_stream(mesh, upstream):
    body = {"model": "openai/text-embedding-3-small", "input": "a", "stream": True}

    check_refusal(mesh.post("/v1/embeddings", body), 400, "invalid_value", "stream")
    assert upstream.requests == []


PROMPTS = {"absent": {}, "null": {"prompt": None}, "empty": {"prompt": ""}, "list": {"prompt": []}, "7": {"prompt": 7}}


@pytest.mark.parametrize("name", PROMPTS)
def test_a_bad_completion_prompt_is_refused(mesh, upstream, name):
    answer = mesh.post("/v1/completions", {"model": "openai/gpt-3.5-turbo-instruct"} | PROMPTS[name])

    check_refusal(answer, 400, "invalid_value", "prompt")
    assert upstream.requests == []


@pytest.mark.parametrize("body", [b"{", chat(temperature=9), chat(whatever=1), chat() | {"model": "none"}])
def test_a_refused_call_is_written_down(mesh, upstream, body):
    answer = mesh.post(CHAT, body)

    row = mesh.usage(answer)
    assert (row.state, row.status, row.error_code) == ("error", answer.status, answer.error["code"])
    assert (row.principal, row.prompt_tokens, row.cost) == ("caller", None, 0)


SPELLINGS = {
    "compact": COMPACT,
    "indented": json.dumps(chat(), indent=2).encode(),
    "escaped": PLAIN.replace(b'"model"', b'"m\\u006fdel"'),
    "reversed": json.dumps(dict(reversed(chat().items()))).encode(),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_any_spelling_of_the_same_body_is_answered(mesh, upstream, name):
    assert mesh.post(CHAT, SPELLINGS[name]).text == "one two three"


def test_after_all_that_a_good_call_is_answered(mesh, upstream):
    answer = mesh.post(CHAT, chat())

    assert (answer.status, answer.text) == (200, "one two three")


HEAVY = {
    "a long chain of references": {
        "$defs": {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(20_000)} | {"a20000": {}}
    },
    "classes without end": {"anyOf": [{"pattern": "[" * 512}] * 1_000},
}


@pytest.mark.parametrize("name", HEAVY)
def test_a_schema_is_checked_in_little_time(mesh, upstream, name):
    body = with_schema(HEAVY[name])()
    started = time.process_time()

    mesh.post(CHAT, body)

    assert time.process_time() - started < 5
