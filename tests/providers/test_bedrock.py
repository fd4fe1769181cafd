"""What is particular about Bedrock: how models are named, where calls go, what its lists and refusals mean."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from connections.providers.bedrock import USE_A_PROFILE
from connections.providers.bedrock_models import CATALOGUE, known_name, traits_of
from connections.providers.calls import Answer, Call, Frame, Mode, Target
from connections.providers.errors import KeyRefused, RequestRefused
from tests.providers.conftest import a_call, files, make, target_from
from tests.upstream.botocore_shapes import complaints, operation

CLAUDE = "anthropic.claude-3-sonnet-20240229-v1:0"
APPLICATION = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"


def sent_to(name: str, *, options: dict | None = None, mode: Mode = Mode.CHAT, **settings: str) -> str:
    """The address of a call to a model, up to the operation."""
    provider = make("bedrock", **settings)
    body = {"messages": [{"role": "user", "content": "Hello"}]} if mode is Mode.CHAT else {"input": "Hello"}
    call = Call(mode, Target(name, mode, options=options or {}), body)
    return provider.request(call).url.removesuffix("/converse").removesuffix("/invoke")


# --- names and regions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        (CLAUDE, "us.anthropic.claude-3-sonnet-20240229-v1%3A0"),
        ("a-custom.model", "us.a-custom.model"),
        ("us.anthropic.claude-3-sonnet-20240229-v1:0", "us.anthropic.claude-3-sonnet-20240229-v1%3A0"),
        ("eu.anthropic.claude-3-sonnet-20240229-v1:0", "eu.anthropic.claude-3-sonnet-20240229-v1%3A0"),
        ("us-gov.anthropic.claude-v2", "us-gov.anthropic.claude-v2"),
        ("global.amazon.nova-2-lite-v1:0", "global.amazon.nova-2-lite-v1%3A0"),
        (
            APPLICATION,
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc123def456",
        ),
        (
            "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc",
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aprovisioned-model%2Fabc",
        ),
        (
            "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Famazon.nova-lite-v1%3A0",
        ),
    ],
)
def test_the_profile_stands_in_front_of_plain_ids_only(name, sent):
    root = "https://bedrock-runtime.us-east-1.amazonaws.com/model/"

    assert sent_to(name, inference_profile="us") == root + sent


def test_the_profile_holds_for_every_kind_of_model_and_can_be_left_out_for_one():
    embedder = "cohere.embed-english-v3"
    root = "https://bedrock-runtime.us-east-1.amazonaws.com/model/"

    assert sent_to(embedder, mode=Mode.EMBEDDING, inference_profile="eu") == f"{root}eu.{embedder}"
    assert sent_to(CLAUDE, inference_profile="") == root + CLAUDE.replace(":", "%3A")
    without = {"without_profile": True}
    assert sent_to(embedder, mode=Mode.EMBEDDING, inference_profile="eu", options=without) == root + embedder
    assert sent_to(f"sa.{CLAUDE}", inference_profile="sa.") == f"{root}sa.{CLAUDE.replace(':', '%3A')}"


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("arn:aws:bedrock:eu-west-1:123456789012:imported-model/abc", "eu-west-1"),
        ("arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:provisioned-model/abc", "us-gov-west-1"),
        ("arn:aws:sagemaker:eu-central-1:123456789012:endpoint/mine", "eu-central-1"),
        ("arn:aws:bedrock:evil.test/:123456789012:imported-model/abc", "us-east-1"),
        ("arn:aws:bedrock::123456789012:imported-model/abc", "us-east-1"),
        ("arn:aws:s3:eu-west-1:123456789012:bucket/abc", "us-east-1"),
    ],
)
def test_an_arn_tells_the_region(name, region):
    provider = make("bedrock")
    outgoing = provider.request(Call(Mode.CHAT, Target(name), a_call(provider, Mode.CHAT).body))

    assert outgoing.url.startswith(f"https://bedrock-runtime.{region}.amazonaws.com/model/arn%3Aaws")
    assert f"/{region}/bedrock/aws4_request" in provider.auth.sign(outgoing).headers["Authorization"]


def test_private_endpoints_are_used():
    provider = make("bedrock", endpoint_url="https://vpce-1.bedrock.internal", control_url="https://vpce-2.internal/x")

    assert provider.request(a_call(provider)).url.startswith("https://vpce-1.bedrock.internal/model/")
    assert provider.check().url == "https://vpce-2.internal/x/foundation-models"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (Target(CLAUDE), f"us.{CLAUDE}"),
        (Target(f"eu.{CLAUDE}"), f"eu.{CLAUDE}"),
        (Target(f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/global.{CLAUDE}"), f"global.{CLAUDE}"),
        (Target(f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}"), CLAUDE),
        (Target(APPLICATION, underlying=CLAUDE), CLAUDE),
        (Target(APPLICATION), ""),
    ],
)
def test_the_price_is_that_of_the_model_behind(target, name):
    assert make("bedrock", inference_profile="us").priced_as(target) == name


def test_prices_of_bedrock_are_known():
    from connections import prices

    provider = make("bedrock", inference_profile="us")
    name = provider.priced_as(Target("anthropic.claude-sonnet-5-5"))

    assert prices.shown(name, "aws") is not None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"inference_profile": "arn:aws:bedrock:us-east-1:1:application-inference-profile/x"},
            "in front of the models",
        ),
        ({"inference_profile": "us/../x"}, "in front of the models"),
        ({"guardrail": "https://evil.test"}, "guardrail's id"),
        ({"guardrail_version": "latest"}, "pattern"),
        ({"api_key": "bedrock-api-key-x"}, "not both"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        make("bedrock", **settings)


def test_a_bedrock_key_takes_the_place_of_a_signature():
    provider = make("bedrock", access_key_id="", secret_access_key="", api_key="bedrock-api-key-canary")

    signed = provider.auth.sign(provider.request(a_call(provider)))

    assert signed.headers["Authorization"] == "Bearer bedrock-api-key-canary"
    assert "X-Amz-Date" not in signed.headers


# --- which API -------------------------------------------------------------------------------------------


ASKED = {
    Mode.CHAT: {"messages": [{"role": "user", "content": "Hi"}]},
    Mode.COMPLETION: {"prompt": "Hi"},
    Mode.EMBEDDING: {"input": "Hi"},
    Mode.IMAGE: {"prompt": "Hi"},
}


@pytest.mark.parametrize("info", CATALOGUE, ids=lambda info: info.id)
def test_every_model_of_the_catalogue_can_be_asked(info):
    provider, target = make("bedrock"), Target(info.id, info.mode)

    outgoing = provider.request(Call(info.mode, target, ASKED[info.mode]))

    assert outgoing.url.endswith("/converse" if info.mode is Mode.CHAT else "/invoke")
    assert info.mode is not Mode.CHAT or not provider.abilities(target).image_urls
    assert info.lifecycle or not info.ends


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Target("imported.model", Mode.EMBEDDING), "Set its family"),
        (Target("amazon.nova-lite-v1:0", options={"api": "invoke"}), "Set its family"),
        (Target("meta.llama3-8b-instruct-v1:0", options={"api": "invoke"}), "for completion"),
        (Target("meta.llama3-8b-instruct-v1:0", Mode.IMAGE), "for completion"),
    ],
)
def test_a_model_whose_json_is_not_known_is_refused_with_advice(target, words):
    with pytest.raises(RequestRefused, match=words):
        make("bedrock").request(Call(target.mode, target, {"messages": [], "input": "x", "prompt": "x"}))


def test_an_admin_says_whose_family_an_opaque_arn_is_of():
    provider = make("bedrock")
    target = Target(APPLICATION, options={"family": "mistral"})
    call = Call(Mode.CHAT, target, {"messages": [{"role": "system", "content": "A"}, {"role": "user", "content": "B"}]})

    body = json.loads(provider.request(call).body)

    assert "system" not in body
    assert known_name(target) == ""
    assert traits_of(target).top_k == "top_k"


def test_old_chat_models_that_do_not_stream_are_answered_whole():
    assert not make("bedrock").abilities(Target("ai21.j2-ultra-v1")).streams
    assert make("bedrock").abilities(Target(CLAUDE)).streams


def test_an_unused_choice_of_no_tool_sends_no_tools():
    tools = [{"type": "function", "function": {"name": "now"}}]
    provider = make("bedrock")
    call = a_call(provider, Mode.CHAT, tools=tools, tool_choice="none")

    assert "toolConfig" not in json.loads(provider.request(call).body)
    assert "tool_choice sent as no tools" in map(str, call.adjusted)


def test_a_choice_of_no_tool_cannot_be_told_once_tools_were_used():
    used = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [used]},
        {"role": "tool", "tool_call_id": "c1", "content": "Noon"},
    ]
    tools = [{"type": "function", "function": {"name": "now"}}]
    call = Call(Mode.CHAT, Target(CLAUDE), {"messages": messages, "tools": tools, "tool_choice": "none"})

    body = json.loads(make("bedrock").request(call).body)

    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["now"]
    assert "toolChoice" not in body["toolConfig"]
    assert "tool_choice dropped: the conversation uses tools, so they must be named" in map(str, call.adjusted)


@pytest.mark.parametrize(
    ("name", "effort", "sent", "adjusted"),
    [
        (
            "anthropic.claude-opus-4-5-20251101-v1:0",
            "high",
            {"outputConfig": {"effort": "high"}},
            "sent as effort high",
        ),
        (
            "global.anthropic.claude-opus-5-5",
            "minimal",
            {"outputConfig": {"effort": "low"}, "additionalModelRequestFields": {"thinking": {"type": "adaptive"}}},
            "sent as effort low",
        ),
        (
            "global.anthropic.claude-opus-5-5",
            "none",
            {"additionalModelRequestFields": {"thinking": {"type": "disabled"}}},
            "sent as no thinking",
        ),
        (CLAUDE, "high", {}, "dropped"),
        ("amazon.nova-lite-v1:0", "high", {}, "dropped"),
        (
            "amazon.nova-2-lite-v1:0",
            "none",
            {"additionalModelRequestFields": {"reasoningConfig": {"type": "disabled"}}},
            "sent as reasoningConfig disabled",
        ),
        ("openai.gpt-oss-120b-1:0", "low", {"additionalModelRequestFields": {"reasoning_effort": "low"}}, ""),
    ],
)
def test_each_family_is_told_to_reason_in_its_own_way(name, effort, sent, adjusted):
    asked = {"messages": [{"role": "user", "content": "Hi"}], "reasoning_effort": effort}
    call = Call(Mode.CHAT, Target(name), asked)

    body = json.loads(make("bedrock", guardrail="").request(call).body)

    assert body == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], **sent}
    assert list(map(str, call.adjusted)) == ([f"reasoning_effort {adjusted}"] if adjusted else [])


def test_thinking_needs_room_in_the_answer():
    asked = {"messages": [{"role": "user", "content": "Hi"}], "reasoning_effort": "high", "max_tokens": 1500}
    call = Call(Mode.CHAT, Target("anthropic.claude-sonnet-4-20250514-v1:0"), asked)

    body = json.loads(make("bedrock").request(call).body)

    assert "additionalModelRequestFields" not in body
    assert "reasoning_effort dropped, as max_tokens leaves no room" in map(str, call.adjusted)


def test_the_newest_claude_gets_no_sampling_parameters():
    table = make("bedrock").parameters_for(Target("us.anthropic.claude-opus-5-5"))

    assert not any(table.takes(name) for name in ("temperature", "top_p", "top_k"))
    assert make("bedrock").parameters_for(Target(CLAUDE)).takes("temperature")


def test_a_model_that_speaks_first_is_given_a_turn_to_answer():
    messages = [{"role": "assistant", "content": "Welcome!"}, {"role": "user", "content": "Hi"}]
    call = Call(Mode.CHAT, Target(CLAUDE), {"messages": messages})

    body = json.loads(make("bedrock").request(call).body)

    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert "messages changed: a turn of the user put in front" in map(str, call.adjusted)


@pytest.mark.parametrize(("tier", "sent"), [("priority", {"type": "priority"}), ("auto", None)])
def test_a_tier_that_bedrock_does_not_have_is_left_out(tier, sent):
    call = a_call(make("bedrock"), Mode.CHAT, service_tier=tier)

    assert json.loads(make("bedrock").request(call).body).get("serviceTier") == sent
    assert ("service_tier dropped" in map(str, call.adjusted)) == (sent is None)


def test_a_second_end_of_a_message_says_nothing():
    events = make("bedrock").events(Call(Mode.CHAT, Target(CLAUDE), {}, stream=True))
    stop = Frame("messageStop", b'{"stopReason":"max_tokens"}')

    assert len(events.feed(stop)) == 1
    assert list(events.feed(Frame("messageStop", b'{"stopReason":"end_turn"}'))) == []
    assert events.finish_reason == "length"


def test_an_image_that_bedrock_cannot_take_is_refused():
    provider = make("bedrock")
    for url, words in (("https://x.test/a.png", "data: URL"), ("data:image/tiff;base64,AAAA", "PNG, JPEG")):
        content = [{"type": "image_url", "image_url": {"url": url}}]
        with pytest.raises(RequestRefused, match=words):
            provider.request(Call(Mode.CHAT, Target(CLAUDE), {"messages": [{"role": "user", "content": content}]}))


# --- another's word --------------------------------------------------------------------------------------


@pytest.mark.proves(kind="bedrock", mode="chat", by="official schema")
@pytest.mark.parametrize("path", files("bedrock", "chat_request*.json"), ids=lambda path: path.stem)
def test_aws_own_description_takes_our_requests(path):
    expected = json.loads(path.read_text())
    target, provider = target_from(expected["target"], Mode.CHAT), make("bedrock")
    outgoing = provider.request(Call(Mode.CHAT, target, expected["call"], stream=expected.get("stream", False)))
    name = {
        "converse": "Converse",
        "converse-stream": "ConverseStream",
        "invoke-with-response-stream": "InvokeModelWithResponseStream",
    }[outgoing.url.rpartition("/")[2]]
    body = json.loads(outgoing.body) if name.startswith("Converse") else {"body": outgoing.body}

    assert complaints("bedrock-runtime", name, body, modelId=target.upstream_id) == ""
    assert operation("bedrock-runtime", name).http["requestUri"].endswith(outgoing.url.rpartition("/")[2])


TEXT = st.text(min_size=0, max_size=5)
TURN = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer", "user", "assistant"]), "content": TEXT}),
    st.fixed_dictionaries(
        {"role": st.just("user"), "content": st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}))}
    ),
    st.fixed_dictionaries(
        {
            "role": st.just("assistant"),
            "content": st.none() | TEXT,
            "tool_calls": st.lists(
                st.fixed_dictionaries(
                    {"id": TEXT, "function": st.just({"name": "now", "arguments": '{"a": [1.5, null]}'})}
                ),
                min_size=1,
                max_size=2,
            ),
        }
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": TEXT, "content": TEXT}),
)


@pytest.mark.proves(kind="bedrock", mode="chat", by="official schema")
@settings(max_examples=60, deadline=None)
@given(messages=st.lists(TURN, max_size=6), name=st.sampled_from([CLAUDE, "mistral.mistral-7b-instruct-v0:2"]))
def test_whatever_the_conversation_aws_own_description_takes_it(messages, name):
    last = {"role": "user", "content": "Go on."}
    call = Call(Mode.CHAT, Target(name), {"messages": [*messages, last]})

    body = json.loads(make("bedrock").request(call).body)

    roles = [turn["role"] for turn in body["messages"]]
    assert complaints("bedrock-runtime", "Converse", body, modelId=name) == ""
    assert roles == ["user" if place % 2 == 0 else "assistant" for place in range(len(roles))]
    blocks = [block for turn in body["messages"] for block in turn["content"]] + body.get("system", [])
    assert all(block.get("text", "-").strip() for block in blocks)


@pytest.mark.proves(kind="bedrock", mode="chat", by="official schema")
def test_all_events_and_exceptions_that_aws_describes_are_known():
    from connections.providers.aws_problems import STATUSES
    from connections.providers.bedrock_replies import FAILURES, FINISH_REASONS

    stream = operation("bedrock-runtime", "ConverseStream").output_shape.members["stream"].members
    exceptions = {name[:1].upper() + name[1:] for name, shape in stream.items() if shape.metadata.get("exception")}
    reasons = operation("bedrock-runtime", "Converse").output_shape.members["stopReason"].enum

    assert exceptions <= STATUSES.keys()
    assert set(stream) - {name for name in stream if name[:1].upper() + name[1:] in exceptions} == {
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    }
    assert set(reasons) == FINISH_REASONS.keys() | FAILURES


# --- lists and refusals ----------------------------------------------------------------------------------

DENIED = Answer(403, {"x-amzn-errortype": "AccessDeniedException"}, b'{"message":"Not authorized."}')


def test_keys_that_may_not_list_models_are_still_good():
    provider = make("bedrock")

    assert provider.check_problem(DENIED) is None
    assert provider.models(DENIED) == []
    with pytest.raises(StopIteration) as done:
        provider.listing(DENIED).send(None)
    assert done.value.value == []
    unknown = Answer(403, {"x-amzn-errortype": "UnrecognizedClientException"}, b"{}")
    assert isinstance(provider.check_problem(unknown), KeyRefused)


def test_profiles_are_listed_page_by_page_with_what_is_behind_them():
    provider = make("bedrock")
    first = Answer(200, {}, json.dumps({"modelSummaries": []}).encode())
    behind = [{"modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}"}]
    pages = [
        {
            "inferenceProfileSummaries": [
                {"inferenceProfileId": "us.old", "type": "SYSTEM_DEFINED", "status": "DELETED", "models": behind},
                {"inferenceProfileId": f"us.{CLAUDE}", "inferenceProfileName": "US Claude", "type": "SYSTEM_DEFINED"}
                | {"status": "ACTIVE", "models": behind},
            ],
            "nextToken": "more+/",
        },
        {
            "inferenceProfileSummaries": [
                {"inferenceProfileArn": APPLICATION, "inferenceProfileName": "Ours", "type": "APPLICATION"}
                | {"status": "ACTIVE", "models": behind}
            ]
        },
    ]
    steps = provider.listing(first)

    asked = [steps.send(None)]
    asked.append(steps.send(Answer(200, {}, json.dumps(pages[0]).encode())))
    with pytest.raises(StopIteration) as done:
        steps.send(Answer(200, {}, json.dumps(pages[1]).encode()))

    assert [one.url.partition("?")[2] for one in asked] == ["maxResults=1000", "maxResults=1000&nextToken=more%2B%2F"]
    system, own = done.value.value
    assert (system.id, system.label, system.family) == (f"us.{CLAUDE}", "US Claude", "claude-messages")
    assert (own.id, own.label, own.family) == (APPLICATION, "Ours", "claude-messages")
    assert (system.underlying, own.underlying) == ("", CLAUDE)


def test_forbidden_profiles_do_not_hide_the_models():
    provider = make("bedrock")
    listed = json.loads(files("bedrock", "models.json")[0].read_text())
    steps = provider.listing(Answer(200, {}, json.dumps(listed["answer"]).encode()))
    steps.send(None)

    with pytest.raises(StopIteration) as done:
        steps.send(DENIED)

    assert len(done.value.value) == len(listed["models"])


def test_with_a_profile_the_models_that_need_one_are_listed_too():
    listed = json.loads(files("bedrock", "models.json")[0].read_text())
    answer = Answer(200, {}, json.dumps(listed["answer"]).encode())

    names = {info.id for info in make("bedrock", inference_profile="us").models(answer)}

    assert "anthropic.claude-sonnet-5-5" in names
    assert "anthropic.claude-sonnet-5-5" not in {info.id for info in make("bedrock").models(answer)}


def test_only_plain_ids_are_gone_when_the_list_lacks_them():
    provider = make("bedrock")

    assert [provider.lists(name) for name in (CLAUDE, f"us.{CLAUDE}", APPLICATION)] == [True, False, False]


@pytest.mark.parametrize("name", [CLAUDE, f"apac.{CLAUDE}", f"arn:aws:bedrock:us-east-1::foundation-model/{CLAUDE}"])
def test_the_catalogue_knows_a_model_under_each_of_its_names(name):
    assert make("bedrock").known(name, Mode.CHAT).label == "Claude 3 Sonnet"
    assert make("bedrock").known(APPLICATION, Mode.CHAT) is None


def test_callers_of_claude_may_tell_it_how_to_think():
    call = a_call(make("bedrock"), Mode.CHAT, thinking={"type": "adaptive"})

    body = json.loads(make("bedrock").request(call).body)

    assert body["additionalModelRequestFields"]["thinking"] == {"type": "adaptive"}


def test_a_model_without_on_demand_use_is_explained():
    told = "Invocation of model ID x with on-demand throughput isn’t supported."
    error = make("bedrock").problem(Answer(400, {}, json.dumps({"message": told}).encode()))

    assert isinstance(error, RequestRefused)
    assert error.message == str(error) == USE_A_PROFILE
