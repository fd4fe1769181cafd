"""The pages about connections."""

import re
from html import unescape
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from access.models import AuditEvent
from connections import services
from connections.account import settle
from connections.models import Connection, Grant, HealthCheck, Model, State
from connections.providers import registry
from connections.services import ModelChoice
from tests.connections.accounts import BAD_NAMES, BAD_URLS, CANARY, STRANGE_NAMES, URL, connect

NEW = "/connections/new/openai/"
TABS = ["connection", "connection-models", "connection-health", "connection-access", "connection-history"]
MANAGED = ["connection-edit", "connection-delete", "connection-models-add"]


@pytest.fixture
def show(client):
    """`show(user, path)` gives the page's text; with `post=…` what the browser shows after it."""

    def get_or_post(user, path, post=None, status=200, **headers):
        client.force_login(user)
        if post is None:
            response = client.get(path, headers=headers, follow=True)
        else:
            response = client.post(path, post, headers=headers, follow=True)
        assert response.status_code == status
        text = response.content.decode()
        assert CANARY not in text
        assert not re.search(r'\sstyle="|<script(?! src)|\son\w+="', text)
        return unescape(text)

    return get_or_post


@pytest.fixture
def connection(ada, analysts):
    return connect(ada, models=[ModelChoice("gpt-4o"), ModelChoice("embed", "embedding")], groups=[analysts])


def test_the_list_shows_every_connection_with_its_state(show, ada, connection):
    connect(ada, "Resting", paused=True)
    for state in (State.HEALTHY, State.FAILING, State.FAILING):
        HealthCheck.objects.create(connection=connection, state=state, total_ms=412)
    Connection.objects.filter(pk=connection.pk).update(state=State.FAILING, cause="The key was refused.")

    text = show(ada, "/connections/")

    assert f'id="connection-{connection.pk}"' in text
    assert "has failed 2 checks in a row. The key was refused." in text
    assert "2 of 2" in text
    assert "Analysts" in text
    assert "Paused 1" in text
    assert "of 1 active" in text


def test_the_list_is_filtered_by_text_and_state(show, ada, connection):
    connect(ada, "Resting", paused=True)

    assert "Resting" not in show(ada, "/connections/?q=main")
    assert "Resting" in show(ada, "/connections/?q=OPENAI&state=paused")
    assert f"connection-{connection.pk}" not in show(ada, "/connections/?state=paused")
    assert "No connection matches" in show(ada, "/connections/?q=%25")
    assert "No connection matches" in show(ada, "/connections/?state=nonsense")


def test_filtering_with_htmx_answers_the_table_alone(show, ada, connection):
    text = show(ada, "/connections/?q=main", **{"HX-Request": "true"})

    assert "<html" not in text
    assert f"connection-{connection.pk}" in text


def test_an_empty_list_leads_on(show, ada):
    assert "No connection yet" in show(ada, "/connections/")


@pytest.mark.parametrize("name", [*TABS, *MANAGED])
def test_an_admin_opens_every_page(show, ada, connection, name):
    assert "Main" in show(ada, reverse(name, args=[connection.pk]))


@pytest.mark.parametrize("name", TABS)
def test_an_auditor_looks_and_an_analyst_does_not(show, oscar, alice, connection, name):
    path = reverse(name, args=[connection.pk])

    assert "Delete" not in show(oscar, path)
    show(alice, path, status=403)


@pytest.mark.parametrize("name", MANAGED)
def test_an_operator_does_not_change_connections(show, olga, connection, name):
    show(olga, reverse(name, args=[connection.pk]), status=403)
    show(olga, reverse(name, args=[connection.pk]), {"confirmation": "Main"}, status=403)


def test_an_auditor_grants_nothing(show, oscar, charlie, connection):
    group = Group.objects.create(name="Others")

    show(oscar, reverse("connection-access", args=[connection.pk]), {"group": group.pk}, status=403)

    assert not Grant.objects.filter(group=group).exists()


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_a_strange_name_is_shown_as_text(client, ada, name):
    connect(ada, name)
    client.force_login(ada)

    raw = client.get("/connections/").content.decode()

    assert "<img src=x" not in raw
    assert name in unescape(raw)


