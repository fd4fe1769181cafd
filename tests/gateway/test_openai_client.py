"""`/v1` as applications use it: through the official OpenAI client, with a key, within what it may do."""

import time
from datetime import timedelta

import openai
import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone

from access import audit, keys
from access.models import User
from access.roles import Role, Scope
from connections.models import Connection, Grant, Model
from tests.gateway.contract import chat, check_refusal
from tests.mesh import COMPLETERS, EMBEDDERS, MODELS, make_connection
from tests.upstream.faults import Fault

CHAT = "/v1/chat/completions"
THREE = ["openai", "anthropic", "llamacpp"]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Rome"]}}, "required": ["city"]},
    },
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABAQAAAAA3bvkkAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@pytest.fixture
def mesh(shared_mesh):
    return shared_mesh


@pytest.fixture
def client(mesh, upstream):
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.key, max_retries=0, timeout=30) as made:
        yield made


def model(dialect):
    return f"{dialect}/{MODELS[dialect]}"


def said(text):
    return [{"role": "user", "content": text}]


# --- the happy paths


def test_the_models_one_may_use_are_listed(client):
    listed = {found.id for found in client.models.list()}

    assert {model(dialect) for dialect in THREE} < listed
    assert client.models.retrieve(model("openai")).id == model("openai")


@pytest.mark.parametrize("dialect", THREE)
def test_a_chat_is_answered(client, upstream, dialect):
    messages = [{"role": "system", "content": "Be brief."}, *said("one two"), {"role": "assistant", "content": "three"}]

    answer = client.chat.completions.create(model=model(dialect), messages=[*messages, *said("four five")])

    assert answer.choices[0].message.content == "four five"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (7, 2, 9)
    assert upstream.requests[0].json["model"] == MODELS[dialect]


@pytest.mark.parametrize("dialect", THREE)
def test_a_chat_is_streamed(client, upstream, dialect):
    stream = client.chat.completions.create(
        model=model(dialect), messages=said("one two three"), stream=True, stream_options={"include_usage": True}
    )

    chunks = list(stream)

    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(text for text in texts if text) == "one two three"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens == 3


@pytest.mark.parametrize("dialect", THREE)
def test_a_long_answer_is_cut_at_max_tokens(client, upstream, dialect):
    answer = client.chat.completions.create(model=model(dialect), messages=said("one two three"), max_tokens=2)

    assert (answer.choices[0].message.content.strip(), answer.choices[0].finish_reason) == ("one two", "length")


@pytest.mark.parametrize("dialect", THREE)
@pytest.mark.parametrize("stop", ["three", ["nothing", "three"]])
def test_a_stop_sequence_ends_the_answer(client, upstream, dialect, stop):
    answer = client.chat.completions.create(model=model(dialect), messages=said("one two three four"), stop=stop)

    assert answer.choices[0].message.content.strip() == "one two"


@pytest.mark.parametrize("dialect", THREE)
def test_a_tool_is_called_and_its_result_answered(client, upstream, dialect):
    first = client.chat.completions.create(model=model(dialect), messages=said("Rain?"), tools=[WEATHER])
    [call] = first.choices[0].message.tool_calls
    asked = first.choices[0].message.model_dump(exclude_none=True)
    result = {"role": "tool", "tool_call_id": call.id, "content": "It rains."}

    second = client.chat.completions.create(
        model=model(dialect), messages=[*said("Rain?"), asked, result], tools=[WEATHER]
    )

    assert first.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, call.function.arguments.replace(" ", "")) == ("weather", '{"city":"Rome"}')
    assert second.choices[0].message.content == "It rains."


@pytest.mark.parametrize("dialect", THREE)
def test_a_tool_call_is_streamed(client, upstream, dialect):
    stream = client.chat.completions.create(
        model=model(dialect), messages=said("Rain?"), tools=[WEATHER], tool_choice="required", stream=True
    )

    calls = [call for chunk in stream for choice in chunk.choices for call in choice.delta.tool_calls or []]

    assert calls[0].function.name == "weather"
    arguments = "".join(call.function.arguments or "" for call in calls)
    assert arguments.replace(" ", "") == '{"city":"Rome"}'


@pytest.mark.parametrize("dialect", THREE)
def test_an_answer_follows_a_json_schema(client, upstream, dialect):
    schema = {"type": "object", "properties": {"names": {"type": "array", "items": {"type": "string"}}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "people", "schema": schema}}

    answer = client.chat.completions.create(model=model(dialect), messages=said("who?"), response_format=wanted)

    assert answer.choices[0].message.content.replace(" ", "") == '{"names":["text"]}'


@pytest.mark.parametrize("dialect", THREE)
def test_an_image_may_be_shown(client, upstream, dialect):
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]

    answer = client.chat.completions.create(model=model(dialect), messages=[{"role": "user", "content": content}])

    assert answer.choices[0].message.content == "What is this?"
    assert PIXEL.partition(",")[2] in upstream.requests[0].body.decode()


