"""AWS's own client beside our adapter: it asks the same upstream, which judges both, and reads the same streams."""

import base64
import json

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from connections.providers.aws_keys import sts
from connections.providers.calls import Answer, Call, Mode, Target
from connections.providers.framing import reader
from tests.providers.conftest import files, make
from tests.upstream import sigv4
from tests.upstream.bedrock import LLAMA, NOVA, PROFILE, lent_secret
from tests.upstream.faults import Fault

MESSAGES = [{"role": "user", "content": "one two three"}]
CONVERSE = {"messages": [{"role": "user", "content": [{"text": "one two three"}]}]}
ROLE = "arn:aws:iam::123456789012:role/mesh"


@pytest.fixture
def root(upstream):
    return f"http://127.0.0.1:{upstream.port}/bedrock"


@pytest.fixture
def official(root):
    """`official("bedrock-runtime")`: AWS's client for a service."""

    def make_client(service: str, path: str = ""):
        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url=root + path,
            aws_access_key_id=sigv4.KEY_ID,
            aws_secret_access_key=sigv4.SECRET,
            config=Config(retries={"max_attempts": 0}),
        )

    return make_client


@pytest.fixture
def provider(root):
    return make("bedrock", guardrail="", endpoint_url=root, control_url=root, sts_url=f"{root}/sts")


def asked_alike(theirs, ours, root) -> None:
    assert (theirs.method, theirs.path) == (ours.method, ours.url.removeprefix(root.removesuffix("/bedrock")))
    assert theirs.headers.get("content-type") == ours.headers.get("Content-Type")


@pytest.mark.proves(kind="bedrock", mode="chat", by="official SDK")
@pytest.mark.parametrize("name", [NOVA, PROFILE])
def test_it_asks_for_a_chat_as_we_do(upstream, official, provider, root, name):
    told = official("bedrock-runtime").converse(modelId=name, inferenceConfig={"maxTokens": 2}, **CONVERSE)

    ours = provider.request(Call(Mode.CHAT, Target(name), {"messages": MESSAGES, "max_tokens": 2}))
    asked_alike(upstream.requests[0], ours, root)
    assert upstream.requests[0].json == json.loads(ours.body)
    assert told["output"]["message"]["content"] == [{"text": "one two "}]


@pytest.mark.proves(kind="bedrock", mode="chat", by="official SDK")
@pytest.mark.parametrize("path", files("bedrock", "chat_request*.json"), ids=lambda path: path.stem)
def test_it_writes_each_golden_request_as_we_do(upstream, official, path):
    expected = json.loads(path.read_text())
    if "invoke" in expected["url"]:
        return  # its body is bytes to the client
    operation = "converse_stream" if expected.get("stream") else "converse"
    body = json.loads(path.read_text(), object_hook=_with_raw_bytes)["body"]
    upstream.always(Fault.status(400))

    with pytest.raises(ClientError):
        getattr(official("bedrock-runtime"), operation)(modelId=expected["target"]["upstream_id"], **body)

    assert upstream.requests[0].json == expected["body"]
    assert upstream.requests[0].path.removeprefix("/bedrock/model/") in expected["url"]


def _with_raw_bytes(found):
    return {name: base64.b64decode(value) if name == "bytes" else value for name, value in found.items()}


@pytest.mark.proves(kind="bedrock", mode="chat", by="official SDK")
def test_it_reads_the_stream_that_we_read(upstream, official, provider, root):
    told = official("bedrock-runtime").converse_stream(modelId=NOVA, **CONVERSE)["stream"]
    theirs = "".join(event["contentBlockDelta"]["delta"]["text"] for event in told if "contentBlockDelta" in event)

    call = Call(Mode.CHAT, Target(NOVA), {"messages": MESSAGES}, stream=True)
    asked_alike(upstream.requests[0], provider.request(call), root)
    assert theirs == "one two three"


@pytest.mark.proves(kind="bedrock", mode="completion", by="official SDK")
def test_it_invokes_as_we_do_and_reads_the_same_chunks(upstream, official, provider, root):
    call = Call(Mode.COMPLETION, Target(LLAMA, Mode.COMPLETION), {"prompt": "one two"}, stream=True)
    ours = provider.request(call)
    runtime = official("bedrock-runtime")

    told = runtime.invoke_model_with_response_stream(
        modelId=LLAMA, body=ours.body, accept="application/json", contentType="application/json"
    )
    chunks = [json.loads(event["chunk"]["bytes"]) for event in told["body"]]

    asked_alike(upstream.requests[0], ours, root)
    assert upstream.requests[0].body == ours.body
    assert upstream.requests[0].headers["x-amzn-bedrock-accept"] == ours.headers["X-Amzn-Bedrock-Accept"]
    assert "".join(chunk["generation"] for chunk in chunks) == "one two"


@pytest.mark.proves(kind="bedrock", mode="chat", by="official SDK")
def test_it_lists_as_we_do(upstream, official, provider, root):
    control = official("bedrock")
    models = control.list_foundation_models()["modelSummaries"]
    control.list_inference_profiles(maxResults=1000)

    steps = provider.listing(Answer(200, {}, json.dumps({"modelSummaries": models}).encode()))
    asked_alike(upstream.requests[0], provider.check(), root)
    asked_alike(upstream.requests[1], steps.send(None), root)


def test_it_assumes_a_role_as_we_do(upstream, official, provider, root):
    told = official("sts", "/sts").assume_role(RoleArn=ROLE, RoleSessionName="llm-mesh", DurationSeconds=900)

    asked = sts(f"{root}/sts/", "AssumeRole", {"RoleArn": ROLE, "RoleSessionName": "llm-mesh", "DurationSeconds": 900})
    theirs = upstream.requests[0]
    assert theirs.headers["content-type"].startswith(asked.headers["Content-Type"])
    assert sorted(theirs.body.split(b"&")) == sorted(asked.body.split(b"&"))
    assert told["Credentials"]["SecretAccessKey"] == lent_secret(told["Credentials"]["AccessKeyId"])


def test_our_reader_finds_in_a_stream_what_it_finds(upstream, official, provider):
    """The bytes of a recorded stream, through botocore's own parser and through ours."""
    from botocore.eventstream import EventStreamBuffer

    recorded = files("bedrock", "chat_stream.bin")[0].read_bytes()
    judge = EventStreamBuffer()
    judge.add_data(recorded)
    frames = reader(provider.framing).feed(recorded)

    assert [(frame.event, frame.data) for frame in frames] == [
        (one.headers[":event-type"], one.payload) for one in judge
    ]