def test_pausing_and_resuming(show, olga, connection):
    assert "is paused" in show(olga, reverse("connection-pause", args=[connection.pk]), {})
    assert "runs again" in show(olga, reverse("connection-resume", args=[connection.pk]), {})


def test_deleting_says_what_breaks_and_wants_the_name(show, ada, connection):
    path = reverse("connection-delete", args=[connection.pk])

    assert "1 group loses access: Analysts" in show(ada, path)
    assert "not the connection's name" in show(ada, path, {"confirmation": "main office"}, status=422)
    assert "is deleted" in show(ada, path, {"confirmation": "Main"})
    assert not Connection.objects.exists()


# --- settings --------------------------------------------------------------------------------------------


def edited(connection, **changes):
    return {
        "name": "Main",
        "revision": connection.revision,
        "check_every": "60",
        "slow_after_ms": "2000",
        "retries": "2",
        "settings-base_url": URL,
        "settings-api_key": "",
        **changes,
    }


def edit(connection):
    return reverse("connection-edit", args=[connection.pk])


def test_a_stored_secret_is_kept_and_never_shown(show, ada, connection):
    assert 'placeholder="•••• kept"' in show(ada, edit(connection))

    assert "is saved" in show(ada, edit(connection), edited(connection, **{"settings-project": "p1"}))

    row = Connection.objects.get()
    assert (row.settings["project"], row.credential()["api_key"]) == ("p1", CANARY)


def test_a_changed_address_asks_for_the_secret(show, ada, connection):
    moved = edited(connection, **{"settings-base_url": "https://other.example.com/v1"})

    text = show(ada, edit(connection), moved, status=422)
    assert "Type the API key again: the address it is sent to has changed." in text
    assert "https://other.example.com/v1" in text
    assert Connection.objects.get().settings["base_url"] == URL

    assert "is saved" in show(ada, edit(connection), {**moved, "settings-api_key": "sk-new"})
    assert Connection.objects.get().credential()["api_key"] == "sk-new"


def test_the_second_of_two_admins_keeps_their_input(show, ada, connection):
    opened_twice = edited(connection, check_every="120")
    show(ada, edit(connection), {**opened_twice, "check_every": "90"})

    text = show(ada, edit(connection), opened_twice, status=422)

    assert "Somebody else changed this connection" in text
    assert 'value="120"' in text
    assert Connection.objects.get().check_every == 90
    revision = re.search(r'name="revision" value="(\d+)"', text)[1]
    assert "is saved" in show(ada, edit(connection), {**opened_twice, "revision": revision})
    assert Connection.objects.get().check_every == 120


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_is_refused(show, ada, connection, name):
    show(ada, edit(connection), edited(connection, name=name), status=422)

    assert Connection.objects.get().name == "Main"


def test_a_connection_whose_secret_does_not_open_still_has_pages(show, ada, connection):
    Connection.objects.update(sealed=b"\x01broken")

    for name in [*TABS, *MANAGED]:
        show(ada, reverse(name, args=[connection.pk]))

    text = show(ada, "/connections/")
    assert "The stored credential cannot be decrypted." in text
    assert "required" in show(ada, edit(connection), edited(connection), status=422)
    assert "is saved" in show(ada, edit(connection), edited(connection, **{"settings-api_key": CANARY}))


def test_a_connection_of_a_provider_that_is_gone_still_has_pages(show, ada, connection):
    Connection.objects.update(kind="gone")

    for path in ["/connections/", "/models/", *(reverse(name, args=[connection.pk]) for name in [*TABS, *MANAGED])]:
        show(ada, path)

    assert "is not installed here" in show(ada, edit(connection))
    assert "is deleted" in show(ada, reverse("connection-delete", args=[connection.pk]), {"confirmation": "Main"})


