"""What every provider promises. A new provider is tested here without a new line."""

import base64
import json
import re
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connections.providers import errors, registry
from connections.providers.calls import Answer, Call, Frame, Mode, Target
from connections.providers.contract import Provider
from connections.providers.errors import ProviderError
from connections.providers.fields import MAX_SECRET
from connections.providers.framing import reader
from connections.providers.parameters import COMMON
from tests.providers.conftest import GOLDEN, a_call, golden, make

KINDS = list(registry.providers())
SECRETIVE = re.compile("key|token|secret|password", re.IGNORECASE)
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
SAMPLES: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 50,
    "max_completion_tokens": 50,
    "stop": ["END"],
    "logprobs": True,
    "logit_bias": {"50256": -100},
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    "tools": TOOLS,
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "metadata": {"team": "search"},
    "service_tier": "auto",
    "encoding_format": "float",
}
BY_KIND = {"number": 0.5, "integer": 3, "boolean": True, "string": "low", "list": ["a"], "object": {}, "any": "auto"}
NEEDS_TOOLS = {"tool_choice", "parallel_tool_calls"}


def sample(name: str) -> Any:
    return SAMPLES.get(name, BY_KIND[COMMON[name].kind])


# --- settings --------------------------------------------------------------------------------------------


def test_settings_explain_themselves(provider):
    for name, field in type(provider).Settings.model_fields.items():
        assert field.title, name
        assert field.description, name


def test_what_sounds_secret_is_a_secret(provider):
    for name, field in type(provider).Settings.model_fields.items():
        if SECRETIVE.search(name) and field.annotation is str:
            pytest.fail(f"{name} is stored in the open")


def test_addresses_are_targets_of_the_secrets(provider):
    fields = type(provider).Settings.model_fields
    assert {name for name in fields if "url" in name} <= set(type(provider).Settings.target_names())


def test_the_gallery_can_show_it(provider):
    kind = type(provider)
    mark = GOLDEN.parents[2] / "templates" / "icons" / "providers" / f"{kind.mark}.svg"

    assert kind.label
    assert kind.summary
    assert kind.modes
    assert "<svg" in mark.read_text()
    assert "style=" not in mark.read_text()


def test_unknown_settings_are_refused(provider):
    with pytest.raises(ValidationError):
        make(provider.kind, api_base="https://evil.test")


def test_its_settings_survive_being_stored(provider):
    kind = type(provider)
    stored = provider.settings.model_dump(mode="json", exclude=set(kind.Settings.secret_names()))
    typed = {name: golden(provider.kind, "settings.json").get(name, "") for name in kind.Settings.secret_names()}

    assert kind.Settings.model_validate({**stored, **typed}) == provider.settings


# --- secrets ---------------------------------------------------------------------------------------------


def test_no_secret_shows_in_any_text(provider):
    call = a_call(provider)
    shown = [provider, provider.settings, provider.auth, provider.request(call), provider.check(), call]
    try:
        make(provider.kind, **dict.fromkeys(type(provider).Settings.model_fields, object()))
    except ValidationError as error:
        shown.append(error)

    assert provider.secrets()
    for secret in provider.secrets():
        assert all(secret not in f"{thing!r} {thing}" for thing in shown)


@pytest.mark.parametrize(
    "secret",
    ["with\nline", "with\r\nX: y", "k" * (MAX_SECRET + 1), "k" * 10**6, "🐟", "schlüssel", "nul\0"],
    ids=lambda secret: repr(secret[:12]) + str(len(secret)),
)
def test_bad_secrets_are_refused_without_being_shown(provider, secret):
    for name in type(provider).Settings.secret_names():
        with pytest.raises(ValidationError) as caught:
            make(provider.kind, **{name: secret})

        assert secret not in str(caught.value)


def test_the_key_travels_in_a_header(provider):
    for outgoing in (provider.check(), provider.request(a_call(provider))):
        for secret in provider.secrets():
            assert any(secret in value for value in outgoing.headers.values())
            assert secret not in outgoing.url
            assert secret.encode() not in outgoing.body


def encodings(secret: str) -> list[str]:
    raw = secret.encode()
    return [
        secret,
        json.dumps(secret)[1:-1],
        quote(secret, safe=""),
        raw.hex(),
        raw.hex().upper(),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        base64.b64encode(b"user:" + raw + b":more").decode(),
    ]


