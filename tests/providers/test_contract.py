"""What every provider promises. A new provider is tested here without a new line."""

import base64
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connections.providers import errors, registry
from connections.providers.calls import Answer, Call, Frame, Framing, Mode, Outgoing
from connections.providers.contract import GROUPS, Provider, StaticHeaders
from connections.providers.errors import ProviderError
from connections.providers.fields import MAX_SECRET
from connections.providers.parameters import KNOWN
from connections.scrubbing import clean
from tests.providers.conftest import (
    GOLDEN,
    a_call,
    files,
    first_mode,
    golden,
    make,
    read_reply,
    read_stream,
    streams,
    target_from,
    target_of,
)

KINDS = list(registry.providers())
LENDERS = {lender for kind in registry.providers().values() for lender in kind.Settings.lender_kinds().values()}
"""Kinds whose connections lend what they hold to others; they need no models."""
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
PYTHON = {
    "number": float,
    "integer": int,
    "boolean": bool,
    "string": str,
    "list": list,
    "object": dict,
}
IMAGE_SAMPLES = {"size": "1024x1024", "aspect_ratio": "16:9", "output_format": "jpeg", "response_format": "b64_json"}
NEEDS_TOOLS = {"tool_choice", "parallel_tool_calls"}


def sample(mode: Mode, name: str) -> Any:
    kind = KNOWN[mode][name].kind
    fits = name in SAMPLES and (kind == "any" or isinstance(SAMPLES[name], PYTHON[kind]))
    return SAMPLES[name] if fits else IMAGE_SAMPLES.get(name, BY_KIND[kind])


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
    assert kind.modes or kind.kind in LENDERS
    assert kind.group in GROUPS
    assert "<svg" in mark.read_text()
    assert "style=" not in mark.read_text()


def test_unknown_settings_are_refused(provider):
    with pytest.raises(ValidationError):
        make(provider.kind, api_base="https://evil.test")


def test_its_settings_survive_being_stored(provider):
    kind = type(provider)
    stored = provider.settings.model_dump(mode="json", exclude=set(kind.Settings.secret_names()))
    given = golden(provider.kind, "settings.json")
    typed = {name: given[name] for name in kind.Settings.secret_names() if name in given}

    assert kind.Settings.model_validate({**stored, **typed}) == provider.settings


# --- secrets ---------------------------------------------------------------------------------------------


def test_no_secret_shows_in_any_text(provider):
    signed = provider.auth.sign(provider.check())
    calls = [a_call(provider)] if type(provider).modes else []
    shown = [provider, provider.settings, provider.auth, signed, *calls, *map(provider.request, calls)]
    try:
        make(provider.kind, **dict.fromkeys(type(provider).Settings.model_fields, object()))
    except ValidationError as error:
        shown.append(error)

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


def test_the_key_travels_in_headers_only(provider):
    for outgoing in sent_by(provider):
        signed = provider.auth.sign(outgoing)
        for secret in provider.secrets():
            assert secret not in signed.url
            assert secret.encode() not in signed.body


def test_a_key_that_is_sent_as_it_is_stands_in_a_header(provider):
    if not isinstance(provider.auth, StaticHeaders) or not provider.secrets():
        return  # signs, or trades its secret for a token: shown by that provider's own tests
    for outgoing in sent_by(provider):
        headers = provider.auth.sign(outgoing).headers.values()
        assert any(secret in value for secret in provider.secrets() for value in headers)


def sent_by(provider: Provider) -> list[Outgoing]:
    """Its check, and a small call where it has models."""
    return [provider.check(), *([provider.request(a_call(provider))] if type(provider).modes else [])]


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
                clean(error, provider)
                shown = f"{error} {error!r} {error.evidence}"
                assert isinstance(error, errors.KeyRefused)
                assert not any(echo[at : at + 12] in shown for at in range(len(echo) - 11))


# --- requests --------------------------------------------------------------------------------------------


