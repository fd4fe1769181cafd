"""SageMaker: endpoints by name, shapes that bridge what the model was added for, checks that cost nothing."""

import json

import pytest
from pydantic import ValidationError

from connections.providers import errors
from connections.providers.calls import Answer, Call, Frame, Mode, Target
from connections.providers.framing import EventStream
from connections.providers.sagemaker import NO_NAME, SageMaker
from connections.providers.sagemaker_options import SageMakerOptions
from connections.providers.sagemaker_shapes import NO_TEMPLATE
from tests.providers.conftest import GOLDEN, make
from tests.upstream.botocore_shapes import complaints, operation
from tests.upstream.eventstream import event, exception

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
TEMPLATE = {"request": {"q": {"$": "prompt"}}, "answer": {"text": "a"}}


def call(mode=Mode.CHAT, endpoint="tgi-1", stream=False, body=HELLO, **options):
    return Call(mode, Target(endpoint, mode, options=options), dict(body), stream=stream)


def answer(content, status=200, **headers):
    return Answer(status, headers, json.dumps(content).encode())


def streamed(provider, asked, data):
    reader, events = EventStream(), provider.events(asked)
    chunks = [chunk for frame in reader.feed(data) for chunk in events.feed(frame)]
    return [json.loads(chunk) for chunk in [*chunks, *events.end()]], events


# --- endpoints -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["a/b", "../x", "a b", "-a", "a-", "a" * 64, "", "a?b", "arn:aws:sagemaker:us-east-1:1:endpoint/x", "ä"],
)
def test_an_endpoint_with_another_name_is_refused(name):
    with pytest.raises(errors.RequestRefused, match="no slash"):
        make("sagemaker").request(call(endpoint=name))
    if name:
        with pytest.raises(ValidationError, match=NO_NAME):
            make("sagemaker", check_endpoint=name)


def test_private_endpoints_have_addresses_of_their_own():
    provider = make("sagemaker", endpoint_url="https://vpce-1.runtime.test/", control_url="https://vpce-2.api.test")

    assert provider.request(call()).url == "https://vpce-1.runtime.test/endpoints/tgi-1/invocations"
    assert provider.check().url == "https://vpce-2.api.test/"


def test_requests_are_signed_for_sagemaker():
    provider = make("sagemaker")
    for outgoing in (provider.request(call()), provider.check()):
        assert "/us-east-1/sagemaker/aws4_request" in provider.auth.sign(outgoing).headers["Authorization"]


# --- shapes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["hf-tgi", "llama", "claude", "jurassic-2", "command", "hf-summarization"])
def test_a_shape_for_texts_answers_chats(shape):
    provider, asked = make("sagemaker"), call(shape=shape)
    body = json.loads(provider.request(asked).body)

    assert "Hello" in str(body.get("inputs") or body.get("prompt"))
    assert "messages sent as one prompt" in map(str, asked.adjusted)


def test_a_chat_of_a_shape_for_texts_is_answered_as_a_chat():
    provider = make("sagemaker")
    reply = provider.reply(call(shape="hf-tgi"), answer([{"generated_text": "Hi"}]))

    assert json.loads(reply.body)["choices"][0]["message"]["content"] == "Hi"
    data = event("PayloadPart", b'data:{"token":{"text":"Hi"},"details":{"finish_reason":"length"}}\n\n')
    chunks, _ = streamed(provider, call(shape="hf-tgi", stream=True), data)
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks if chunk["choices"]] == ["Hi", ""]


@pytest.mark.parametrize(
    ("mode", "shape", "body"),
    [(Mode.CHAT, "hf-embeddings", HELLO), (Mode.COMPLETION, "hf-embeddings", {"prompt": "x"})],
)
def test_a_shape_for_vectors_answers_nothing_else(mode, shape, body):
    with pytest.raises(errors.RequestRefused, match="is for embedding, not for"):
        make("sagemaker").request(call(mode, shape=shape, body=body))


def test_a_shape_that_does_not_stream_says_so():
    provider = make("sagemaker")

    assert not provider.abilities(Target("x", options={"shape": "jurassic-2"})).streams
    assert not provider.abilities(Target("x", options={"shape": "hf-tgi", "streaming": False})).streams
    assert not provider.abilities(Target("x", options={"shape": "own-template", "template": TEMPLATE})).streams
    assert provider.abilities(Target("x", options={"shape": "hf-tgi"})).streams


