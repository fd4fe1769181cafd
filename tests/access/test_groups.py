"""Access groups: members, names, and what a deletion takes away."""

import pytest
from django.contrib.auth.models import Group

from access.models import EVERYONE
from connections.models import Model
from tests.access.conftest import acts


@pytest.fixture
def admin(ada, signed_in):
    return signed_in(ada)


def test_an_admin_makes_a_group_and_adds_and_removes_a_member(admin, alice, charlie):
    admin.post("/groups/new/", {"name": "Finance"})
    group = Group.objects.get(name="Finance")

    admin.post(f"/groups/{group.pk}/members/", {"user": "charlie"})
    assert list(group.user_set.all()) == [charlie]

    admin.post(f"/groups/{group.pk}/members/{charlie.pk}/remove/")
    assert not group.user_set.exists()
    assert acts() == ["group.created", "group.member_added", "group.member_removed"]


def test_a_new_member_may_use_what_the_group_may(admin, charlie, analysts, model):
    assert not Model.objects.usable_by(charlie.principal)

    admin.post(f"/groups/{analysts.pk}/members/", {"user": "charlie"})

    assert list(Model.objects.usable_by(charlie.principal)) == [model]


def test_an_unknown_member_is_refused_with_a_reason(admin, analysts):
    response = admin.post(f"/groups/{analysts.pk}/members/", {"user": "nobody"})

    assert response.status_code == 422
    assert "no such user" in response.content.decode()


@pytest.mark.parametrize("name", ["Analysts", "ANALYSTS", " analysts", "Ａｎａｌｙｓｔｓ", "everyone"])
def test_a_name_is_taken_in_any_case_and_spelling(admin, analysts, name):
    assert admin.post("/groups/new/", {"name": name}).status_code == 422
    assert Group.objects.count() == 2


def test_ä_and_Ä_are_the_same_letter(admin, analysts):
    """Databases differ in this, so it is not left to them."""
    admin.post("/groups/new/", {"name": "Ärzte"})

    assert admin.post("/groups/new/", {"name": "ärzte"}).status_code == 422
    assert admin.post(f"/groups/{analysts.pk}/", {"name": "ÄRZTE"}).status_code == 422


def test_a_group_may_change_the_case_of_its_own_name(admin, analysts):
    admin.post(f"/groups/{analysts.pk}/", {"name": "ANALYSTS"})

    analysts.refresh_from_db()
    assert analysts.name == "ANALYSTS"


def test_everyone_stays_as_it_is(admin, alice):
    everyone = Group.objects.get(name=EVERYONE)

    admin.post(f"/groups/{everyone.pk}/delete/")
    admin.post(f"/groups/{everyone.pk}/", {"name": "Nobody"})
    admin.post(f"/groups/{everyone.pk}/members/", {"user": "alice"})

    everyone.refresh_from_db()
    assert everyone.name == EVERYONE
    assert not everyone.user_set.exists()
    assert acts() == []


def test_a_deleted_groups_grants_are_gone(admin, alice, analysts, model):
    admin.post(f"/groups/{analysts.pk}/delete/")

    assert not Model.objects.usable_by(alice.principal)
    assert acts() == ["group.deleted"]


def test_the_page_shows_what_the_group_may_use(admin, analysts, model):
    page = admin.get(f"/groups/{analysts.pk}/").content.decode()

    assert "Main" in page and "main/chat" in page
    assert f"/connections/{model.connection_id}/access/" in page


def test_a_hostile_name_is_only_text(admin):
    admin.post("/groups/new/", {"name": "<img src=x onerror=alert(1)>"})
    group = Group.objects.get(name__startswith="<img")

    for path in ("/groups/", f"/groups/{group.pk}/", "/users/new/"):
        assert "<img src=x" not in admin.get(path).content.decode()
