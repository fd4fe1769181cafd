"""Every administrative act on users, groups, keys and sessions: one transaction each, with its audit row.

Pages and API both come through here. What they refuse leaves as Django's ValidationError by field name.
"""

from access.services.groups import add_member, create_group, delete_group, remove_member, rename_group
from access.services.keys import issue_key, revoke_key
from access.services.sessions import end_session, refuse_session, start_session
from access.services.users import change_own_password, create_user, set_temporary_password, update_user

__all__ = [
    "add_member",
    "change_own_password",
    "create_group",
    "create_user",
    "delete_group",
    "end_session",
    "issue_key",
    "refuse_session",
    "remove_member",
    "rename_group",
    "revoke_key",
    "set_temporary_password",
    "start_session",
    "update_user",
]