@pytest.mark.parametrize("dialect", COMPLETERS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_text_is_completed(client, upstream, dialect, stream):
    name = f"{dialect}/{COMPLETERS[dialect]}"

    answer = client.completions.create(model=name, prompt="once upon", stream=stream)

    texts = [chunk.choices[0].text for chunk in answer if chunk.choices] if stream else [answer.choices[0].text]
    assert "".join(texts) == "once upon"


@pytest.mark.parametrize("dialect", EMBEDDERS)
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_texts_are_embedded(client, upstream, dialect, encoding):
    name = f"{dialect}/{EMBEDDERS[dialect]}"

    answer = client.embeddings.create(model=name, input=["a", "b", "a"], encoding_format=encoding)

    first, second, third = (row.embedding for row in answer.data)
    assert first == third != second
    assert answer.usage.prompt_tokens == 3


async def test_the_asynchronous_client_works_too(mesh, upstream):
    async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.key, max_retries=0) as client:
        stream = await client.chat.completions.create(model=model("openai"), messages=said("one two"), stream=True)
        texts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]

    assert "".join(texts) == "one two"


# --- what comes with an answer


def test_each_answer_has_its_own_id_and_row(mesh, upstream):
    answers = [mesh.post(CHAT, chat()) for _ in range(3)]

    rows = [mesh.usage(answer) for answer in answers]
    assert len({row.request_id for row in rows}) == 3
    assert {(row.source, row.mode, row.principal, row.connection) for row in rows} == {
        ("v1", "chat", "caller", "openai")
    }
    assert all(row.key_id == mesh.key[5:15] and row.cost > 0 and row.price_source for row in rows)


def test_an_unknown_price_is_unknown_and_never_nothing(mesh, upstream):
    row = mesh.usage(mesh.post(CHAT, chat("llamacpp")))

    assert row.cost is None


def test_what_was_changed_on_the_way_is_told(mesh, upstream):
    answer = mesh.post(CHAT, chat("anthropic", temperature=1.7, seed=5))
    untouched = mesh.post(CHAT, chat("openai", temperature=1.7, seed=5))

    told = answer.headers["x-mesh-adjusted"]
    assert "seed dropped" in told
    assert "; ".join(mesh.usage(answer).adjusted) == told
    assert "x-mesh-adjusted" not in untouched.headers
    assert upstream.requests[1].json["temperature"] == 1.7


def test_nothing_of_ours_reaches_the_provider(mesh, upstream):
    mesh.post(CHAT, chat(), headers={"x-custom": "private", "cookie": "a=b", "x-api-key": mesh.key})

    [request] = upstream.requests
    assert mesh.key not in repr(request.headers) + request.body.decode()
    assert not {"x-custom", "cookie", "x-forwarded-for", "x-api-key"} & set(request.headers)


def test_a_provider_that_fails_raises_what_the_client_knows(client, upstream):
    ask = client.chat.completions.create
    for fault, error in [
        (Fault.status(429, retry_after="2"), openai.RateLimitError),
        (Fault.status(503), openai.InternalServerError),
        (Fault.echoes_key(), openai.InternalServerError),
        (Fault.status(400), openai.BadRequestError),
    ]:
        upstream.script(fault)
        with pytest.raises(error):
            ask(model=model("openai"), messages=said("one"))


def test_a_stream_that_breaks_raises_in_the_client(client, upstream):
    upstream.script(Fault.ends_early(4, chunks=20))

    with pytest.raises(openai.APIError) as raised:
        list(client.chat.completions.create(model=model("openai"), messages=said("one"), stream=True))

    assert "cut off" in raised.value.message


def test_the_client_retries_what_it_may(mesh, upstream):
    upstream.script(Fault.status(503))
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.key, max_retries=1) as client:
        answer = client.chat.completions.create(model=model("openai"), messages=said("one"))

    assert answer.choices[0].message.content == "one"


def test_the_client_does_not_retry_what_stays_refused(mesh, upstream):
    upstream.always(Fault.status(401))
    with (
        openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.key, max_retries=3) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.chat.completions.create(model=model("openai"), messages=said("one"))

    assert len(upstream.requests) == 1


# --- what one may not do


@pytest.fixture
def closed(mesh, upstream):
    """A connection that is granted to nobody."""
    connection = make_connection(upstream, "openai", {"gpt-4o-mini": "chat", "gpt-5.2": "chat"}, name="closed")
    mesh.refresh()
    yield connection
    connection.delete()


@pytest.fixture
def someone(mesh):
    """`someone(**options)` gives the key of a user without groups; the gateway knows it."""
    user = User.objects.create_user(f"user-{timezone.now().timestamp()}", role=Role.ANALYST)

    def make(scopes=(Scope.GENERATE,), **options):
        key = keys.issue(user, "test", scopes=list(scopes), **options)[1]
        mesh.refresh()
        return key

    make.user = user
    yield make
    user.delete()


