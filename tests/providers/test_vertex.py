"""What is particular to Vertex AI: places, settings, models behind ids, lists, and Google's word on our requests."""

import json

import pytest
from pydantic import ValidationError

from connections.providers import errors
from connections.providers.calls import Answer, Call, InThread, Mode, Target
from connections.providers.gemini_tool_ids import new_id, signature_in
from connections.providers.vertex_places import host_of, place_of
from tests.canary import leaks
from tests.providers.conftest import GOLDEN, golden, make
from tests.upstream.google_identity import ACCOUNT, USER, file_of


def call_to(upstream_id, mode=Mode.CHAT, **body):
    content = {"messages": [{"role": "user", "content": "Hi"}]} if mode is Mode.CHAT else {"prompt": "A fish"}
    return Call(mode, Target(upstream_id, mode), {**content, **body})


# --- places ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "https://aiplatform.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
        ("europe-west4", "https://europe-west4-aiplatform.googleapis.com"),
        ("northamerica-northeast1", "https://northamerica-northeast1-aiplatform.googleapis.com"),
    ],
)
def test_each_location_has_its_host(location, host):
    assert host_of(location) == host
    assert make("vertex", location=location).check().url.startswith(f"{host}/v1/projects/mesh-tests-1234/locations/")


@pytest.mark.parametrize(
    "location",
    [
        "us-east-1.evil.test/",
        "evil.test/",
        "us-central1.evil.test",
        "us-central1@",
        "",
        "US-CENTRAL1",
        "us-central1\n/x",
        "a" * 30,
        "us_central1",
        "../us-central1",
    ],
)
def test_a_location_that_would_change_the_host_is_refused(location):
    """Bad input 119."""
    with pytest.raises(ValidationError, match="A location is written like"):
        make("vertex", location=location)


@pytest.mark.parametrize("project", ["my-project/../x", "a@b", "-project", "MY-PROJECT", "p", "my project", "x" * 31])
def test_a_project_that_is_none_is_refused(project):
    for name in ("project", "quota_project"):
        with pytest.raises(ValidationError, match="A project id has"):
            make("vertex", **{name: project})


@pytest.mark.parametrize("project", ["my-project-1234", "example.com:my-project", "123456789012"])
def test_projects_have_three_sorts_of_names(project):
    assert f"/projects/{project}/" in make("vertex", project=project).check().url


@pytest.mark.parametrize(
    ("upstream_id", "path"),
    [
        ("gemini-3.8-flash", "publishers/google/models/gemini-3.8-flash"),
        ("publishers/google/models/gemini-3.8-flash", "publishers/google/models/gemini-3.8-flash"),
        ("claude-3-5-sonnet@20240620", "publishers/anthropic/models/claude-3-5-sonnet@20240620"),
        ("anthropic/claude-opus-4-8", "publishers/anthropic/models/claude-opus-4-8"),
        ("endpoints/123", "endpoints/123"),
        ("123", "endpoints/123"),
        ("projects/7/locations/us-central1/endpoints/123", "endpoints/123"),
        ("a;b?c#d", "publishers/google/models/a%3Bb%3Fc%23d"),
        ("../../../evil", "publishers/google/models/..%2F..%2F..%2Fevil"),
        ("endpoints/1/../2", "publishers/google/models/endpoints%2F1%2F..%2F2"),
    ],
)
def test_an_upstream_id_says_where_the_model_is(upstream_id, path):
    assert place_of(upstream_id).path == path


# --- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"credentials": ""}, "Paste the credentials"),
        ({"project": ""}, "Name the project"),
        ({"sign_in": "ambient"}, "leave the credentials empty"),
        ({"sign_in": "ambient", "credentials": "", "project": ""}, "Name the project"),
        ({"sign_in_url": ""}, "sign-in URL is empty"),
        ({"credentials": json.dumps({**USER, "token_uri": "https://evil.test"})}, "token_uri is not Google's"),
    ],
)
def test_settings_that_cannot_work_say_what_is_missing(changed, sentence):
    with pytest.raises(ValidationError, match=sentence) as refusal:
        make("vertex", **changed)

    assert not leaks(str(refusal.value).encode(), [USER["client_secret"], USER["refresh_token"]])


def test_the_key_file_names_the_project():
    provider = make("vertex", credentials=file_of(), project="")

    assert "/projects/mesh-tests-1234/" in provider.check().url
    assert not leaks(f"{provider!r} {provider.settings!r} {provider.auth!r}".encode(), [ACCOUNT["private_key"]])


def test_the_identity_of_the_machine_needs_no_credentials():
    provider = make("vertex", credentials="", sign_in="ambient")

    assert provider.secrets() == []
    assert provider.auth.renewal() is not None


# --- checks and lists ------------------------------------------------------------------------------------


def test_a_model_that_the_location_lacks_is_no_fault_of_the_key():
    answer = Answer(404, {}, b'{"error": {"code": 404, "message": "Not found.", "status": "NOT_FOUND"}}')

    problem = make("vertex").check_problem(answer)

    assert isinstance(problem, errors.ModelMissing)
    assert "The location us-central1 has no gemini-3.8-flash" in problem.message


