"""`/api/` for connections, models, grants, providers and health."""

import json

import pytest

from access.models import AuditEvent
from connections.models import Connection, Grant, HealthCheck, Model, State
from connections.providers import registry
from connections.services import ModelChoice
from tests.connections.accounts import BAD_NAMES, BAD_URLS, CANARY, STRANGE_NAMES, URL, connect

CONNECTIONS, MODELS, GRANTS, PRICES = "/api/connections/", "/api/models/", "/api/grants/", "/api/prices/"


@pytest.fixture
def call(client, key_for):
    """`call(user, method, path, body)` gives the answer's status and JSON."""

    def send(user, method, path, body=None, scopes=None):
        response = client.generic(
            method,
            path,
            "" if body is None else json.dumps(body),
            content_type="application/json",
            headers={"authorization": f"Bearer {key_for(user, scopes)}"},
        )
        assert CANARY not in response.content.decode()
        return response.status_code, json.loads(response.content) if response.content else None

    return send


def body(**changes):
    return {"name": "Main", "kind": "openai", "settings": {"base_url": URL}, "secrets": {"api_key": CANARY}, **changes}


def test_a_connection_is_made_and_its_secret_never_shown(call, ada):
    status, made = call(ada, "POST", CONNECTIONS, body())

    assert status == 201
    assert made["secrets_stored"] == ["api_key"]
    assert (made["slug"], made["state"], made["revision"]) == ("main", "unknown", 1)
    assert Connection.objects.get().credential()["api_key"] == CANARY
    assert call(ada, "GET", f"{CONNECTIONS}{made['id']}/")[1]["settings"]["base_url"] == URL


@pytest.mark.parametrize("url", BAD_URLS)
def test_an_address_we_would_not_call_is_refused(call, ada, url):
    status, answer = call(ada, "POST", CONNECTIONS, body(settings={"base_url": url}))

    assert (status, answer["error"]["param"]) == (400, "settings.base_url")
    assert not Connection.objects.exists()


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused(call, ada, name):
    status, answer = call(ada, "POST", CONNECTIONS, body(name=name))

    assert status == 400
    assert "\0" in name or answer["error"]["param"] == "name"


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_a_strange_name_is_only_text(call, ada, name):
    assert call(ada, "POST", CONNECTIONS, body(name=name))[1]["name"] == name


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"owner": 1}, "owner"),
        ({"state": "healthy"}, "state"),
        ({"sealed": "x"}, "sealed"),
        ({"kind": "nobody"}, "kind"),
        ({"settings": {"nonsense": 1}}, "settings.nonsense"),
        ({"settings": {"api_key": "x"}}, "secrets.api_key"),
        ({"settings": []}, "settings"),
        ({"secrets": {"nonsense": "x"}}, "settings.nonsense"),
        ({"secrets": {}}, "secrets.api_key"),
        ({"secrets": {"api_key": "two\nlines"}}, "secrets.api_key"),
        ({"secrets": {"api_key": 7}}, "secrets.api_key"),
        ({"secrets": {"api_key": ["x"]}}, "secrets.api_key"),
        ({"check_every": 0}, "check_every"),
        ({"check_every": True}, "check_every"),
        ({"ca_certificate": "nonsense"}, "ca_certificate"),
    ],
)
def test_what_is_unknown_or_wrong_is_refused_by_name(call, ada, changes, param):
    status, answer = call(ada, "POST", CONNECTIONS, body(**changes))

    assert (status, answer["error"]["param"]) == (400, param)


def test_a_change_is_based_on_a_revision(call, ada):
    path = f"{CONNECTIONS}{connect(ada).pk}/"

    assert call(ada, "PATCH", path, {"name": "New"})[1]["error"]["param"] == "revision"
    status, changed = call(ada, "PATCH", path, {"name": "New", "revision": 1})
    assert (status, changed["name"], changed["revision"]) == (200, "New", 2)
    status, answer = call(ada, "PATCH", path, {"name": "Newer", "revision": 1})
    assert (status, answer["error"]["type"]) == (409, "conflict_error")
    assert Connection.objects.get().name == "New"