def grant(connection, user, mesh, only=None):
    group = Group.objects.create(name=f"group of {user}")
    user.groups.add(group)
    Grant.objects.create(group=group, connection=connection, model=only)
    mesh.refresh()


def test_a_model_that_is_not_granted_is_as_good_as_absent(mesh, upstream, closed):
    foreign = mesh.post(CHAT, chat() | {"model": "closed/gpt-4o-mini"})
    absent = mesh.post(CHAT, chat() | {"model": "nowhere/gpt-4o-mini"})

    check_refusal(foreign, 404, "model_not_found")
    assert {**foreign.error, "request_id": ""} == {**absent.error, "request_id": ""}
    assert "closed/gpt-4o-mini" not in mesh.get("/v1/models").body.decode()
    check_refusal(mesh.get("/v1/models/closed/gpt-4o-mini"), 404, "model_not_found")
    assert upstream.requests == []


def test_a_grant_of_one_model_opens_no_other(mesh, upstream, closed, someone):
    grant(closed, someone.user, mesh, only=Model.objects.get(public_id="closed/gpt-5.2"))
    key = someone()

    assert mesh.post(CHAT, chat() | {"model": "closed/gpt-5.2"}, key=key).status == 200
    check_refusal(mesh.post(CHAT, chat() | {"model": "closed/gpt-4o-mini"}, key=key), 404, "model_not_found")
    assert len(upstream.requests) == 1


def test_a_key_reaches_only_the_models_it_is_limited_to(mesh, upstream, someone):
    key = someone(allowed_models=[model("anthropic")])

    assert mesh.post(CHAT, chat("anthropic"), key=key).status == 200
    check_refusal(mesh.post(CHAT, chat("openai"), key=key), 403, "model_not_allowed", "model")
    assert [row["id"] for row in mesh.get("/v1/models", key=key).json["data"]] == [model("anthropic")]


def test_a_key_opens_nothing_that_its_owner_may_not_use(mesh, upstream, closed, someone):
    key = someone(allowed_models=["closed/gpt-4o-mini"])

    check_refusal(mesh.post(CHAT, chat() | {"model": "closed/gpt-4o-mini"}, key=key), 404, "model_not_found")
    assert mesh.get("/v1/models", key=key).json["data"] == []


@pytest.mark.parametrize("scopes", [[Scope.READ], [Scope.MANAGE], [Scope.READ, Scope.MANAGE]])
def test_a_key_without_the_scope_asks_nothing(mesh, upstream, someone, scopes):
    check_refusal(mesh.post(CHAT, chat(), key=someone(scopes)), 403, "scope_denied")
    assert upstream.requests == []


def test_an_expired_key_is_refused(mesh, upstream, someone):
    key = someone(expires_at=timezone.now() + timedelta(hours=1))
    assert mesh.get("/v1/models", key=key).status == 200
    someone.user.api_keys.update(expires_at=timezone.now() + timedelta(seconds=0.3))
    mesh.refresh()
    time.sleep(0.4)

    answer = mesh.post(CHAT, chat(), key=key)

    assert answer.status == 401
    assert answer.error["code"] == "expired_api_key"
    assert upstream.requests == []


CHANGES = {
    "revoked": lambda user: keys.revoke(user.api_keys.get()),
    "its owner disabled": lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
    "its owner deleted": lambda user: user.api_keys.all().delete(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_key_is_refused_soon_after_it_is(mesh, upstream, someone, name):
    key = someone()
    assert mesh.post(CHAT, chat(), key=key).status == 200
    with transaction.atomic():
        CHANGES[name](someone.user)
        audit.announce()

    assert soon(lambda: mesh.post(CHAT, chat(), key=key), 401)


def test_a_grant_that_is_taken_away_ends_soon(mesh, upstream, closed, someone):
    grant(closed, someone.user, mesh)
    key, body = someone(), chat() | {"model": "closed/gpt-4o-mini"}
    assert mesh.post(CHAT, body, key=key).status == 200
    with transaction.atomic():
        closed.grants.all().delete()
        audit.announce()

    assert soon(lambda: mesh.post(CHAT, body, key=key), 404)


def test_a_paused_connection_is_not_called(mesh, upstream, closed, someone):
    grant(closed, someone.user, mesh)
    key, body = someone(), chat() | {"model": "closed/gpt-4o-mini"}
    with transaction.atomic():
        Connection.objects.filter(pk=closed.pk).update(paused=True)
        audit.announce()

    assert soon(lambda: mesh.post(CHAT, body, key=key), 404)


def soon(ask, status):
    """The gateway looks every two seconds; a busy machine may take longer."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if ask().status == status:
            return True
        time.sleep(0.05)
    return False