def listed(answers):
    """The models that the list amounts to; `answers` by a part of the path. None: the account may not look."""
    steps = make("vertex").listing(Answer(200, {}, b'{"totalTokens": 1}'))
    asked, step = [], next(steps)
    while True:
        if isinstance(step, InThread):
            result = step.work()
        else:
            asked.append(step.url.partition("/v1")[2])
            name = next(name for name in answers if f"/{name}?" in step.url)
            given = answers[name].pop(0)
            result = Answer(403, {}, b"{}") if given is None else Answer(200, {}, json.dumps(given).encode())
        try:
            step = steps.send(result)
        except StopIteration as done:
            return done.value, asked


PARENT = "projects/mesh-tests-1234/locations/us-central1"
ENDPOINT = {
    "name": f"{PARENT}/endpoints/12",
    "displayName": "Support",
    "deployedModels": [{"model": f"{PARENT}/models/77@1"}],
}


@pytest.mark.proves(kind="vertex", mode="chat", by="official SDK")
def test_googles_library_reads_the_projects_endpoints_and_models():
    names = ("gemini-3.8-flash", "gemini-9-flash-image", "gemini-live-2", "chirp-3", "imagen-9")
    empty = {"name": f"{PARENT}/endpoints/13", "displayName": "Empty"}

    found, asked = listed(
        {
            "endpoints": [{"endpoints": [ENDPOINT], "nextPageToken": "a/b"}, {"endpoints": [empty], "unheardOf": 1}],
            f"{PARENT}/models": [{"models": [{"name": f"{PARENT}/models/77", "displayName": "Tuned"}]}],
            "publishers/google/models": [
                {"publisherModels": [{"name": f"publishers/google/models/{name}"} for name in names]}
            ],
        }
    )

    assert [(info.id, info.mode, info.label) for info in found] == [
        ("endpoints/12", Mode.CHAT, "Support (Tuned)"),
        ("gemini-3.8-flash", Mode.CHAT, "Gemini 3.8 Flash"),
        ("gemini-9-flash-image", Mode.IMAGE, ""),
        ("imagen-9", Mode.IMAGE, ""),
    ]
    assert "pageToken=a%2Fb" in asked[1]


def test_an_account_that_may_not_look_still_gets_the_catalogue():
    found, asked = listed({"endpoints": [None], "publishers/google/models": [None]})

    assert {"gemini-3.8-flash", "gemini-embedding-2"} <= {info.id for info in found}
    assert not [info for info in found if info.lifecycle == "retired"]
    assert len(asked) == 2


@pytest.mark.parametrize(
    "held", [{"endpoints": 7}, {"endpoints": [{"name": 7}]}, {"endpoints": [{"deployedModels": 7}]}]
)
def test_a_list_that_cannot_be_read_is_a_bad_reply(held):
    with pytest.raises(errors.BadReply):
        listed({"endpoints": [held], f"{PARENT}/models": [{}], "publishers/google/models": [{}]})


# --- models ----------------------------------------------------------------------------------------------


def test_prices_are_found_by_the_bare_name():
    target = Target("publishers/google/models/gemini-3.8-flash")

    assert make("vertex").priced_as(target) == "gemini-3.8-flash"
    assert make("vertex").priced_as(Target("endpoints/1", underlying="gemini-2.5-flash")) == "gemini-2.5-flash"


@pytest.mark.parametrize(
    ("upstream_id", "mode", "inputs", "choices", "streams"),
    [
        ("gemini-3.8-flash", Mode.CHAT, None, 8, True),
        ("claude-opus-4-8", Mode.CHAT, None, 1, True),
        ("chat-bison@002", Mode.CHAT, None, 4, False),
        ("text-bison@002", Mode.COMPLETION, None, 1, False),
        ("text-embedding-005", Mode.EMBEDDING, 250, None, False),
        ("publishers/google/models/gemini-embedding-001", Mode.EMBEDDING, 1, None, False),
        ("gemini-embedding-2", Mode.EMBEDDING, 1, None, False),
        ("imagen-3.0-generate-002", Mode.IMAGE, None, 4, False),
        ("gemini-3-pro-image", Mode.IMAGE, None, 1, False),
    ],
)
def test_each_family_can_do_so_much_at_once(upstream_id, mode, inputs, choices, streams):
    can = make("vertex").abilities(Target(upstream_id, mode))

    assert can.streams is streams
    assert inputs in {None, can.inputs}
    assert choices in {None, can.choices}


@pytest.mark.parametrize(
    ("upstream_id", "thinks"),
    [
        ("gemini-3.8-flash", True),
        ("models/gemini-2.5-pro", True),
        ("gemini-flash-latest", True),
        ("endpoints/12", True),
        ("publishers/google/models/gemini-2.0-flash", False),
        ("gemini-1.5-pro", False),
    ],
)
def test_old_models_are_not_offered_an_effort(upstream_id, thinks):
    assert make("vertex").parameters_for(Target(upstream_id)).takes("reasoning_effort") is thinks


