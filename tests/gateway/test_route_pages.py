"""Routes as admins make them: through pages and the API, with audit rows, and only by those who may."""

import json

import pytest
from django.urls import reverse

from access import reach
from access.models import AuditEvent
from connections.models import Model
from gateway.models import Route
from gateway.routes import acts as acts_on_routes

GPT, CLAUDE = "openai/gpt-4o-mini", "anthropic/claude-sonnet-5-5"


@pytest.fixture(autouse=True)
def models(connect, analysts):
    connect("openai", group=analysts)
    connect("anthropic", group=analysts)


def typed(*models, **fields):
    rows = {}
    for number, model in enumerate(models):
        rows |= {f"target-{number}-model": model, f"target-{number}-priority": number + 1, f"target-{number}-weight": 1}
    management = {"target-TOTAL_FORMS": len(models), "target-INITIAL_FORMS": 0}
    return {
        "name": "team-chat",
        "strategy": "weight",
        "on_error": "on",
        "enabled": "on",
        **management,
        **rows,
        **fields,
    }


def targets():
    return list(Route.objects.get().targets.values_list("model__public_id", "priority", "weight"))


def acts():
    return list(AuditEvent.objects.filter(object_type="route").order_by("pk").values_list("action", flat=True))


def test_an_admin_makes_changes_and_deletes_a_route(client, ada):
    client.force_login(ada)
    assert client.post(reverse("route-new"), typed(GPT, CLAUDE)).status_code == 302
    route = Route.objects.get()
    assert (route.on_error, route.on_context, route.on_filter) == (True, False, False)
    assert targets() == [(GPT, 1, 1), (CLAUDE, 2, 1)]
    page = client.get(reverse("routes")).content.decode()
    assert "team-chat" in page and GPT in page

    client.post(reverse("route", args=[route.pk]), typed(CLAUDE, "", name="other", strategy="price"))
    assert targets() == [(CLAUDE, 1, 1)]
    client.post(reverse("route-delete", args=[route.pk]))

    assert acts() == ["route.created", "route.changed", "route.deleted"]
    assert not Route.objects.exists()


def test_a_route_that_is_opened_and_saved_stays_as_it_is(client, ada):
    client.force_login(ada)
    client.post(reverse("route-new"), typed(GPT, CLAUDE))
    page = client.get(reverse("route", args=[Route.objects.get().pk]))
    given = [form.initial for form in page.context["targets"].initial_forms]

    assert given == [{"model": GPT, "weight": 1, "priority": 1}, {"model": CLAUDE, "weight": 1, "priority": 2}]
    client.post(reverse("route", args=[Route.objects.get().pk]), typed(GPT, CLAUDE))
    assert acts() == ["route.created"]


def rows(answer):
    return [(form["model"].value(), form["priority"].value()) for form in answer.context["targets"].forms]


@pytest.mark.parametrize("htmx", [True, False])
def test_rows_are_added_and_removed_before_anything_is_stored(client, ada, htmx):
    client.force_login(ada)
    given = typed(GPT, CLAUDE, "", name="Not checked yet") | {"target-2-weight": "much"}
    headers = {"HX-Request": "true"} if htmx else {}

    def change(**pressed):
        return client.post(reverse("route-new-models"), given | pressed, headers=headers)

    assert rows(client.get(reverse("route-new"))) == [(None, 1), (None, 1)]
    more = change(add="1")
    assert rows(more) == [(GPT, "1"), (CLAUDE, "2"), ("", "3"), (None, "3")]
    assert ("Not checked yet" in more.content.decode()) == (not htmx)
    assert rows(change(remove="0")) == [(CLAUDE, "2"), ("", "3")]
    assert 'value="much"' in change(remove="0").content.decode()
    assert rows(change(remove="nothing")) == [(GPT, "1"), (CLAUDE, "2"), ("", "3")]
    assert rows(client.post(reverse("route-new-models"), {"add": "1"}, headers=headers)) == [(None, 1)]
    assert not Route.objects.exists()


def test_what_was_ticked_stays_ticked_when_a_row_is_added(client, ada):
    client.force_login(ada)
    given = typed(GPT, on_filter="on") | {"add": "1"}
    del given["on_error"]

    form = client.post(reverse("route-new-models"), given).context["form"]

    assert [bool(form[name].value()) for name in ("on_error", "on_filter")] == [False, True]


def test_a_route_takes_no_more_rows_than_models(client, ada):
    client.force_login(ada)
    given = typed(*[GPT] * acts_on_routes.MOST_TARGETS) | {"add": "1"}

    answer = client.post(reverse("route-new-models"), given)

    assert len(rows(answer)) == acts_on_routes.MOST_TARGETS
    assert "Add a model" not in answer.content.decode()


