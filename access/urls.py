from django.urls import path

from access.views import audit, groups, keys, users

urlpatterns = [
    path("users/", users.user_list, name="users"),
    path("users/new/", users.user_new, name="user-new"),
    path("users/<int:pk>/", users.user_detail, name="user"),
    path("users/<int:pk>/password/", users.user_password, name="user-password"),
    path("groups/", groups.group_list, name="groups"),
    path("groups/new/", groups.group_new, name="group-new"),
    path("groups/<int:pk>/", groups.group_detail, name="group"),
    path("groups/<int:pk>/delete/", groups.group_delete, name="group-delete"),
    path("groups/<int:pk>/members/", groups.member_add, name="group-member-add"),
    path("groups/<int:pk>/members/<int:user_pk>/remove/", groups.member_remove, name="group-member-remove"),
    path("keys/", keys.key_list, name="keys"),
    path("keys/new/", keys.key_new, name="key-new"),
    path("keys/<str:public_id>/revoke/", keys.key_revoke, name="key-revoke"),
    path("audit/", audit.audit_log, name="audit"),
]