def test_a_publisher_with_a_dialect_of_its_own_is_refused_in_clear_words():
    with pytest.raises(errors.RequestRefused, match="Models of mistralai are not called through Vertex AI here"):
        make("vertex").request(call_to("publishers/mistralai/models/mistral-small-2503"))


def test_all_pictures_filtered_is_no_unreadable_answer():
    call = call_to("imagen-3.0-generate-002", Mode.IMAGE)

    with pytest.raises(errors.ContentFiltered):
        make("vertex").reply(call, Answer(200, {}, b"{}"))


def test_a_blocked_answer_of_palm_is_filtered():
    body = {"predictions": [{"candidates": [{"content": ""}], "safetyAttributes": [{"blocked": True}]}]}

    with pytest.raises(errors.ContentFiltered):
        make("vertex").reply(call_to("chat-bison"), Answer(200, {}, json.dumps(body).encode()))


def test_the_newer_version_for_claude_leaves_sampling_out():
    call = call_to("claude-sonnet-4-6", temperature=0.5)

    outgoing = make("vertex", claude_version="2026-10-21", claude_beta="one,two").request(call)

    assert json.loads(outgoing.body)["anthropic_version"] == "2026-10-21"
    assert "temperature" not in json.loads(outgoing.body)
    assert outgoing.headers["anthropic-beta"] == "one,two"
    assert "temperature dropped" in map(str, call.adjusted)


# --- signatures in ids -----------------------------------------------------------------------------------


@pytest.mark.parametrize("signature", ["QQ==", "ab+/cd==", "a" * 4000, "YWJj"])
def test_a_signature_survives_the_way_through_an_id(signature):
    name = new_id("r_1/x", 0, signature)

    assert signature_in(name) == signature
    assert name.replace("_", "").replace("-", "").isalnum()


@pytest.mark.parametrize("name", ["", "call_1", "call_1_signed_", "call_1_signed_ä", "toolu_01"])
def test_ids_of_others_hold_no_signature(name):
    assert signature_in(name) == ""


# --- Google's own word on our requests -------------------------------------------------------------------


OTHERS_DIALECTS = ("claude", "claude_whole", "open")


def schema_cases():
    paths = [path for kind in ("gemini", "vertex") for path in sorted((GOLDEN / kind).glob("*_request*.json"))]
    return [
        pytest.param(path, id=f"{path.parent.name}-{path.stem}")
        for path in paths
        if path.stem.partition(".")[2] not in OTHERS_DIALECTS
    ]


@pytest.mark.proves(kind="vertex", mode="chat", by="official schema")
@pytest.mark.proves(kind="vertex", mode="image", by="official schema")
@pytest.mark.proves(kind="vertex", mode="embedding", by="official schema")
@pytest.mark.proves(kind="vertex", mode="completion", by="official schema")
@pytest.mark.proves(kind="gemini", mode="chat", by="official schema")
@pytest.mark.proves(kind="gemini", mode="image", by="official schema")
@pytest.mark.proves(kind="gemini", mode="embedding", by="official schema")
@pytest.mark.parametrize("path", schema_cases())
def test_our_requests_fit_googles_published_types(path):
    """The bodies that the golden requests fix, read by the protocol's own messages, which refuse unknown fields."""
    from google.cloud import aiplatform_v1
    from google.protobuf import json_format

    told = json.loads(path.read_text())
    operation = told["url"].partition("?")[0].rpartition(":")[2]
    messages = {
        "generateContent": aiplatform_v1.GenerateContentRequest,
        "streamGenerateContent": aiplatform_v1.GenerateContentRequest,
        "predict": aiplatform_v1.PredictRequest,
        "embedContent": aiplatform_v1.EmbedContentRequest,
        "batchEmbedContents": aiplatform_v1.EmbedContentRequest,
    }

    for body in told["body"].get("requests", [told["body"]]):
        read = json_format.ParseDict(body, messages[operation].pb(messages[operation]()))
        assert json_format.MessageToDict(read).keys() == body.keys()


@pytest.mark.proves(kind="vertex", mode="chat", by="official schema")
@pytest.mark.parametrize(
    "name", ["chat_reply.json", "chat_reply.cut.json", "chat_reply.filtered.json", "image_reply.json"]
)
def test_the_answers_that_we_read_are_what_googles_types_say(name):
    """The golden answers hold no field that Google's messages do not know, but for one newer than the library."""
    from google.cloud import aiplatform_v1
    from google.protobuf import json_format

    answer = golden("gemini", name)["answer"]
    answer["usageMetadata"].pop("toolUsePromptTokenCount", None)

    response = aiplatform_v1.GenerateContentResponse
    read = json_format.ParseDict(answer, response.pb(response()))

    assert len(read.candidates) == len(answer["candidates"])
