"""Any endpoint that speaks OpenAI's dialect: its address, its ways to sign in, its switches, its bad input."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connections.providers.calls import Answer, Call, Frame, Mode, Outgoing, Target
from connections.providers.errors import ProviderError
from tests.providers.conftest import a_call, make
from tests.providers.test_contract import NOISE, hostile

KIND = "openai_compatible"


@pytest.mark.parametrize(
    ("typed", "called"),
    [
        ("https://llm.test", "https://llm.test/v1/chat/completions"),
        ("https://llm.test/", "https://llm.test/v1/chat/completions"),
        ("  https://llm.test/v1/  ", "https://llm.test/v1/chat/completions"),
        ("https://llm.test/v1/chat/completions", "https://llm.test/v1/chat/completions"),
        ("https://llm.test//openai//v1/models", "https://llm.test/openai/v1/chat/completions"),
        ("https://llm.test/serve/v1?api-version=1", "https://llm.test/serve/v1/chat/completions?api-version=1"),
        ("http://127.0.0.1:11434/v1/embeddings/", "http://127.0.0.1:11434/v1/chat/completions"),
    ],
)
def test_addresses_are_tidied(typed, called):
    provider = make(KIND, base_url=typed)

    assert provider.request(a_call(provider)).url == called
    assert make(KIND, base_url=provider.settings.base_url).settings == provider.settings


@pytest.mark.parametrize(
    "url",
    [
        "",
        "llm.test",
        "ftp://llm.test",
        "file:///etc/passwd",
        "unix:/run/x",
        "https://",
        "https://u:p@llm.test",
        "https://llm.test/#x",
        "https://llm.test/a b",
        "https://llm.test/\r\nX: y",
        "https://llm.test\\@evil.test",
        "https://llm.test:0",
        "https://llm.test:65536",
        "https://ｌｌｍ.test",
        "https://[::1",
        "gopher://llm.test",
    ],
)
def test_bad_addresses_are_refused(url):
    with pytest.raises(ValidationError):
        make(KIND, base_url=url)


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"api_key": "abc123"}, {"Authorization": "Bearer abc123"}),
        ({"sign_in": "header", "header_name": "api-key", "api_key": "abc123"}, {"api-key": "abc123"}),
        ({"sign_in": "basic", "username": "ada", "api_key": "abc123"}, {"Authorization": "Basic YWRhOmFiYzEyMw=="}),
    ],
)
def test_ways_to_sign_in(settings, header):
    provider = make(KIND, **settings)

    assert provider.auth.sign(Outgoing("GET", "")).headers == header


def test_sign_in_by_nothing():
    assert make(KIND, sign_in="none", api_key="").auth.sign(Outgoing("GET", "")).headers == {}


@pytest.mark.parametrize(
    "settings",
    [{"api_key": ""}, {"sign_in": "header"}, {"sign_in": "basic"}, {"sign_in": "basic", "username": "a:b"}]
    + [{"sign_in": "header", "header_name": name} for name in ("Host", "content-length", "two words", "a:b", "é")],
)
def test_an_incomplete_sign_in_is_refused(settings):
    with pytest.raises(ValidationError):
        make(KIND, **settings)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.test"},
        {"content-length": "1"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close"},
        {"Authorization": "Bearer x"},
        {"two words": "x"},
        {"X-Colon:": "x"},
        {"": "x"},
        {"X-Team": "a\r\nX-Evil: b"},
        {"X-Team": "a\nb"},
        {"X-Team": "🐟"},
        {"X-Team": "a", "x-team": "b"},
    ],
    ids=str,
)
def test_bad_extra_headers_are_refused(headers):
    with pytest.raises(ValidationError):
        make(KIND, extra_headers=headers)


def test_space_around_a_secret_is_cut_off():
    assert make(KIND, api_key="  abc123\n").auth.sign(Outgoing("GET", "")).headers == {"Authorization": "Bearer abc123"}


def test_switches_shape_the_request():
    provider = make(
        KIND, max_tokens_name="max_completion_tokens", stream_options=False, drop_parameters=["seed", "logit_bias"]
    )
    call = Call(Mode.CHAT, Target("m"), {"messages": [], "max_tokens": 5, "seed": 1, "top_k": 4}, stream=True)

    body = json.loads(provider.request(call).body)

    assert body == {"model": "m", "messages": [], "max_completion_tokens": 5, "top_k": 4, "stream": True}
    assert list(map(str, call.adjusted)) == ["max_tokens renamed to max_completion_tokens", "seed dropped"]


def test_a_server_without_a_list_of_models_is_not_broken():
    provider = make(KIND)

    assert provider.check_problem(Answer(404, {}, b"Not Found")) is None
    assert provider.check_problem(Answer(403, {}, b"")) is not None


def test_names_from_the_lists_of_other_servers():
    found = make(KIND).models(Answer(200, {}, b'{"models": [{"name": "llama3:8b", "context_length": 8192}]}'))

    assert [(model.id, model.context) for model in found] == [("llama3:8b", 8192)]


# --- switches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["/images/generations", "/rerank", "/v1/completions"])
def test_an_address_with_any_operation_is_tidied(ending):
    provider = make(KIND, base_url=f"https://llm.test{ending}")

    assert provider.request(a_call(provider)).url == "https://llm.test/v1/chat/completions"


def test_an_operation_may_lie_elsewhere():
    provider = make(KIND, base_url="https://llm.test/v1?key=1", paths={"embedding": "/api/embed", "rerank": "/rerank"})
    called = {mode: provider.request(a_call(provider, mode)).url for mode in Mode}

    assert called[Mode.EMBEDDING] == "https://llm.test/api/embed?key=1"
    assert called[Mode.RERANK] == "https://llm.test/rerank?key=1"
    assert called[Mode.CHAT] == "https://llm.test/v1/chat/completions?key=1"


@pytest.mark.parametrize(
    "paths",
    [{"embeddings": "/x"}]
    + [
        {"chat": path} for path in ("x", "", "/", "//evil.test/x", "/../x", "/a/./b", "/a b", "/a?b", "/%2e%2e/x", "/ä")
    ],
    ids=str,
)
def test_an_odd_path_is_refused(paths):
    with pytest.raises(ValidationError):
        make(KIND, paths=paths)


def test_secret_headers_go_along_with_every_sign_in():
    for sign_in in ("bearer", "none"):
        provider = make(KIND, sign_in=sign_in, api_key="abc123", secret_headers={"X-Gate": "gate-canary-1"})

        assert provider.auth.sign(Outgoing("GET", "")).headers["X-Gate"] == "gate-canary-1"
        assert "gate-canary-1" in provider.secrets()


@pytest.mark.parametrize(("knows", "role"), [(False, "system"), (True, "developer")])
def test_instructions_of_developers_reach_every_server(knows, role):
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": 'Say "developer".'}]
    call = Call(Mode.CHAT, Target("m"), {"messages": messages})

    body = json.loads(make(KIND, developer_role=knows).request(call).body)

    assert [message["role"] for message in body["messages"]] == [role, "user"]
    assert list(map(str, call.adjusted)) == ([] if knows else ["messages.role developer sent as system"])


def test_a_word_in_a_prompt_is_no_role():
    call = Call(Mode.CHAT, Target("m"), {"messages": [{"role": "user", "content": "x", "name": "developer"}]})

    make(KIND).request(call)

    assert call.adjusted == []


def test_limits_of_the_server_are_known():
    abilities = make(KIND, max_inputs=7, fetches_pictures=False, drop_parameters=["n"]).abilities(Target("m"))

    assert (abilities.inputs, abilities.image_urls, abilities.choices) == (7, False, 1)


@pytest.mark.parametrize(("option", "inputs"), [(3, 3), (9, 7), (None, 7)])
def test_a_model_may_take_fewer_texts_than_its_server(option, inputs):
    target = Target("e", Mode.EMBEDDING, options={} if option is None else {"max_inputs": option})

    assert make(KIND, max_inputs=7).abilities(target).inputs == inputs


@pytest.mark.parametrize(
    "settings",
    [
        {"extra_headers": {"X-Gate": "a"}, "secret_headers": {"x-gate": "b"}},
        {"sign_in": "header", "header_name": "api-key", "secret_headers": {"API-Key": "b"}},
    ],
    ids=str,
)
def test_a_header_set_twice_is_refused(settings):
    with pytest.raises(ValidationError, match="twice"):
        make(KIND, **settings)


@pytest.mark.parametrize("most", [0, 2049])
def test_an_odd_limit_is_refused(most):
    with pytest.raises(ValidationError):
        make(KIND, max_inputs=most)


def test_vectors_of_a_server_that_knows_numbers_only():
    provider = make(KIND, vectors_as_numbers=True)
    call = a_call(provider, Mode.EMBEDDING, encoding_format="base64")

    body = json.loads(provider.request(call).body)
    reply = provider.reply(call, Answer(200, {}, b'{"data": [{"index": 0, "embedding": [0.5, -1]}]}'))

    assert "encoding_format" not in body
    assert list(map(str, call.adjusted)) == ["encoding_format applied by us"]
    assert json.loads(reply.body)["data"][0]["embedding"] == "AAAAPwAAgL8="


# --- reasoning between tags ------------------------------------------------------------------------------

THOUGHTS = [
    ("<think>Hm.</think>\n\nHello", "Hm.", "Hello"),
    ("\n<think>\nHm.\n</think>Hello", "\nHm.\n", "Hello"),
    ("Hello <think>no</think>", "", "Hello <think>no</think>"),
    ("<think>Hm.", "Hm.", ""),
    ("<think>a < b </thin", "a < b </thin", ""),
    ("<thinker>", "", "<thinker>"),
    ("<thi", "", "<thi"),
    ("  ", "", "  "),
    ("<think></think>Hello", "", "Hello"),
]


def said(choices):
    told = [choice.get("message") or choice["delta"] for choice in choices]
    return ["".join(message.get(name) or "" for message in told) for name in ("reasoning_content", "content")]


def whole_answer(text):
    message = {"role": "assistant", "content": text}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


@pytest.mark.parametrize(("text", "thought", "answer"), THOUGHTS)
def test_reasoning_is_taken_apart_where_an_admin_wishes(text, thought, answer):
    provider = make(KIND, split_thinking=True)

    reply = provider.reply(a_call(provider), Answer(200, {}, whole_answer(text)))

    assert said(json.loads(reply.body)["choices"]) == [thought, answer]


def test_otherwise_an_answer_stays_as_it_is():
    body = whole_answer(THOUGHTS[0][0])
    provider = make(KIND)

    assert provider.reply(a_call(provider), Answer(200, {}, body)).body is body


@pytest.mark.parametrize(("text", "thought", "answer"), THOUGHTS)
@pytest.mark.parametrize("ended", [True, False])
def test_reasoning_is_taken_apart_in_a_stream_cut_anywhere(text, thought, answer, ended):
    for size in (1, 2, 3, 5, 100):
        provider = make(KIND, split_thinking=True)
        reader = provider.events(a_call(provider))
        pieces = [{"content": text[at : at + size]} for at in range(0, len(text), size)]
        sent = [{"role": "assistant", "content": ""}, *pieces, {}]
        frames = [
            {
                "id": "1",
                "choices": [{"index": 0, "delta": delta, "finish_reason": "stop" if delta == {} and ended else None}],
            }
            for delta in sent
        ]
        chunks = [chunk for frame in frames for chunk in reader.feed(Frame("", json.dumps(frame).encode()))]
        chunks += [*reader.feed(Frame("", b"[DONE]")), *reader.end()]
        choices = [json.loads(chunk)["choices"][0] for chunk in chunks]

        assert said(choices) == [thought, answer], size
        assert {choice["index"] for choice in choices} == {0}
        assert not ended or choices[-1]["finish_reason"] == "stop"


def test_answers_of_one_stream_are_taken_apart_by_themselves():
    provider = make(KIND, split_thinking=True)
    reader = provider.events(a_call(provider))
    texts = [(0, "<think>a"), (1, "b"), (0, "</think>c"), (1, "<think>")]
    frames = [{"choices": [{"index": index, "delta": {"content": text}}]} for index, text in texts]

    chunks = [json.loads(chunk) for frame in frames for chunk in reader.feed(Frame("", json.dumps(frame).encode()))]
    by_index = {index: [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index] for index in (0, 1)}

    assert said(by_index[0]) == ["a", "c"]
    assert said(by_index[1]) == ["", "b<think>"]


@hostile
@given(body=NOISE, frames=st.lists(NOISE, max_size=4))
def test_garbage_raises_nothing_but_provider_errors(body, frames):
    provider = make(KIND, split_thinking=True, vectors_as_numbers=True)
    calls = [a_call(provider), a_call(provider, Mode.EMBEDDING, encoding_format="base64")]
    for call in calls:
        with suppress(ProviderError):
            provider.reply(call, Answer(200, {}, body))
    reader = provider.events(calls[0])
    with suppress(ProviderError):
        for data in frames:
            reader.feed(Frame("", data))
        list(reader.end())


@pytest.mark.parametrize("odd", [b'{"usage": {"prompt_tokens": 1}}', b'{"choices": null, "usage": {}}'])
def test_usage_alone_passes(odd):
    provider = make(KIND, split_thinking=True)

    assert len(provider.events(a_call(provider)).feed(Frame("", odd))) == 1


@pytest.mark.parametrize("odd", [7, ["a"], {}])
def test_odd_reasoning_beside_tags_is_replaced(odd):
    message = {"content": "<think>Hm.</think>Hello", "reasoning_content": odd}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    provider = make(KIND, split_thinking=True)

    reply = provider.reply(a_call(provider), Answer(200, {}, json.dumps(body).encode()))

    assert said(json.loads(reply.body)["choices"]) == ["Hm.", "Hello"]


def test_usage_and_tool_calls_pass():
    provider = make(KIND, split_thinking=True)
    call = a_call(provider)
    reader = provider.events(call)
    tool = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    frames = [
        {"choices": [{"index": 0, "delta": {"content": None, "tool_calls": [tool]}, "finish_reason": "tool_calls"}]},
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    ]

    chunks = [json.loads(chunk) for frame in frames for chunk in reader.feed(Frame("", json.dumps(frame).encode()))]

    assert chunks == frames
    assert reader.usage.completion_tokens == 2


def test_a_server_that_cannot_list_its_models_is_checked_by_a_path_of_its_own():
    provider = make(KIND, base_url="https://llm.example.com/v1", paths={"check": "/health"})

    assert provider.check().url == "https://llm.example.com/health"
    assert provider.check_problem(Answer(200, {}, b'{"status": "ok"}')) is None
    assert provider.models(Answer(200, {}, b'{"status": "ok"}')) == []