def test_no_parameter_is_lost_in_silence(provider):
    for mode in type(provider).modes:
        for name in KNOWN[mode]:
            around = {"tools": TOOLS} if name in NEEDS_TOOLS else {}
            call, plain = (
                a_call(provider, mode, **around, **{name: sample(mode, name)}),
                a_call(provider, mode, **around),
            )

            changed = content_of(provider.request(call)) != content_of(provider.request(plain))
            assert changed or any(one.parameter == name for one in call.adjusted), f"{mode}: {name}"


def content_of(outgoing: Outgoing) -> tuple[str, bytes]:
    return outgoing.url, outgoing.body


def test_all_parameters_together_make_a_request(provider):
    for mode in type(provider).modes:
        given = {name: sample(mode, name) for name in KNOWN[mode]}
        call = a_call(provider, mode, **given)

        assert provider.request(call).url


def requests() -> list[Any]:
    found = [(kind, path) for kind in KINDS for path in files(kind, "*_request*.json")]
    return [pytest.param(kind, path, id=f"{kind}-{path.stem}") for kind, path in found]


def test_every_mode_has_a_golden_request_and_a_golden_reply(provider):
    for mode in type(provider).modes:
        assert files(provider.kind, f"{mode}_request*.json"), mode
        assert files(provider.kind, f"{mode}_reply*.json"), mode
    own = files(provider.kind, f"{first_mode(provider)}_request*") if type(provider).modes else []
    assert all(path.parent.name == provider.kind for path in own)


@pytest.mark.parametrize(("kind", "path"), requests())
def test_the_golden_request_is_made(kind, path):
    provider, expected = make(kind), json.loads(path.read_text())
    call = recorded_call(path, expected)
    before = json.dumps(expected["call"])

    outgoing = provider.request(call)

    if path.parent.name == kind:
        assert (outgoing.method, outgoing.url) == (expected["method"], expected["url"])
    if "text" in expected:
        assert outgoing.body.decode() == expected["text"]
    else:
        assert json.loads(outgoing.body) == expected["body"]
    assert expected["headers"].items() <= dict(provider.auth.sign(outgoing).headers).items()
    assert list(map(str, call.adjusted)) == expected["adjusted"]
    assert json.dumps(expected["call"]) == before


def recorded_call(path: Path, expected: dict[str, Any]) -> Call:
    mode = Mode(path.stem.partition("_")[0])
    target = target_from(expected["target"], mode)
    return Call(mode, target, expected["call"], stream=expected.get("stream", False), request_id="req-1")


def test_the_check_only_looks(provider):
    outgoing = provider.check()

    assert outgoing.method == "GET" or type(provider).checks_by_post
    assert not outgoing.body or type(provider).checks_by_post


# --- answers ---------------------------------------------------------------------------------------------


def assert_says(told: dict[str, Any], expected: dict[str, Any], source: Any) -> None:
    assert told["text"] == expected["text"]
    assert told["tool_calls"] == expected["tool_calls"]
    assert (source.finish_reason, source.model) == (expected["finish_reason"], expected["model"])
    assert {name: getattr(source.usage, name) for name in expected["usage"]} == expected["usage"]
    assert not source.usage.suspect


def replies() -> list[Any]:
    found = [(kind, path) for kind in KINDS for path in files(kind, "*_reply*.json")]
    return [pytest.param(kind, path, id=f"{kind}-{path.stem}") for kind, path in found]


@pytest.mark.parametrize(("kind", "path"), replies())
def test_the_golden_reply_is_read(kind, path):
    recorded, mode = json.loads(path.read_text()), Mode(path.stem.partition("_")[0])
    reply = read_reply(make(kind), mode, recorded)
    expected, body = recorded["reply"], json.loads(reply.body)

    assert CONTENT_IN[mode](body) == {name: expected[name] for name in CONTENT_IN[mode](body)}
    for name in ("finish_reason", "model"):
        assert getattr(reply, name) == expected.get(name, getattr(reply, name))
    assert {name: getattr(reply.usage, name) for name in expected["usage"]} == expected["usage"]
    assert not reply.usage.suspect
    if mode in {Mode.CHAT, Mode.COMPLETION}:
        assert body["choices"][0]["finish_reason"] == expected["finish_reason"]