def test_a_refusal_that_echoes_the_key_is_scrubbed(provider):
    for secret in provider.secrets():
        for echo in encodings(secret):
            for body in (json.dumps({"error": {"message": f"Bad key {echo}."}}), f"<p>Bad key {echo}.</p>"):
                error = provider.problem(Answer(401, {}, body.encode()))
                shown = f"{error} {error!r} {error.evidence}"
                assert isinstance(error, errors.KeyRefused)
                assert "Bad key" in error.evidence
                assert not any(echo[at : at + 12] in shown for at in range(len(echo) - 11))


# --- requests --------------------------------------------------------------------------------------------


def cases() -> list[tuple[str, Mode, str]]:
    found = []
    for kind, provider in registry.providers().items():
        for mode in provider.modes:
            found += [(kind, mode, name) for name, parameter in COMMON.items() if mode in parameter.modes]
    return found


@pytest.mark.parametrize(("kind", "mode", "name"), cases())
def test_no_parameter_is_lost_in_silence(kind, mode, name):
    provider = make(kind)
    around = {"tools": TOOLS} if name in NEEDS_TOOLS else {}
    call, plain = a_call(provider, mode, **around, **{name: sample(name)}), a_call(provider, mode, **around)

    changed = provider.request(call).body != provider.request(plain).body
    assert changed or any(adjustment.parameter == name for adjustment in call.adjusted)


def test_all_parameters_together_make_a_request(provider):
    for mode in type(provider).modes:
        given = {name: sample(name) for name, parameter in COMMON.items() if mode in parameter.modes}
        call = a_call(provider, mode, **given)
        body = json.loads(provider.request(call).body)
        kept = {name for name in given if name in body} | {adjustment.parameter for adjustment in call.adjusted}

        assert call.target.upstream_id in json.dumps(body) + provider.request(call).url
        assert set(given) - kept <= {"response_format", "parallel_tool_calls"}


def test_the_golden_request_is_made(provider):
    expected = golden(provider.kind, "chat_request.json")
    call = Call(Mode.CHAT, Target(**expected["target"]), expected["call"], stream=expected["stream"])

    outgoing = provider.request(call)

    assert (outgoing.method, outgoing.url) == (expected["method"], expected["url"])
    assert json.loads(outgoing.body) == expected["body"]
    assert expected["headers"].items() <= dict(outgoing.headers).items()
    assert list(map(str, call.adjusted)) == expected["adjusted"]


def test_what_the_caller_sent_is_left_as_it_was(provider):
    expected = golden(provider.kind, "chat_request.json")
    before = json.dumps(expected["call"])

    provider.request(Call(Mode.CHAT, Target(**expected["target"]), expected["call"]))

    assert json.dumps(expected["call"]) == before


def test_the_check_only_looks(provider):
    outgoing = provider.check()

    assert (outgoing.method, outgoing.body) == ("GET", b"")


# --- answers ---------------------------------------------------------------------------------------------


def assert_says(told: dict[str, Any], expected: dict[str, Any], source: Any) -> None:
    assert told["text"] == expected["text"]
    assert told["tool_calls"] == expected["tool_calls"]
    assert (source.finish_reason, source.model) == (expected["finish_reason"], expected["model"])
    assert {name: getattr(source.usage, name) for name in expected["usage"]} == expected["usage"]
    assert not source.usage.suspect


def test_the_golden_reply_is_read(provider):
    recorded = golden(provider.kind, "chat_reply.json")
    reply = provider.reply(a_call(provider), Answer(200, {}, json.dumps(recorded["answer"]).encode()))

    body = json.loads(reply.body)
    message = body["choices"][0]["message"]
    calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls", [])]
    assert_says({"text": message["content"], "tool_calls": calls}, recorded["reply"], reply)
    assert body["choices"][0]["finish_reason"] == recorded["reply"]["finish_reason"]
    assert body["usage"]["completion_tokens"] == recorded["reply"]["usage"]["completion_tokens"]