def test_a_blank_secret_keeps_and_a_changed_address_demands_it(call, ada):
    path = f"{CONNECTIONS}{connect(ada).pk}/"
    moved = {"revision": 1, "settings": {"base_url": "https://evil.example.com/v1"}}

    status, answer = call(ada, "PATCH", path, moved)
    assert (status, answer["error"]["param"]) == (400, "secrets.api_key")
    status, _ = call(ada, "PATCH", path, {**moved, "secrets": {"api_key": ""}})
    assert status == 400
    assert call(ada, "PATCH", path, {**moved, "secrets": {"api_key": "sk-new"}})[0] == 200


def test_secrets_are_rotated_alone(call, ada):
    path = f"{CONNECTIONS}{connect(ada).pk}/rotate/"

    assert call(ada, "POST", path, {"revision": 1, "secrets": {}})[0] == 400
    assert call(ada, "POST", path, {"revision": 1, "name": "x", "secrets": {"api_key": "sk"}})[0] == 400
    assert call(ada, "POST", path, {"revision": 1, "secrets": {"api_key": "sk-new"}})[0] == 200

    assert Connection.objects.get().credential()["api_key"] == "sk-new"
    assert AuditEvent.objects.get(action="connection.changed").after == {"secrets_changed": ["api_key"]}


def test_pausing_and_deleting(call, olga, ada):
    path = f"{CONNECTIONS}{connect(ada).pk}/"

    assert call(olga, "POST", f"{path}pause/")[1]["state"] == "paused"
    assert call(olga, "POST", f"{path}resume/")[1]["paused"] is False
    assert call(olga, "DELETE", path)[0] == 403
    assert call(ada, "DELETE", path)[0] == 204
    assert call(ada, "GET", path)[0] == 404


@pytest.mark.parametrize("path", [CONNECTIONS, GRANTS, "/api/health/", "/api/providers/"])
def test_analysts_see_no_connections(call, alice, path):
    assert call(alice, "GET", path)[0] == 403


def test_only_testers_read_the_providers_words(call, ada, oscar):
    connection = connect(ada)
    Connection.objects.update(evidence="invalid_api_key")
    HealthCheck.objects.create(
        connection=connection, state=State.FAILING, total_ms=3, stages=[{"name": "Sign-in", "detail": "words"}]
    )
    path = f"{CONNECTIONS}{connection.pk}/"

    assert call(ada, "GET", path)[1]["evidence"] == "invalid_api_key"
    assert call(oscar, "GET", path)[1]["evidence"] == ""
    assert call(ada, "GET", f"{path}checks/")[1]["results"][0]["stages"][0]["detail"] == "words"
    assert call(oscar, "GET", f"{path}checks/")[1]["results"][0]["stages"][0]["detail"] == ""


def test_lists_filter_by_fixed_fields_only(call, ada):
    connect(ada, "First")
    connect(ada, "Second", paused=True)

    def names(query):
        return [row["name"] for row in call(ada, "GET", f"{CONNECTIONS}?{query}")[1]["results"]]

    assert names("paused=true") == ["Second"]
    assert names("name=fir") == ["First"]
    assert names("name=%25") == []
    assert len(names("sealed__startswith=x&slug=first")) == 2


@pytest.mark.parametrize("query", ["page_size=-1", "page_size=1000000000", "cursor=nonsense", "state=nonsense"])
def test_a_strange_page_is_no_crash(call, ada, query):
    connect(ada)

    assert call(ada, "GET", f"{CONNECTIONS}?{query}")[0] in (200, 400, 404)