# --- the wizard ------------------------------------------------------------------------------------------


def filled(**changes):
    return {
        "name": "Main",
        "check_every": "60",
        "slow_after_ms": "2000",
        "retries": "2",
        "settings-base_url": URL,
        "settings-api_key": CANARY,
        **changes,
    }


def test_the_gallery_leads_to_each_provider(show, ada):
    text = show(ada, "/connections/new/")

    for address in re.findall(r'class="tile" href="([^"]+)"', text):
        assert "Connection name" in show(ada, address)
    show(ada, "/connections/new/nobody/", status=404)


@pytest.mark.parametrize("url", BAD_URLS)
def test_an_address_we_would_not_call_is_refused_beside_its_field(show, ada, url):
    text = show(ada, NEW, filled(**{"settings-base_url": url}), status=422)

    assert 'id="id_settings-base_url_error"' in text


def test_a_secret_survives_a_mistake_without_being_shown(show, ada, client):
    text = show(ada, NEW, filled(**{"settings-base_url": "https://10.0.0.1/"}), status=422)
    assert 'placeholder="•••• kept"' in text
    assert CANARY not in str(dict(client.session))

    client.post(NEW, filled(paused="1", **{"settings-api_key": ""}))

    assert Connection.objects.get().credential()["api_key"] == CANARY


@pytest.mark.parametrize("path", [NEW, "edit"])
def test_pages_with_secrets_are_not_stored_by_browsers(client, ada, connection, path):
    client.force_login(ada)

    response = client.get(edit(connection) if path == "edit" else path)

    assert "no-store" in response["Cache-Control"]


def test_saving_as_paused_ends_the_wizard_early(show, ada, client):
    assert "It is paused." in show(ada, NEW, filled(paused="1"))

    assert Connection.objects.get().paused
    assert client.session["connection_drafts"] == {}


def test_later_steps_want_the_earlier_ones(show, ada):
    assert "Connection name" in show(ada, f"{NEW}models/")


def test_analysts_and_operators_add_nothing(show, alice, olga):
    for user in (alice, olga):
        show(user, NEW, filled(), status=403)
        show(user, f"{NEW}test/", filled(), status=403)


@pytest.mark.django_db(transaction=True)
def test_the_whole_wizard(show, ada, analysts, upstream):
    typed = filled(**{"settings-base_url": upstream.url("openai"), "settings-api_key": upstream.key})

    text = show(ada, NEW, typed)
    assert 'value="chat:gpt-4o-mini"' in text
    chosen = {"offered": ["chat:gpt-4o-mini"], "upstream_ids": "my-deployment\nanother", "mode": "chat"}
    assert "brings 3 models" in show(ada, f"{NEW}models/", chosen)
    assert 'value="chat:gpt-4o-mini" checked' in show(ada, f"{NEW}models/")
    assert "is saved. Its first check" in show(ada, f"{NEW}access/", {"groups": [analysts.pk]})

    assert sorted(Model.objects.values_list("public_id", flat=True)) == [
        "main/another",
        "main/gpt-4o-mini",
        "main/my-deployment",
    ]
    assert Model.objects.get(upstream_id="gpt-4o-mini").context
    assert Grant.objects.get().group == analysts
    assert Connection.objects.get().credential()["api_key"] == upstream.key


@pytest.mark.django_db(transaction=True)
def test_unsaved_input_is_tested_without_javascript(show, ada, upstream):
    typed = filled(**{"settings-base_url": upstream.url("openai"), "settings-api_key": upstream.key})

    text = show(ada, f"{NEW}test/", {**typed, "model": "gpt-4o-mini"})

    assert re.findall(r'data-stage="(\w+)"', text) == ["ok"] * 4
    assert not Connection.objects.exists()
    text = show(ada, f"{NEW}test/", {**typed, "settings-api_key": "sk-wrong-one"})
    assert re.findall(r'data-stage="(\w+)"', text) == ["ok", "failed", "skipped"]


