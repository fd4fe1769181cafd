"""Chat in Anthropic's words: what each part becomes, and what is told about it."""

import json

import pytest

from connections.providers import emulation, errors
from connections.providers.calls import Answer, Call, Frame, Mode, Target
from connections.providers.errors import RequestRefused
from connections.providers.parameters import KNOWN
from tests.providers.conftest import a_call, make
from tests.providers.test_contract import sample
from tests.upstream.anthropic import Messages

OLD, NEW, BUDGETED, PLAIN = "claude-sonnet-4-6", "claude-sonnet-5-5", "claude-haiku-4-5", "claude-3-opus-20240229"
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "look_up"}}
LOOK_UP = {"name": "look_up", "input_schema": {"type": "object", "properties": {}}}


def sent(messages=None, *, name=OLD, max_output=None, options=None, settings=None, **body):
    target = Target(name, max_output=max_output, options=options or {})
    call = Call(Mode.CHAT, target, {"messages": messages or HELLO, "max_tokens": 5000, **body})
    outgoing = make("anthropic", **(settings or {})).request(call)
    return json.loads(outgoing.body), list(map(str, call.adjusted))


def refused(messages=None, **body):
    with pytest.raises(RequestRefused) as caught:
        sent(messages, **body)
    return str(caught.value)


# --- requests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [OLD, NEW, BUDGETED, PLAIN])
def test_a_strict_server_takes_the_request_with_every_parameter(name):
    given = {name: sample(Mode.CHAT, name) for name in KNOWN[Mode.CHAT]}

    body, _ = sent(name=name, **given)

    Messages.model_validate(body)


def test_a_length_is_always_sent():
    assert sent(max_tokens=None)[0]["max_tokens"] == 4096
    assert sent(max_tokens=None)[1] == ["max_tokens set to 4096"]
    assert sent(max_tokens=None, max_output=1000)[1] == ["max_tokens set to 1000"]


def test_a_length_beyond_the_models_is_clamped():
    body, adjusted = sent(max_tokens=9000, max_output=8192)

    assert (body["max_tokens"], adjusted) == (8192, ["max_tokens clamped to 8192"])


def test_both_names_of_the_length():
    body, adjusted = sent(max_tokens=None, max_completion_tokens=70)

    assert (body["max_tokens"], adjusted) == (70, ["max_completion_tokens renamed to max_tokens"])
    assert sent(max_tokens=50, max_completion_tokens=70)[1] == ["max_completion_tokens dropped"]


@pytest.mark.parametrize(("given", "expected"), [(0, 0), (1, 1), (1.5, 1)])
def test_temperature_ends_at_one(given, expected):
    assert sent(temperature=given)[0]["temperature"] == expected


def test_temperature_excludes_top_p():
    body, adjusted = sent(temperature=0.5, top_p=0.5)

    assert ("top_p" in body, adjusted) == (False, ["top_p dropped, as temperature is given"])
    assert sent(name=PLAIN, temperature=0.5, top_p=0.5)[0]["top_p"] == 0.5


@pytest.mark.parametrize(
    "how", [{"name": NEW}, {"settings": {"version": "2026-10-21"}}, {"options": {"sampling": "no"}}]
)
def test_sampling_is_left_out_where_it_is_refused(how):
    body, adjusted = sent(temperature=0.5, top_p=0.5, top_k=5, **how)

    assert body.keys() == {"model", "max_tokens", "messages"}
    assert adjusted == ["temperature dropped", "top_p dropped", "top_k dropped"]


def test_an_admin_may_say_that_a_model_samples():
    options = {"sampling": "yes", "both": "yes"}
    body, _ = sent(name=NEW, options=options, temperature=0.5, top_p=0.5)

    assert (body["temperature"], body["top_p"]) == (0.5, 0.5)


def test_an_admin_may_say_how_a_model_thinks():
    body, _ = sent(name=PLAIN, options={"thinking": "effort", "prompt_format": ""}, reasoning_effort="high")

    assert body["output_config"] == {"effort": "high"}


