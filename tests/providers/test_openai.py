"""OpenAI's own habits, and the dialect that others copy: bytes pass, oddities are mended."""

import json

import msgspec
import pytest

from connections.providers import errors
from connections.providers.calls import Answer, Call, Frame, Mode, Target
from connections.providers.errors import BadReply
from connections.providers.parameters import KNOWN
from tests.providers.conftest import a_call, make
from tests.providers.test_contract import sample
from tests.upstream.openai import Chat, Completion, Embedding

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def sent(name="gpt-4o-mini", *, mode=Mode.CHAT, stream=False, options=None, **body):
    call = Call(mode, Target(name, mode, options=options or {}), {"messages": MESSAGES, **body}, stream=stream)
    return json.loads(make("openai").request(call).body), list(map(str, call.adjusted))


def whole(**fields):
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    return json.dumps({"id": "1", "model": "m", "choices": [choice], **fields}).encode()


def read(body, *, kind="openai", mode=Mode.CHAT):
    provider = make(kind)
    return provider.reply(a_call(provider, mode), Answer(200, {}, body))


def streamed(*data, wants_usage=True):
    provider = make("openai")
    call = a_call(provider)
    call.wants_usage = wants_usage
    events = provider.events(call)
    chunks = [chunk for item in data for chunk in events.feed(Frame("", item))]
    return [*chunks, *events.end()], events


def chunk(content=None, finish=None, **fields):
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return json.dumps({"model": "m", "choices": [choice], **fields}).encode()


# --- requests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "accepted"), [(Mode.CHAT, Chat), (Mode.COMPLETION, Completion), (Mode.EMBEDDING, Embedding)]
)
def test_a_strict_server_takes_the_request_with_every_parameter(mode, accepted):
    provider = make("openai")
    given = {name: sample(mode, name) for name in KNOWN[mode] if name != "input_type"}
    given |= {"logprobs": 1} if mode is Mode.COMPLETION else {"verbosity": "low"} if mode is Mode.CHAT else {}
    call = a_call(provider, mode, **given)
    call.stream = mode is not Mode.EMBEDDING

    accepted.model_validate_json(provider.request(call).body)


def test_raw_values_go_out_byte_for_byte():
    raw = b'[ {"role":"user",  "content":"\\u0047r\xc3\xbc\xc3\x9fe"} ]'
    provider = make("openai")

    outgoing = provider.request(Call(Mode.CHAT, Target("gpt-4o"), {"messages": msgspec.Raw(raw)}))

    assert raw in outgoing.body


@pytest.mark.parametrize("name", ["o1", "o3-mini", "o4-mini", "gpt-5", "gpt-5.2", "gpt-6.1-sol", "ft:o3-mini:us::x"])
def test_reasoning_models_get_no_sampling_parameters(name):
    body, adjusted = sent(name, temperature=0.2, top_p=0.5, n=2, max_tokens=9, reasoning_effort="high")

    assert body.keys() == {"model", "messages", "max_completion_tokens", "reasoning_effort"}
    assert adjusted == [
        "temperature dropped",
        "top_p dropped",
        "n dropped",
        "max_tokens renamed to max_completion_tokens",
    ]


@pytest.mark.parametrize("name", ["gpt-4o-mini", "gpt-4.1", "gpt-5-chat-latest", "ft:gpt-4o:us::x", "my-deployment"])
def test_other_models_keep_them(name):
    assert sent(name, temperature=0.2, n=2)[0].keys() >= {"temperature", "n"}


def test_a_reasoning_model_told_not_to_reason_samples():
    body, adjusted = sent("gpt-5.2", temperature=0.2, reasoning_effort="none")

    assert (body["temperature"], adjusted) == (0.2, [])


def test_the_underlying_model_decides_for_a_deployment():
    call = Call(Mode.CHAT, Target("my-deployment", underlying="o3"), {"messages": MESSAGES, "temperature": 0.2})

    assert "temperature" not in json.loads(make("openai").request(call).body)


def test_an_admin_overrides_what_is_known_of_a_model():
    options = {"drop": ["seed"], "max_tokens": "max_tokens", "system_role": "developer"}
    body, adjusted = sent("o3", options=options, temperature=0.2, seed=1, max_completion_tokens=9)

    assert body["temperature"] == 0.2
    assert body["max_tokens"] == 9
    assert body["messages"][0]["role"] == "developer"
    assert adjusted == ["seed dropped", "max_completion_tokens renamed to max_tokens"]