def test_the_prompt_of_a_nameless_llama_is_that_of_llama_3():
    def prompt(**options):
        return json.loads(make("sagemaker").request(call(endpoint="ep-1", shape="llama", **options)).body)["inputs"]

    assert prompt().startswith("<|start_header_id|>user")
    assert prompt(prompt_format="llama-2") == "[INST] Hello [/INST]"


def test_other_headers_are_the_admins():
    options = {"content_type": "application/jsonlines", "accept": "text/plain"}
    provider = make("sagemaker")

    assert provider.request(call(**options)).headers["Content-Type"] == "application/jsonlines"
    assert provider.request(call(**options)).headers["Accept"] == "text/plain"
    assert provider.request(call(**options, stream=True)).headers["X-Amzn-SageMaker-Accept"] == "text/plain"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": "pickle"}, "Input should be"),
        ({"custom_attributes": "a\r\nX-Evil: 1"}, "one line of plain characters"),
        ({"target_variant": "v" * 64}, "at most 63"),
        ({"template": {**TEMPLATE, "request": {"q": "{{prompt}}"}}}, "Nothing of what is asked"),
        ({"template": {**TEMPLATE, "samples": [{"name": "s", "kind": "answer", "given": {"a": "x"}, "expected": "y"}]}},
         "Sample “s”: Expected"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValidationError, match=words):
        SageMakerOptions.model_validate(options)


def test_a_missing_template_is_told_and_breaks_nothing_else():
    provider = make("sagemaker")

    with pytest.raises(errors.RequestRefused, match=NO_TEMPLATE):
        provider.request(call(shape="own-template"))
    assert provider.request(call(endpoint="other"))
    target = Target("tgi-1", options={"shape": "own-template"})
    assert provider.parameters_for(target).rules == {}
    assert not provider.abilities(target).streams


def test_options_are_read_anew_when_they_change():
    provider = make("sagemaker")

    assert b"messages" in provider.request(call()).body
    assert b"inputs" in provider.request(call(shape="hf-tgi")).body


# --- streams ---------------------------------------------------------------------------------------------

WHOLE = {**TEMPLATE, "stream": {"framing": "whole", "text": "a"}}


def test_a_whole_answer_in_pieces_is_read_at_its_end():
    asked = call(shape="own-template", template=WHOLE, stream=True)
    chunks, events = streamed(
        make("sagemaker"), asked, event("PayloadPart", b'{"a": "H') + event("PayloadPart", b'i"}')
    )

    assert chunks[0]["choices"][0]["delta"] == {"content": "Hi"}
    assert events.finish_reason == "stop"


def test_a_whole_answer_in_pieces_has_a_limit():
    events = make("sagemaker").events(call(shape="own-template", template=WHOLE, stream=True))

    with pytest.raises(errors.BadReply, match="more than 16 MiB"):
        for _ in range(18):
            list(events.feed(Frame("PayloadPart", b" " * 2**20)))


def test_events_that_we_do_not_know_say_nothing():
    known = event("PayloadPart", b'data:{"token":{"text":"Hi"},"details":{"finish_reason":"length"}}\n\n')
    data = event("initial-response", b"data:nonsense\n\n") + known

    assert streamed(make("sagemaker"), call(shape="hf-tgi", stream=True), data)[1].finish_reason == "length"


def test_what_came_before_a_broken_stream_is_told():
    provider = make("sagemaker")
    events = provider.events(call(shape="hf-tgi", stream=True))
    part = event("PayloadPart", b'data:{"token":{"text":"Hi"}}\n\n')
    frames = EventStream().feed(part + exception("ModelStreamError", b'{"ErrorCode":"StreamBroken","Message":"x"}'))

    assert b"Hi" in b"".join(events.feed(frames[0]))
    with pytest.raises(errors.ServerFailed):
        list(events.feed(frames[1]))


# --- checks ----------------------------------------------------------------------------------------------