@pytest.mark.parametrize("options", [{"sampling": 7}, {"thinking": "hard"}, {"both": "", "thinking": ""}, {"x": 1}])
def test_options_that_say_nothing_change_nothing(options):
    assert sent(options=options, temperature=0.5, reasoning_effort="low") == sent(
        temperature=0.5, reasoning_effort="low"
    )


def test_system_texts_go_to_the_front():
    messages = [{"role": "developer", "content": "One."}, *HELLO, {"role": "system", "content": "Two."}, *HELLO]

    body, adjusted = sent(messages)

    assert body["system"] == "One.\n\nTwo."
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert adjusted == ["messages changed: all system text moved to the front"]


def test_a_system_text_alone_becomes_the_users():
    body, adjusted = sent([{"role": "system", "content": "Say hello."}])

    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}]
    assert "system" not in body
    assert adjusted == ["messages changed: system text sent as the user's"]


KEPT = {"cache_control": {"type": "ephemeral"}}


def test_marks_for_the_cache_stay_where_they_are():
    told = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two.", **KEPT}]
    messages = [
        {"role": "system", "content": told},
        {"role": "user", "content": [{"type": "text", "text": "Hi", **KEPT}]},
    ]

    body, _ = sent(messages, tools=[{**TOOL, **KEPT}], response_format={"type": "json_object"})

    assert body["system"][:2] == told
    assert "JSON" in body["system"][2]["text"]
    assert body["messages"][0]["content"] == [{"type": "text", "text": "Hi", **KEPT}]
    assert body["tools"] == [{**LOOK_UP, **KEPT}]


def test_empty_texts_are_left_out():
    messages = [
        *HELLO,
        {"role": "assistant", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": ""}]},
    ]

    assert len(sent(messages)[0]["messages"]) == 1


def test_a_prefill_loses_its_trailing_space():
    assert (
        sent([*HELLO, {"role": "assistant", "content": "Well, "}])[0]["messages"][-1]["content"][0]["text"] == "Well,"
    )


def image(url):
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, "detail": "low"}}]}]


def test_images():
    (inside,) = sent(image("data:image/jpeg;base64,AAAA"))[0]["messages"][0]["content"]
    (outside,) = sent(image("https://example.test/a.png"))[0]["messages"][0]["content"]

    assert inside["source"] == {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}
    assert outside["source"] == {"type": "url", "url": "https://example.test/a.png"}


@pytest.mark.parametrize("url", ["data:image/png,AAAA", "data:image/png;base64", "data:"])
def test_images_in_other_encodings_are_refused(url):
    assert "base64" in refused(image(url))


def test_other_content_is_refused():
    assert "input_audio" in refused([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}])