def read_stream(provider: Provider, pieces: list[bytes], *, wants_usage: bool = True) -> tuple[list[Any], Any]:
    call = a_call(provider)
    call.stream, call.wants_usage = True, wants_usage
    frames, events = reader(type(provider).framing), provider.events(call)
    found = [frame for piece in pieces for frame in frames.feed(piece)] + frames.end()
    chunks = [chunk for frame in found for chunk in events.feed(frame)] + list(events.end())
    assert all(b"\n" not in chunk for chunk in chunks)
    return [json.loads(chunk) for chunk in chunks], events


def assembled(chunks: list[Any]) -> dict[str, Any]:
    text, calls = "", {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            text += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls", []):
                whole = calls.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
                whole["id"] += call.get("id", "")
                whole["name"] += call["function"].get("name", "")
                whole["arguments"] += call["function"].get("arguments", "")
    return {"text": text, "tool_calls": [calls[index] for index in sorted(calls)]}


def test_the_golden_stream_is_read_at_every_split(provider):
    stream = (GOLDEN / provider.kind / "chat_stream.sse").read_bytes()
    expected = golden(provider.kind, "chat_stream.json")

    for at in range(len(stream)):
        chunks, events = read_stream(provider, [stream[:at], stream[at:]])
        assert_says(assembled(chunks), expected, events)
    finishes = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert finishes == [expected["finish_reason"]]


def test_the_usage_chunk_is_only_for_those_who_asked(provider):
    stream = (GOLDEN / provider.kind / "chat_stream.sse").read_bytes()
    asked, _ = read_stream(provider, [stream])
    silent, events = read_stream(provider, [stream], wants_usage=False)

    assert any(chunk.get("usage") for chunk in asked)
    assert all(chunk["choices"] for chunk in silent)
    assert events.usage.prompt_tokens


def test_a_stream_cut_before_its_end_is_an_error(provider):
    stream = (GOLDEN / provider.kind / "chat_stream.sse").read_bytes()
    finish = next(found.start() for found in re.finditer(rb'"(finish|stop)_reason": ?"', stream))
    for cut in range(finish):
        with pytest.raises(ProviderError):
            read_stream(provider, [stream[:cut]])


def test_an_empty_stream_is_an_error(provider):
    for stream in (b"", b": ping\n\n", b"data: [DONE]\n\n"):
        with pytest.raises(errors.BadReply):
            read_stream(provider, [stream])


def test_nothing_after_the_end_counts(provider):
    stream = (GOLDEN / provider.kind / "chat_stream.sse").read_bytes()
    end = b"data: [DONE]\n\n" if b"[DONE]" in stream else b""
    chunks, _ = read_stream(provider, [stream])
    longer, _ = read_stream(provider, [stream + end + (b"data: nonsense\n\n" if end else b"")])

    assert len(longer) == len(chunks)


def test_an_error_inside_a_stream_is_named(provider):
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Too busy."}}
    events = provider.events(a_call(provider))

    with pytest.raises(errors.Overloaded) as caught:
        events.feed(Frame("error", json.dumps(body).encode()))

    assert caught.value.evidence == "Too busy."


def test_an_error_inside_a_good_answer_is_named(provider):
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Too busy."}}
    for mode in type(provider).modes:
        with pytest.raises(errors.Overloaded):
            provider.reply(a_call(provider, mode), Answer(200, {}, json.dumps(body).encode()))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"{}",
        b"7",
        b"<html><body>Please sign in</body></html>",
        b'{"choices": [{"mess',
        b'{"choices": []}',
        b'{"choices": "no", "content": 7, "data": 5}',
        b"data: {}\n\n",
        b"[" * 100_000,
        '{"choices": [{"message": {"content": "Grüße"}}], "data": [{"embedding": "ü"}]}'.encode("latin-1"),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_an_answer_we_cannot_read_is_a_bad_reply(provider, body):
    for mode in type(provider).modes:
        with pytest.raises(errors.BadReply):
            provider.reply(a_call(provider, mode), Answer(200, {}, body))


@pytest.mark.parametrize("data", [b"hello", b"{", b'{"choices": [', b"\xff\xfe", b"[" * 100_000, b"<html>"])
def test_an_event_that_is_not_json_is_a_bad_reply(provider, data):
    with pytest.raises(errors.BadReply):
        provider.events(a_call(provider)).feed(Frame("", data))


def test_the_golden_list_of_models_is_read(provider):
    recorded = golden(provider.kind, "models.json")

    found = provider.models(Answer(200, {}, json.dumps(recorded["answer"]).encode()))

    assert [model.id for model in found] == [model["id"] for model in recorded["models"]]
    for model, expected in zip(found, recorded["models"], strict=True):
        assert {name: getattr(model, name) for name in expected} == expected


# --- errors ----------------------------------------------------------------------------------------------

STATUSES = [
    (302, errors.BadReply),
    (400, errors.RequestRefused),
    (401, errors.KeyRefused),
    (402, errors.QuotaSpent),
    (403, errors.KeyRefused),
    (404, errors.ModelMissing),
    (408, errors.TimedOut),
    (413, errors.RequestRefused),
    (418, errors.RequestRefused),
    (422, errors.RequestRefused),
    (429, errors.RateLimited),
    (500, errors.ServerFailed),
    (501, errors.RequestRefused),
    (502, errors.ServerFailed),
    (503, errors.Overloaded),
    (504, errors.TimedOut),
    (529, errors.Overloaded),
]
BODIES = [
    b"",
    b"null",
    b"<html><head><title>Sorry</title></head><body>Something went wrong</body></html>",
    b'{"error": {"message": "Something went wrong", "type": "some_error", "code": null}}',
    b'{"error": "Something went wrong"}',
    b'{"detail": [{"msg": "Something went wrong"}]}',
]


@pytest.mark.parametrize(("status", "expected"), STATUSES)
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_failure_has_a_name(provider, status, expected, body):
    error = provider.problem(Answer(status, {"retry-after": "7"}, body))

    assert type(error) is expected
    assert error.status == status
    assert error.retry_after == (7 if error.retryable else None)
    assert error.message
    assert ("Something went wrong" in error.evidence) == (b"wrong" in body)
    assert "<" not in error.evidence


CODES = [
    (429, "insufficient_quota", errors.QuotaSpent),
    (404, "model_not_found", errors.ModelMissing),
    (400, "context_length_exceeded", errors.ContextTooLong),
    (400, "content_filter", errors.ContentFiltered),
    (400, "unsupported_value", errors.RequestRefused),
]


@pytest.mark.parametrize(("status", "code", "expected"), CODES)
def test_a_code_says_more_than_the_status(provider, status, code, expected):
    body = {"error": {"message": "Words.", "type": "invalid_request_error", "code": code, "param": "messages"}}

    error = provider.problem(Answer(status, {}, json.dumps(body).encode()))

    assert type(error) is expected
    assert not error.retryable


def test_the_check_tells_a_refused_key(provider):
    assert isinstance(provider.check_problem(Answer(401, {}, b"{}")), errors.KeyRefused)
    assert provider.check_problem(Answer(200, {}, b"{}")) is None


# --- garbage ---------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "usage",
                    "model",
                    "error",
                    "type",
                    "delta",
                    "message",
                    "content",
                    "index",
                    "finish_reason",
                    "tool_calls",
                    "function",
                    "arguments",
                    "data",
                    "id",
                    "detail",
                    "prompt_tokens",
                    "output_tokens",
                    "input_tokens",
                    "code",
                    "reasoning",
                    "stop_reason",
                    "content_block",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
NOISE = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())
TYPES = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]
PARTS = ("delta", "message", "content_block", "usage")
EVENTS = st.tuples(st.sampled_from(TYPES), JSON).map(
    lambda pair: json.dumps({"type": pair[0], "index": 0, **dict.fromkeys(PARTS, pair[1])}).encode()
)
hostile = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@hostile
@given(body=NOISE)
def test_garbage_raises_nothing_but_provider_errors(provider, body):
    answer = Answer(200, {}, body)
    with suppress(ProviderError):
        provider.reply(a_call(provider), answer)
    with suppress(ProviderError):
        provider.models(answer)
    assert isinstance(provider.problem(Answer(400, {}, body)), ProviderError)


@hostile
@given(frames=st.lists(NOISE | EVENTS, max_size=4))
def test_a_stream_of_garbage_raises_nothing_but_provider_errors(provider, frames):
    events = provider.events(a_call(provider))
    with suppress(ProviderError):
        for data in frames:
            assert all(isinstance(chunk, bytes) for chunk in events.feed(Frame("", data)))
        list(events.end())