def test_models_without_instructions_get_them_from_the_user():
    body, _ = sent("o1-mini")

    assert [message["role"] for message in body["messages"]] == ["user", "user"]
    assert MESSAGES[0]["role"] == "system"


def test_a_null_means_not_given():
    assert sent(temperature=None, top_k=None) == ({"model": "gpt-4o-mini", "messages": MESSAGES}, [])


def test_completions_keep_their_own_name_of_the_limit():
    call = Call(Mode.COMPLETION, Target("gpt-3.5-turbo-instruct", Mode.COMPLETION), {"prompt": "a", "max_tokens": 5})

    outgoing = make("openai").request(call)

    assert outgoing.url.endswith("/v1/completions")
    assert json.loads(outgoing.body)["max_tokens"] == 5


def test_a_base_url_without_models_is_named():
    error = make("openai").check_problem(Answer(404, {}, b""))

    assert "base URL" in str(error)


# --- answers ---------------------------------------------------------------------------------------------


def test_a_sound_answer_passes_byte_for_byte():
    body = whole(usage={"prompt_tokens": 1, "completion_tokens": 2}, surprise={"kept": [1]})

    assert read(body).body is body


def test_a_sound_chunk_passes_byte_for_byte():
    data = [chunk("Hi", obfuscation="xyz"), chunk(finish="stop")]

    chunks, _ = streamed(*data, b"[DONE]")

    assert chunks == data
    assert all(passed is given for passed, given in zip(chunks, data, strict=True))


def test_embeddings_pass_and_count_no_completion():
    body = b'{"object":"list","data":[{"index":0,"embedding":"AACAPw=="}],"model":"e","usage":{"prompt_tokens":4}}'

    reply = read(body, mode=Mode.EMBEDDING)

    assert reply.body is body
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.model) == (4, 0, "e")


def test_completions_are_read():
    reply = read(b'{"choices":[{"text":"Hi","index":0,"finish_reason":"length"}],"model":"m"}', mode=Mode.COMPLETION)

    assert (reply.finish_reason, reply.model) == ("length", "m")