def test_models_are_added_changed_and_removed(call, ada):
    connection = connect(ada)

    status, model = call(ada, "POST", MODELS, {"connection": str(connection.pk), "upstream_id": "gpt-4o"})
    assert (status, model["public_id"], model["mode"]) == (201, "main/gpt-4o", "chat")
    again = call(ada, "POST", MODELS, {"connection": str(connection.pk), "upstream_id": "gpt-4o"})
    assert (again[0], again[1]["error"]["param"]) == (400, "upstream_id")
    path = f"{MODELS}{model['id']}/"
    assert call(ada, "PATCH", path, {"enabled": False})[1]["enabled"] is False
    assert call(ada, "PATCH", path, {"upstream_id": "x"})[1]["error"]["param"] == "upstream_id"
    assert call(ada, "PATCH", path, {"price": {"input": "1"}})[1]["error"]["param"] == "price"
    assert call(ada, "DELETE", path)[0] == 204


@pytest.mark.parametrize("upstream_id", ["", "  ", "x" * 301, "line\nbreak", "zero\u200bwidth"])
def test_a_bad_model_id_is_refused(call, ada, upstream_id):
    answer = call(ada, "POST", MODELS, {"connection": str(connect(ada).pk), "upstream_id": upstream_id})

    assert (answer[0], answer[1]["error"]["param"]) == (400, "upstream_id")


def test_an_analyst_lists_the_models_granted_to_them(call, ada, alice, charlie, analysts):
    connection = connect(ada, models=[ModelChoice("a"), ModelChoice("b", enabled=False)], groups=[analysts])
    hidden = Model.objects.get(upstream_id="b")

    assert [row["public_id"] for row in call(alice, "GET", MODELS)[1]["results"]] == ["main/a"]
    assert call(alice, "GET", f"{MODELS}{hidden.pk}/")[0] == 404
    assert call(charlie, "GET", MODELS)[1]["results"] == []
    assert len(call(ada, "GET", f"{MODELS}?connection={connection.pk}")[1]["results"]) == 2
    assert call(alice, "POST", MODELS, {"connection": str(connection.pk), "upstream_id": "c"})[0] == 403


def test_grants_are_given_and_taken(call, ada, analysts):
    connection = connect(ada, models=[ModelChoice("a")])
    model = connection.models.get()
    other = connect(ada, "Other")
    given = {"group": analysts.pk, "connection": str(connection.pk), "model": str(model.pk)}

    status, grant = call(ada, "POST", GRANTS, given)
    assert (status, grant["model"]) == (201, str(model.pk))
    assert call(ada, "POST", GRANTS, {**given, "connection": str(other.pk)})[1]["error"]["param"] == "model"
    assert call(ada, "POST", GRANTS, {**given, "group": 10**9})[1]["error"]["param"] == "group"
    assert call(ada, "DELETE", f"{GRANTS}{grant['id']}/")[0] == 204
    assert not Grant.objects.exists()


def test_every_provider_is_described_with_its_settings(call, ada):
    status, found = call(ada, "GET", "/api/providers/")

    assert status == 200
    assert {row["kind"] for row in found} == set(registry.providers())
    assert all(row["settings_schema"]["properties"] for row in found)
    assert call(ada, "GET", "/api/providers/openai/")[1]["secrets"] == ["api_key"]
    assert call(ada, "GET", "/api/providers/nobody/")[0] == 404


def test_health_counts_what_is_active(call, ada):
    connect(ada, "First")
    connect(ada, "Second", paused=True)
    Connection.objects.update(state=State.HEALTHY)

    found = call(ada, "GET", "/api/health/")[1]

    assert (found["healthy"], found["active"]) == (1, 1)
    assert [row["state"] for row in found["connections"]] == ["healthy", "paused"]


def test_a_broken_credential_is_a_conflict_not_a_crash(call, ada):
    connection = connect(ada)
    Connection.objects.update(sealed=b"\x01broken")
    path = f"{CONNECTIONS}{connection.pk}/"

    assert call(ada, "GET", path)[1]["secrets_stored"] == []
    assert call(ada, "POST", f"{path}test/", {})[0] == 409
    assert call(ada, "POST", f"{path}discover/")[0] == 409
    assert call(ada, "GET", path)[1]["state"] == "failing"