def test_arguments_that_are_not_json_are_refused():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}

    assert "not JSON" in refused([*HELLO, {"role": "assistant", "tool_calls": [call]}])


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        ({"type": "function", "function": {"name": "look_up"}}, None, {"type": "tool", "name": "look_up"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_the_choice_of_tools(choice, parallel, expected):
    body, _ = sent(tools=[TOOL], tool_choice=choice, parallel_tool_calls=parallel)

    assert body["tools"] == [LOOK_UP]
    assert body.get("tool_choice") == expected


def test_a_choice_without_tools_is_dropped():
    assert sent(tool_choice="auto", parallel_tool_calls=False)[1] == [
        "tool_choice dropped",
        "parallel_tool_calls dropped",
    ]


@pytest.mark.parametrize("body", [{"tools": [{"type": "custom", "custom": {}}]}, {"tools": [TOOL], "tool_choice": {}}])
def test_unknown_tools_are_refused(body):
    assert "does not take" in refused(**body) or "only tools" in refused(**body)


def test_a_json_object_is_asked_for_in_words():
    body, adjusted = sent(response_format={"type": "json_object"})

    assert "JSON" in body["system"]
    assert adjusted == ["response_format sent as an instruction"]


def test_plain_text_needs_no_words():
    assert sent(response_format={"type": "text"})[0].keys() == {"model", "max_tokens", "messages"}


REASONING = [
    (OLD, "high", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
    ("claude-opus-4-5", "minimal", {"output_config": {"effort": "low"}}),
    (BUDGETED, "low", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    (BUDGETED, "max", {"thinking": {"type": "enabled", "budget_tokens": 2500}}),
    (NEW, "none", {"thinking": {"type": "disabled"}}),
    (PLAIN, "high", {}),
    (PLAIN, "none", {}),
]


@pytest.mark.parametrize(("name", "effort", "expected"), REASONING)
def test_reasoning(name, effort, expected):
    body, adjusted = sent(name=name, reasoning_effort=effort)

    assert {part: body[part] for part in ("thinking", "output_config") if part in body} == expected
    assert [text for text in adjusted if text.startswith("reasoning_effort")]


def test_no_thinking_without_room():
    assert sent(name=BUDGETED, max_tokens=1500, reasoning_effort="high")[1] == [
        "reasoning_effort dropped, as max_tokens leaves no room"
    ]


CALLED = [
    *HELLO,
    {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "look_up", "arguments": ""}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": "A fish."},
]


@pytest.mark.parametrize(("name", "thinks"), [(BUDGETED, False), (OLD, True)])
def test_a_model_with_a_budget_does_not_think_between_call_and_answer(name, thinks):
    body, adjusted = sent(CALLED, name=name, reasoning_effort="high", tools=[TOOL])

    assert ("thinking" in body) is thinks
    dropped = "reasoning_effort dropped, as the call of a tool came without the thoughts before it"
    assert (dropped in adjusted) is not thinks


def test_a_model_with_a_budget_thinks_again_after_the_answer():
    messages = [*CALLED, {"role": "assistant", "content": "A fish."}, *HELLO]

    assert "thinking" in sent(messages, name=BUDGETED, reasoning_effort="high", tools=[TOOL])[0]


def test_a_thinking_model_neither_samples_nor_is_forced():
    body, adjusted = sent(reasoning_effort="low", temperature=0.5, top_k=5, tools=[TOOL], tool_choice="required")

    assert body.keys() == {"model", "max_tokens", "messages", "tools", "tool_choice", "thinking", "output_config"}
    assert body["tool_choice"] == {"type": "auto"}
    assert adjusted[1:] == [
        "temperature dropped while the model thinks",
        "top_k dropped while the model thinks",
        "tool_choice set to auto while the model thinks",
    ]


def test_its_own_thinking_passes():
    thinking = {"type": "enabled", "budget_tokens": 2000}

    body, adjusted = sent(thinking=thinking, reasoning_effort="high")

    assert (body["thinking"], adjusted) == (thinking, ["reasoning_effort dropped, as thinking is given"])


@pytest.mark.parametrize(("tier", "expected"), [("auto", "auto"), ("default", "standard_only"), ("flex", None)])
def test_service_tiers(tier, expected):
    body, adjusted = sent(service_tier=tier)

    assert body.get("service_tier") == expected
    assert adjusted == ([] if expected else ["service_tier dropped"])


def test_a_conversation_with_a_first_model():
    provider = make("anthropic")
    call = Call(Mode.CHAT, Target("claude-2.0", Mode.COMPLETION), {"messages": HELLO, "max_tokens": 5})

    outgoing = provider.request(emulation.in_own_mode(provider, call))

    assert outgoing.url == "https://api.anthropic.com/v1/complete"
    assert json.loads(outgoing.body)["prompt"] == "\n\nHuman: Hello\n\nAssistant:"
    assert provider.abilities(call.target).prompts == 1


def test_a_pasted_address_works():
    provider = make("anthropic", base_url="https://api.anthropic.com/v1/messages")

    assert provider.request(a_call(provider)).url == "https://api.anthropic.com/v1/messages"
    assert provider.check().url == "https://api.anthropic.com/v1/models?limit=1000"


# --- answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("refusal", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("new_reason", "stop"),
        (None, "stop"),
    ],
)
def test_finish_reasons(reason, expected):
    provider = make("anthropic")
    body = {"content": [{"type": "text", "text": "Hi"}], "stop_reason": reason}

    assert provider.reply(a_call(provider), Answer(200, {}, json.dumps(body).encode())).finish_reason == expected


USAGES = [
    (None, (None, None, False)),
    ("many", (None, None, True)),
    ({"input_tokens": 3, "output_tokens": 4}, (3, 4, False)),
    ({"input_tokens": "3", "output_tokens": -4}, (3, 0, True)),
    ({"input_tokens": 10**18, "output_tokens": 4}, (10_000_000, 4, True)),
    ({"input_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": -1}, (8, None, True)),
]


@pytest.mark.parametrize(("usage", "expected"), USAGES)
def test_reported_tokens_are_made_safe(usage, expected):
    provider = make("anthropic")
    body = {"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "usage": usage}

    found = provider.reply(a_call(provider), Answer(200, {}, json.dumps(body).encode())).usage

    assert (found.prompt_tokens, found.completion_tokens, found.suspect) == expected


def events(*given, wants_usage=True):
    provider = make("anthropic")
    call = a_call(provider)
    call.wants_usage = wants_usage
    reader = provider.events(call)
    chunks = [chunk for event in given for chunk in reader.feed(Frame("", json.dumps(event).encode()))]
    return [json.loads(chunk) for chunk in [*chunks, *reader.end()]], reader


STARTED = {
    "type": "message_start",
    "message": {"id": "m", "model": NEW, "usage": {"input_tokens": 3, "output_tokens": 1}},
}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
STOPPED = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
ENDED = {"type": "message_stop"}


def test_output_tokens_are_sums_so_far():
    _, reader = events(STARTED, TEXT, STOPPED, {**STOPPED, "usage": {"output_tokens": 11}}, ENDED)

    assert (reader.usage.prompt_tokens, reader.usage.completion_tokens) == (3, 11)


def test_a_stream_ends_once():
    chunks, _ = events(STARTED, TEXT, STOPPED, STOPPED, ENDED, TEXT, ENDED, wants_usage=False)

    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop"]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_pings_and_new_events_are_passed_over():
    assert len(events(STARTED, {"type": "ping"}, {"type": "new_event", "x": 1}, {}, TEXT, STOPPED, ENDED)[0]) == 4


def test_a_stream_without_its_end_was_cut():
    with pytest.raises(errors.BadReply, match="cut off"):
        events(STARTED, TEXT)


def test_arguments_without_a_tool_are_passed_over():
    odd = {"type": "content_block_delta", "index": 7, "delta": {"type": "input_json_delta", "partial_json": "{}"}}

    assert len(events(STARTED, odd, TEXT, STOPPED, ENDED, wants_usage=False)[0]) == 3


ERRORS = [
    (400, "invalid_request_error", "messages: bad", errors.RequestRefused),
    (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", errors.ContextTooLong),
    (401, "authentication_error", "invalid x-api-key", errors.KeyRefused),
    (402, "billing_error", "No credit", errors.QuotaSpent),
    (403, "permission_error", "No", errors.KeyRefused),
    (404, "not_found_error", "model: claude-9", errors.ModelMissing),
    (413, "request_too_large", "Too large", errors.RequestRefused),
    (429, "rate_limit_error", "Slow down", errors.RateLimited),
    (500, "api_error", "Oops", errors.ServerFailed),
    (504, "timeout_error", "Late", errors.TimedOut),
    (529, "overloaded_error", "Overloaded", errors.Overloaded),
]


@pytest.mark.parametrize(("status", "name", "words", "expected"), ERRORS)
def test_its_errors_are_named(status, name, words, expected):
    body = {"type": "error", "error": {"type": name, "message": words}, "request_id": "req_1"}

    error = make("anthropic").problem(Answer(status, {}, json.dumps(body).encode()))

    assert (type(error), error.evidence) == (expected, words)


def test_a_spent_limit_is_not_tried_again():
    error = {"type": "rate_limit_error", "message": "Limit reached", "details": {"error_code": "spend_limit"}}

    assert not make("anthropic").problem(Answer(429, {}, json.dumps({"error": error}).encode())).retryable