def _chat(body: Any) -> dict[str, Any]:
    message = body["choices"][0]["message"]
    calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls") or []]
    return {"text": message["content"], "tool_calls": calls}


CONTENT_IN = {
    Mode.CHAT: _chat,
    Mode.COMPLETION: lambda body: {"text": body["choices"][0]["text"]},
    Mode.EMBEDDING: lambda body: {"vectors": [item["embedding"] for item in body["data"]]},
    Mode.IMAGE: lambda body: {"pictures": [item.get("b64_json") or item["url"] for item in body["data"]]},
    Mode.RERANK: lambda body: {"ranking": [[one["index"], one["relevance_score"]] for one in body["results"]]},
}


def assembled(chunks: list[Any]) -> dict[str, Any]:
    text, calls = "", {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice.get("delta") or {"content": choice.get("text")}
            text += delta.get("content") or ""
            for call in delta.get("tool_calls") or []:
                whole = calls.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
                whole["id"] += call.get("id", "")
                whole["name"] += call["function"].get("name", "")
                whole["arguments"] += call["function"].get("arguments", "")
    return {"text": text, "tool_calls": [calls[index] for index in sorted(calls)]}


def inherited(provider: Provider, pattern: str) -> bool:
    """Whether the files are another provider's, which reads them in the same way."""
    return any(path.parent.name != provider.kind for path in files(provider.kind, pattern))


def test_the_golden_stream_is_read_at_every_split(provider):
    copied = inherited(provider, "*_stream*")
    for stream, expected in streams(provider.kind):
        for at in range(0, len(stream), 97 if copied else 1):
            chunks, events = read_stream(provider, expected, [stream[:at], stream[at:]])
            assert_says(assembled(chunks), expected, events)
        finishes = [
            choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]
        ]
        assert finishes == [expected["finish_reason"]]


def test_the_usage_chunk_is_only_for_those_who_asked(provider):
    for stream, expected in streams(provider.kind):
        asked, _ = read_stream(provider, expected, [stream])
        silent, events = read_stream(provider, expected, [stream], wants_usage=False)

        if expected["usage"].get("completion_tokens") is not None:
            assert any(chunk.get("usage") for chunk in asked)
            assert events.usage.completion_tokens
        assert all(chunk["choices"] for chunk in silent)


def test_a_stream_cut_before_its_end_is_an_error(provider):
    """Cut anywhere before what tells its finish; `complete_from` says where that is, if not at the last frame."""
    for stream, expected in streams(provider.kind):
        mark = expected.get("complete_from", "").encode()
        finish = stream.index(mark) if mark else re.search(rb'"(finish|stop)_?[rR]eason": ?"', stream).start()
        for cut in range(0, finish, 31 if inherited(provider, "*_stream*") else 1):
            with pytest.raises(ProviderError):
                read_stream(provider, expected, [stream[:cut]])


def test_an_empty_stream_is_an_error(provider):
    for _, expected in streams(provider.kind):
        for stream in (b"", b"\n\n", b": ping\n\n" if type(provider).framing is Framing.SSE else b""):
            with pytest.raises(errors.BadReply):
                read_stream(provider, expected, [stream])


def test_nothing_after_the_end_counts(provider):
    for stream, expected in streams(provider.kind):
        if b"[DONE]" in stream:
            chunks, _ = read_stream(provider, expected, [stream])
            longer, _ = read_stream(provider, expected, [stream, b"data: [DONE]\n\ndata: nonsense\n\n"])

            assert len(longer) == len(chunks)