def test_a_connection_of_a_provider_that_is_gone_can_be_read_and_deleted(call, ada):
    path = f"{CONNECTIONS}{connect(ada).pk}/"
    Connection.objects.update(kind="gone")

    assert call(ada, "GET", path)[1]["kind"] == "gone"
    assert call(ada, "PATCH", path, {"revision": 1, "name": "New"})[0] == 409
    assert call(ada, "POST", f"{path}test/", {})[0] == 409
    assert call(ada, "DELETE", path)[0] == 204


@pytest.mark.django_db(transaction=True)
def test_testing_and_discovering_ask_the_provider(call, ada, upstream):
    settings = {"base_url": upstream.url("openai")}
    made = call(ada, "POST", CONNECTIONS, body(settings=settings, secrets={"api_key": upstream.key}))[1]
    path = f"{CONNECTIONS}{made['id']}/"

    status, stages = call(ada, "POST", f"{path}test/", {})
    assert status == 200
    assert [(stage["name"], stage["state"]) for stage in stages] == [
        ("DNS and TLS", "ok"),
        ("Sign-in", "ok"),
        ("Model list", "ok"),
    ]
    assert "gpt-4o-mini" in [model["id"] for model in call(ada, "POST", f"{path}discover/")[1]]
    assert call(ada, "POST", f"{path}test/", {"model": "main/absent"})[0] == 404


def test_the_schema_is_made_without_warnings(capfd):
    from drf_spectacular.drainage import GENERATOR_STATS
    from drf_spectacular.generators import SchemaGenerator

    GENERATOR_STATS.reset()
    schema = SchemaGenerator().get_schema(request=None, public=True)

    said = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    assert [line for line in said if "/connections/" in str(line)] == []
    shapes = schema["components"]["schemas"]
    assert shapes["ConnectionRequest"]["properties"]["secrets"]["writeOnly"]
    assert "secrets" not in shapes["Connection"]["properties"]


def test_prices_are_set_listed_and_ended(call, ada):
    connection = connect(ada, models=[ModelChoice("gpt-4o", price={"input": "1", "output": "2"})])
    model = str(connection.models.get().pk)

    status, made = call(ada, "POST", PRICES, {"model": model, "amounts": {"input": "0.5"}, "note": "new contract"})
    listed = call(ada, "GET", f"{PRICES}?model={model}")[1]["results"]

    assert (status, made["running"]) == (201, True)
    assert [(price["amounts"], price["running"]) for price in listed] == [
        ({"input": "0.5"}, True),
        ({"input": "1", "output": "2"}, False),
    ]
    assert call(ada, "DELETE", f"{PRICES}{made['id']}/")[0] == 204
    assert call(ada, "DELETE", f"{PRICES}{made['id']}/")[0] == 400


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"amounts": {"input": "-1"}}, "amounts"),
        ({"amounts": {"input": "NaN"}}, "amounts"),
        ({"amounts": {"image hd": "1"}}, "amounts"),
        ({"amounts": {}}, "amounts"),
        ({"starts": "2020-01-01T00:00:00Z"}, "starts"),
        ({"starts": "9999-01-01T00:00:00Z"}, "starts"),
        ({"ends": "2020-01-01T00:00:00Z"}, "ends"),
        ({"starts": "soon"}, "starts"),
        ({"currency": "EUR"}, "currency"),
    ],
)
def test_a_senseless_price_is_refused(call, ada, wrong, param):
    model = connect(ada, models=[ModelChoice("gpt-4o")]).models.get()

    status, answer = call(ada, "POST", PRICES, {"model": str(model.pk), "amounts": {"input": "1"}, **wrong})

    assert (status, answer["error"]["param"]) == (400, param)
    assert not model.prices.exists()