def test_a_route_whose_models_are_gone_shows_empty_rows(client, ada):
    client.force_login(ada)
    route = Route.objects.create(name="empty")

    assert rows(client.get(reverse("route", args=[route.pk]))) == [(None, 1), (None, 1)]
    assert client.post(reverse("route-models", args=[route.pk]), {"add": "1"}).status_code == 200
    assert client.post(reverse("route-models", args=[route.pk + 1]), {"add": "1"}).status_code == 404


WRONG = {
    "no model": (typed(), "Name at least one model."),
    "a model twice": (typed(GPT, GPT), "is named twice"),
    "a slash": (typed(GPT, name="a/b"), "small letters, digits"),
    "capitals": (typed(GPT, name="Team"), "small letters, digits"),
    "an unknown strategy": (typed(GPT, strategy="luck"), "luck"),
    "an unknown model": (typed("x/y"), "x/y"),
    "a weight of nothing": (typed(GPT) | {"target-0-weight": "0"}, "greater than or equal to 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_page_says_what_is_wrong(client, ada, name):
    client.force_login(ada)
    form, said = WRONG[name]

    answer = client.post(reverse("route-new"), form)

    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert not Route.objects.exists()


@pytest.fixture
def api(client, ada, key_for):
    head = {"authorization": f"Bearer {key_for(ada)}"}

    def call(method, path, body=None):
        send = getattr(client, method)
        data = {"data": json.dumps(body), "content_type": "application/json"} if body is not None else {}
        return send(f"/api/routes/{path}", headers=head, **data)

    return call


def test_the_api_can_do_the_same(api):
    made = api("post", "", {"name": "team-chat", "targets": [{"model": GPT}, {"model": CLAUDE, "priority": 2}]})
    assert made.status_code == 201, made.content
    pk = made.json()["id"]
    assert made.json()["targets"][1] == {"model": CLAUDE, "weight": 1, "priority": 2}
    assert api("patch", f"{pk}/", {"on_filter": True}).json()["on_filter"] is True
    assert targets() == [(GPT, 1, 1), (CLAUDE, 2, 1)]
    assert api("patch", f"{pk}/", {"targets": [{"model": CLAUDE, "weight": 5}]}).status_code == 200
    assert targets() == [(CLAUDE, 1, 5)]
    assert api("patch", f"{pk}/", {"targets": [{"weight": 5}]}).status_code == 400
    assert api("patch", f"{pk}/", {"targets": [{"model": GPT}]}).status_code == 200
    assert targets() == [(GPT, 1, 1)]
    assert [one["name"] for one in api("get", "").json()["results"]] == ["team-chat"]
    assert api("delete", f"{pk}/").status_code == 204
    assert acts() == ["route.created", "route.changed", "route.changed", "route.changed", "route.deleted"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "a/b", "targets": [{"model": GPT}]}, "name"),
        ({"name": "fine", "targets": []}, "targets"),
        ({"name": "fine", "targets": [{"model": "x/y"}]}, "targets"),
        ({"name": "fine", "targets": [{"model": GPT}, {"model": GPT}]}, "targets"),
        ({"name": "fine", "targets": [{"model": GPT, "weight": 0}]}, "targets"),
        ({"name": "fine", "targets": [{"model": GPT}], "owner": 1}, "owner"),
    ],
)
def test_the_api_refuses_what_is_wrong(api, body, field):
    answer = api("post", "", body)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(field)
    assert not Route.objects.exists()


def test_a_name_is_there_once(api):
    api("post", "", {"name": "team-chat", "targets": [{"model": GPT}]})

    assert api("post", "", {"name": "team-chat", "targets": [{"model": GPT}]}).status_code == 400


def test_a_route_is_usable_where_one_of_its_models_is(api, alice, charlie):
    api("post", "", {"name": "team-chat", "targets": [{"model": GPT}, {"model": CLAUDE}]})

    assert "team-chat" in reach.usable(alice.principal)
    assert "team-chat" not in reach.usable(charlie.principal)
    Model.objects.update(enabled=False)
    assert "team-chat" not in reach.usable(alice.principal)


def test_a_job_may_name_a_route(api, client, bob, charlie, key_for):
    api("post", "", {"name": "team-chat", "targets": [{"model": GPT}]})
    body = json.dumps({"model": "team-chat", "messages": [{"role": "user", "content": "one"}]})

    def submit(user, **limits):
        head = {"authorization": f"Bearer {key_for(user, **limits)}"}
        return client.post("/api/generations/", data=body, content_type="application/json", headers=head).status_code

    assert submit(bob) == 202
    assert submit(bob, allowed_models=["team-chat"]) == 202
    assert submit(bob, allowed_models=[GPT]) == 202
    assert submit(bob, allowed_models=[CLAUDE]) == 404
    assert submit(charlie) == 404