USAGES = [
    ({}, (None, None, False)),
    ({"usage": None}, (None, None, False)),
    ({"usage": {}}, (None, None, False)),
    ({"usage": "many"}, (None, None, True)),
    ({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, (3, 4, False)),
    ({"usage": {"prompt_tokens": "3", "completion_tokens": "four"}}, (3, None, True)),
    ({"usage": {"prompt_tokens": -3, "completion_tokens": 4}}, (0, 4, True)),
    ({"usage": {"prompt_tokens": 3, "completion_tokens": 10**18}}, (3, 10_000_000, True)),
    ({"usage": {"prompt_tokens": True, "completion_tokens": 4.0}}, (1, 4, True)),
    ({"usage": {"prompt_tokens": [3], "completion_tokens": {}}}, (None, None, True)),
]


@pytest.mark.parametrize(("fields", "expected"), USAGES)
def test_reported_tokens_are_made_safe(fields, expected):
    for usage in (read(whole(**fields)).usage, streamed(chunk("Hi", "stop", **fields))[1].usage):
        assert (usage.prompt_tokens, usage.completion_tokens, usage.suspect) == expected


def test_parts_never_exceed_the_whole():
    details = {"prompt_tokens_details": {"cached_tokens": 99}, "completion_tokens_details": {"reasoning_tokens": 99}}

    usage = read(whole(usage={"prompt_tokens": 3, "completion_tokens": 4, **details})).usage

    assert (usage.cached_tokens, usage.reasoning_tokens) == (3, 4)


def test_the_last_usage_of_a_stream_counts():
    first, last = {"prompt_tokens": 1, "completion_tokens": 1}, {"prompt_tokens": 3, "completion_tokens": 9}

    _, events = streamed(chunk("Hi", usage=first), chunk("", "stop", usage=last))

    assert (events.usage.prompt_tokens, events.usage.completion_tokens) == (3, 9)


def test_the_model_that_answered_is_told():
    assert read(whole(model="gpt-4o-mini-2024-07-18")).model == "gpt-4o-mini-2024-07-18"
    assert read(whole(model=["x"])).model == ""


@pytest.mark.parametrize("end", [(), (b"[DONE]",), (b"[DONE]", b"[DONE]"), (b"[DONE]", b"not json", chunk("more"))])
def test_a_stream_with_a_finish_reason_is_whole(end):
    chunks, events = streamed(chunk("Hi"), chunk(finish="stop"), *end)

    assert len(chunks) == 2
    assert events.finish_reason == "stop"


def test_a_stream_without_finish_reason_and_done_was_cut():
    with pytest.raises(BadReply, match="cut off"):
        streamed(chunk("Hi"))


def test_an_unfinished_stream_may_end_with_done():
    assert len(streamed(chunk("Hi"), b"[DONE]")[0]) == 1


@pytest.mark.parametrize("odd", [b"{}", b'{"choices": null}', b'{"choices": []}', b'{"choices": [], "usage": null}'])
def test_a_chunk_that_says_nothing_is_left_out(odd):
    assert streamed(odd, chunk("Hi", "stop"))[0] == [chunk("Hi", "stop")]


def test_an_odd_place_and_a_second_finish_are_no_errors():
    odd = b'{"choices": [{"index": 7, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}'

    chunks, events = streamed(odd, odd)

    assert chunks == [odd, odd]
    assert events.finish_reason == "stop"


def test_a_chunk_on_several_lines_goes_out_on_one():
    pretty = json.dumps(json.loads(chunk("Hi", "stop")), indent=2).encode()

    (only,), _ = streamed(pretty)

    assert b"\n" not in only
    assert json.loads(only) == json.loads(pretty)


def test_an_error_in_a_stream_without_a_known_name_is_the_servers():
    with pytest.raises(errors.ServerFailed) as caught:
        streamed(b'{"error": {"message": "Exploded", "code": null}}')

    assert caught.value.evidence == "Exploded"


def test_an_error_in_a_stream_may_carry_a_status():
    with pytest.raises(errors.RateLimited):
        streamed(b'{"error": {"message": "Slow down", "code": 429}}')


# --- mending ---------------------------------------------------------------------------------------------


def mended(message=None, finish="stop"):
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi", **(message or {})}, "finish_reason": finish}
    reply = read(json.dumps({"choices": [choice]}).encode(), kind="openai_compatible")
    answered = json.loads(reply.body)["choices"][0]
    return reply.finish_reason, answered["finish_reason"], answered["message"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [("eos", "stop"), ("eos_token", "stop"), ("stop_sequence", "stop"), ("", "stop"), ("max_tokens", "length")],
)
def test_other_names_of_the_finish_are_translated(given, expected):
    assert mended(finish=given)[:2] == (expected, expected)


def test_content_in_parts_becomes_text():
    assert mended({"content": [{"type": "text", "text": "a"}, "b", {"type": "image"}]})[2]["content"] == "ab"


@pytest.mark.parametrize("name", ["reasoning", "thinking"])
def test_reasoning_gets_one_name(name):
    assert mended({name: "Hm."})[2] == {"role": "assistant", "content": "Hi", "reasoning_content": "Hm."}


def test_arguments_of_tools_become_text():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}

    finish, _, message = mended({"content": None, "tool_calls": [call]}, finish="")

    assert message["tool_calls"][0]["function"]["arguments"] == '{"a":1}'
    assert finish == "tool_calls"


def test_an_empty_finish_amid_a_stream_is_none():
    chunks, events = streamed(chunk("Hi", ""), chunk("", "eos"))

    assert [json.loads(item)["choices"][0]["finish_reason"] for item in chunks] == [None, "stop"]
    assert events.finish_reason == "stop"


def test_the_list_tells_newer_ends_than_the_catalogue():
    listed = [{"id": "gpt-5.5", "shutdown_date": "2027-06-30"}, {"id": "gpt-9", "shutdown_date": ["soon"]}]

    found = make("openai").models(Answer(200, {}, json.dumps({"data": listed}).encode()))

    assert [(model.lifecycle, model.ends) for model in found] == [("deprecated", "2027-06-30"), ("", "")]
    assert found[0].capabilities


# --- what an admin sets for a model ------------------------------------------------------------------------


def test_options_that_cannot_be_read_any_more_count_as_not_set():
    body, adjusted = sent("o3", options={"drop": 7, "max_tokens": "length", "gone": 1}, temperature=0.2, max_tokens=9)

    assert "temperature" not in body
    assert body["max_completion_tokens"] == 9
    assert len(adjusted) == 2


def test_the_options_explain_themselves():
    for name, field in make("openai").ModelOptions.model_fields.items():
        assert field.title, name
        assert field.description, name