@pytest.mark.django_db(transaction=True)
def test_a_stored_connection_is_tested_and_checked(show, ada, upstream):
    typed = filled(**{"settings-base_url": upstream.url("openai"), "settings-api_key": upstream.key})
    show(ada, NEW, typed)
    show(ada, f"{NEW}access/", {})
    connection = Connection.objects.get()

    text = show(ada, reverse("connection-test", args=[connection.pk]), {"model": ""})
    assert re.findall(r'data-stage="(\w+)"', text) == ["ok"] * 3
    row = show(ada, reverse("connection-check", args=[connection.pk]), {}, **{"HX-Request": "true"})

    assert 'data-state="healthy"' in row
    assert row.strip().startswith("<tr")
    assert Connection.objects.get().state == State.HEALTHY


# --- models and access -----------------------------------------------------------------------------------


def test_models_are_switched_together(show, ada, connection):
    path = reverse("connection-models-switch", args=[connection.pk])

    show(ada, path, {"models": ["main/gpt-4o", "main/absent"], "switch": "off"})

    assert list(Model.objects.filter(enabled=False).values_list("public_id", flat=True)) == ["main/gpt-4o"]


def test_a_model_gets_a_price_of_its_own(show, ada, connection):
    model = Model.objects.get(public_id="main/gpt-4o")
    path = reverse("connection-model-prices", args=[connection.pk, model.pk])

    assert "must lie between" in show(ada, path, {"input": "-1"}, status=422)
    assert "Give at least one price" in show(ada, path, {"note": "nothing"}, status=422)
    page = show(ada, path, {"input": "0.15", "output": "0.60", "note": "contract 7"})

    price = model.prices.get()
    assert (price.amounts, price.note, price.ends) == ({"input": "0.15", "output": "0.60"}, "contract 7", None)
    assert "$0.15 in · $0.60 out per million tokens" in page
    assert "contract 7" in page
    assert "(set by you)" in page


def test_a_price_says_nothing_of_what_it_lacks(show, ada, connection):
    model = Model.objects.get(public_id="main/embed")
    services.set_price(ada, model, {"input": "0.02"})

    assert "$0.02 in per million tokens" in show(ada, reverse("models"))


def test_a_price_is_ended_on_its_page(show, ada, connection):
    model = Model.objects.get(public_id="main/gpt-4o")
    services.set_price(ada, model, {"input": "1", "output": "1"})

    page = show(ada, reverse("connection-price-end", args=[connection.pk, model.pk, model.prices.get().pk]), {})

    assert "The price is ended." in page
    assert model.own_price is None


def test_a_model_without_a_known_price_says_so(show, ada, connection):
    services.add_models(ada, connection, [services.ModelChoice("of-our-own")])

    page = show(ada, reverse("connection-models", args=[connection.pk]))

    assert page.count(">unknown</span>") == 2  # of-our-own and embed, which no table knows; gpt-4o is known


def test_a_models_note_is_shown_where_it_is_picked(show, ada, alice, connection):
    model = Model.objects.get(public_id="main/gpt-4o")
    show(ada, reverse("connection-model", args=[connection.pk, model.pk]), {"note": "Ask it about law."})

    for page in ("models", "playground"):
        assert "Ask it about law." in show(alice, reverse(page))


def test_a_model_of_another_connection_is_not_found(show, ada, connection):
    other = connect(ada, "Other", models=[ModelChoice("x")])
    model = other.models.get()

    show(ada, reverse("connection-model", args=[connection.pk, model.pk]), status=404)
    show(ada, reverse("connection-model-remove", args=[connection.pk, model.pk]), {}, status=404)
    assert other.models.exists()


def test_a_refused_name_gives_way_to_the_usual_one(show, ada, connection):
    path = reverse("connection-new-credentials", args=["openai"])
    show(ada, path, {"name": "Main", "check_every": "60", "slow_after_ms": "2000", "retries": "2"}, status=422)

    assert 'value="OpenAI"' in show(ada, path)