def test_the_check_lists_or_describes():
    listed, described = make("sagemaker").check(), make("sagemaker", check_endpoint="tgi-1").check()

    assert (listed.method, listed.url) == ("POST", "https://api.sagemaker.us-east-1.amazonaws.com/")
    assert listed.headers["X-Amz-Target"] == "SageMaker.ListEndpoints"
    assert described.headers["X-Amz-Target"] == "SageMaker.DescribeEndpoint"
    assert json.loads(described.body) == {"EndpointName": "tgi-1"}


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("InService", None),
        ("Updating", None),
        ("Creating", "The endpoint tgi-1 is Creating, not InService."),
        ("<img>", "The endpoint tgi-1 is in a state we do not know, not InService."),
    ],
)
def test_an_endpoint_that_does_not_serve_is_not_well(state, sentence):
    problem = make("sagemaker", check_endpoint="tgi-1").check_problem(answer({"EndpointStatus": state}))

    assert (problem.message if problem else None) == sentence


def test_an_endpoint_that_is_not_there_is_named():
    refusal = answer({"__type": "ValidationException", "message": 'Could not find endpoint "x".'}, 400)
    problem = make("sagemaker", check_endpoint="tgi-1").check_problem(refusal)

    assert isinstance(problem, errors.ModelMissing)
    assert problem.message == "There is no endpoint tgi-1 in us-east-1."


def test_keys_that_may_only_invoke_are_good_keys():
    denied = answer({"__type": "AccessDeniedException", "Message": "not authorized"}, 400)

    assert make("sagemaker").check_problem(denied) is None
    unknown = answer({"__type": "UnrecognizedClientException", "message": "invalid"}, 400)
    assert isinstance(make("sagemaker").check_problem(unknown), errors.KeyRefused)


def test_keys_that_may_not_list_offer_what_they_know():
    denied = answer({"__type": "AccessDeniedException", "Message": "not authorized"}, 400)
    with pytest.raises(StopIteration) as done:
        next(make("sagemaker").listing(denied))
    assert done.value.value == []

    steps = make("sagemaker", check_endpoint="tgi-1").listing(answer({"EndpointName": "tgi-1"}))
    next(steps)
    with pytest.raises(StopIteration) as done:
        steps.send(denied)
    assert [model.id for model in done.value.value] == ["tgi-1"]


def test_all_pages_of_endpoints_are_listed():
    provider = make("sagemaker")
    first = answer({"Endpoints": [{"EndpointName": "a"}], "NextToken": "more"})
    steps = provider.listing(first)
    asked = next(steps)

    assert json.loads(asked.body)["NextToken"] == "more"
    with pytest.raises(StopIteration) as done:
        steps.send(answer({"Endpoints": [{"EndpointName": "b"}, {"no": "name"}]}))
    assert [model.id for model in done.value.value] == ["a", "b"]


def test_the_endpoints_are_listed_beside_the_one_to_check():
    steps = make("sagemaker", check_endpoint="tgi-1").listing(answer({"EndpointName": "tgi-1"}))

    assert next(steps).headers["X-Amz-Target"] == "SageMaker.ListEndpoints"
    with pytest.raises(errors.RateLimited):
        steps.send(answer({"__type": "ThrottlingException"}, 400))


def test_every_shape_has_a_golden_request_and_reply():
    named = {json.loads(path.read_text())["target"]["options"].get("shape", "hf-messages")
             for path in (GOLDEN / "sagemaker").glob("*_re*.json")}  # fmt: skip

    assert named == set(SageMaker.ModelOptions.model_fields["shape"].annotation.__args__)


@pytest.mark.proves(kind="sagemaker", mode="chat", by="official schema")
@pytest.mark.parametrize("endpoint", ["", "tgi-1"])
def test_aws_describes_the_checks_as_we_make_them(endpoint):
    outgoing = make("sagemaker", check_endpoint=endpoint).check()
    name = outgoing.headers["X-Amz-Target"].removeprefix("SageMaker.")

    assert complaints("sagemaker", name, json.loads(outgoing.body)) == ""


STREAM_ERRORS = {"ModelStreamError": errors.ServerFailed, "InternalStreamFailure": errors.ServerFailed}


@pytest.mark.proves(kind="sagemaker", mode="chat", by="official schema")
def test_every_event_that_aws_describes_is_understood():
    members = operation("sagemaker-runtime", "InvokeEndpointWithResponseStream").output_shape.members["Body"].members
    events = make("sagemaker").events(call(shape="hf-tgi", stream=True))

    assert set(members) == {"PayloadPart", *STREAM_ERRORS}
    for name, expected in STREAM_ERRORS.items():
        with pytest.raises(expected):
            list(events.feed(Frame(f"exception:{name}", b'{"Message": "x"}')))