def test_errors_inside_streams_are_named(provider):
    for told in golden(provider.kind, "errors.json").get("frames", []):
        stream = {"mode": told.get("mode", "chat"), **({"target": told["target"]} if "target" in told else {})}
        mode = Mode(stream["mode"])
        target = target_from(stream.get("target", {"upstream_id": "a-model"}), mode)
        events = provider.events(Call(mode, target, {}, stream=True))
        data = told["data"] if isinstance(told["data"], str) else json.dumps(told["data"])

        with pytest.raises(getattr(errors, told["error"])) as caught:
            list(events.feed(Frame(told.get("event", ""), data.encode())))

        assert caught.value.evidence == told.get("evidence", caught.value.evidence)


def test_errors_inside_good_answers_are_named(provider):
    for told in golden(provider.kind, "errors.json").get("inside", []):
        for mode in [Mode(told["mode"])] if "mode" in told else type(provider).modes:
            with pytest.raises(getattr(errors, told["error"])):
                read_reply(provider, mode, {**told, "answer": told["body"]})


def test_its_own_errors_are_named(provider):
    for told in golden(provider.kind, "errors.json").get("answers", []):
        body = told["body"] if isinstance(told["body"], str) else json.dumps(told["body"])

        error = provider.problem(Answer(told["status"], told.get("headers", {}), body.encode()))

        assert type(error).__name__ == told["error"], told
        assert error.retry_after == told.get("retry_after", error.retry_after)
        assert told.get("evidence", "") in error.evidence


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


@pytest.mark.parametrize("data", [b"{", b'{"choices": [', b"\xff\xfe", b"[" * 100_000, b"<html>"])
def test_an_event_that_is_not_json_is_a_bad_reply(provider, data):
    for _, expected in streams(provider.kind):
        mode = Mode(expected.get("mode", "chat"))
        event = expected.get("event", "")  # where only events of this name hold JSON
        target = target_from(expected.get("target", {"upstream_id": "a-model"}), mode)
        whole = expected.get("before", "").encode() + data + expected.get("after", "").encode()  # a stream in a stream
        with pytest.raises(errors.BadReply):
            list(provider.events(Call(mode, target, {}, stream=True)).feed(Frame(event, whole)))


def test_the_golden_list_of_models_is_read(provider):
    if not files(provider.kind, "models.json"):
        assert provider.models(Answer(200, {}, b"{}")) == []
        return
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


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_failure_has_a_name(provider, body):
    particular = golden(provider.kind, "errors.json").get("statuses", {})
    for status, expected in STATUSES:
        error = provider.problem(Answer(status, {"retry-after": "7"}, body))

        assert type(error).__name__ == particular.get(str(status), expected.__name__), status
        assert error.status == status
        assert error.retry_after == (7 if error.retryable else None)
        assert error.message
        assert ("Something went wrong" in error.evidence) == (b"wrong" in body)
        assert "<" not in error.evidence


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
hostile = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


@hostile
@given(body=NOISE)
def test_garbage_raises_nothing_but_provider_errors(provider, body):
    answer = Answer(200, {}, body)
    for mode in type(provider).modes:
        with suppress(ProviderError):
            provider.reply(a_call(provider, mode), answer)
    with suppress(ProviderError):
        provider.models(answer)
    assert isinstance(provider.problem(Answer(400, {}, body)), ProviderError)


@hostile
@given(frames=st.lists(NOISE | EVENTS, max_size=4))
def test_a_stream_of_garbage_raises_nothing_but_provider_errors(provider, frames):
    if Mode.CHAT not in type(provider).modes or not provider.abilities(target_of(provider, Mode.CHAT)).streams:
        return
    events = provider.events(a_call(provider, Mode.CHAT))
    with suppress(ProviderError):
        for data in frames:
            assert all(isinstance(chunk, bytes) for chunk in events.feed(Frame("", data)))
        list(events.end())