def test_own_models_are_added_and_removed(show, ada, connection):
    path = reverse("connection-models-add", args=[connection.pk])
    Connection.objects.update(sealed=b"\x01broken")

    show(ada, path, {"upstream_ids": "fine\n" + "x" * 301, "mode": "chat"}, status=422)
    assert "1 model added" in show(ada, path, {"upstream_ids": "fine", "mode": "chat"})
    model = Model.objects.get(upstream_id="fine")
    assert "is removed" in show(ada, reverse("connection-model-remove", args=[connection.pk, model.pk]), {})


def test_when_all_models_are_added_the_page_says_so(show, ada, upstream):
    kind = registry.providers()["openai_compatible"]
    account = settle(kind, {"base_url": upstream.url("compatible")}, {"api_key": upstream.key})
    connection = services.create_connection(ada, account, {"name": "Lab"})
    path = reverse("connection-models-add", args=[connection.pk])
    offered = [f"{mode}:{name}" for name, mode in (("local-chat", "chat"), ("local-embed", "embedding"))]

    assert "All models" not in show(ada, path)
    show(ada, path, {"offered": offered, "mode": "chat"})

    assert "All models that the provider lists are added." in show(ada, path)


def test_access_is_granted_to_a_group_and_revoked(show, ada, alice, charlie, connection):
    path = reverse("connection-access", args=[connection.pk])
    everyone = Group.objects.get(name="Everyone")
    assert "charlie" not in show(ada, path)

    assert "charlie" in show(ada, path, {"group": everyone.pk, "model": Model.objects.first().pk})

    grant = Grant.objects.get(group=everyone)
    assert "may no longer use" in show(ada, reverse("connection-revoke", args=[connection.pk, grant.pk]), {})
    assert not Grant.objects.filter(group=everyone).exists()


def test_who_asks_no_models_is_not_told_they_can(show, ada, oscar, connection):
    Grant.objects.create(group=Group.objects.get(name="Everyone"), connection=connection)

    assert "oscar" not in show(ada, reverse("connection-access", args=[connection.pk]))
    assert "Their role asks no models." in show(ada, reverse("user", args=[oscar.pk]))
    assert reverse("playground") not in show(oscar, reverse("models"))


def test_history_tells_who_changed_what_without_secrets(show, ada, connection):
    show(ada, edit(connection), edited(connection, **{"settings-api_key": "sk-new"}))

    text = show(ada, reverse("connection-history", args=[connection.pk]))

    assert "connection.changed" in text
    assert "<dt>secrets_changed</dt><dd><ins>api_key</ins></dd>" in text
    assert AuditEvent.objects.filter(object_id=str(connection.pk)).count() == 4


@pytest.mark.parametrize(("after", "status"), [("-1", 200), ("1000000000", 200), ("x", 200), ("%00", 400)])
def test_a_page_that_does_not_exist_is_no_crash(show, ada, connection, after, status):
    show(ada, reverse("connection-history", args=[connection.pk]) + f"?after={after}", status=status)


def test_the_catalogue_shows_what_one_may_use(show, ada, alice, charlie, connection):
    connect(ada, "Resting", models=[ModelChoice("x")], paused=True)

    text = show(alice, "/models/")
    assert "main/gpt-4o" in text
    assert f"/playground/?model={'main%2Fgpt-4o'}" in text
    assert "resting/x" not in text
    assert "No model is granted to you yet" in show(charlie, "/models/")
    assert "The connection is paused" in show(ada, "/models/?q=resting")
    assert "main/gpt-4o" not in show(alice, "/models/?mode=embedding")


def test_unknown_prices_are_called_unknown(show, ada, connection):
    assert "unknown" in show(ada, "/models/?q=main/embed")


def test_signed_out_visitors_are_sent_to_sign_in(client, connection):
    response = client.get(f"/connections/{connection.pk}/edit/")

    assert response.status_code == 302
    assert urlsplit(response.url).path == reverse("account_login")
