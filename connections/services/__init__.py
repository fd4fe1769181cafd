"""Every administrative act on connections, models and grants: one transaction each, with its audit row.

Pages and API both come through here. What they refuse leaves as Django's ValidationError by field name,
`account.SettingsRefused` for a provider's own settings, or `Conflict`.
"""

from connections.services.connections import (
    Conflict,
    Consequences,
    InUse,
    Unusable,
    consequences,
    create_connection,
    delete_connection,
    mark_unreadable,
    provider_of,
    set_paused,
    settle_again,
    stored_account,
    stored_secrets,
    update_connection,
    uses_host,
)
from connections.services.engines import want_engine
from connections.services.grants import grant, revoke, set_groups
from connections.services.models import ModelChoice, add_models, enable_models, remove_model, update_model
from connections.services.prices import end_price, set_price

__all__ = [
    "Conflict",
    "Consequences",
    "InUse",
    "ModelChoice",
    "Unusable",
    "add_models",
    "consequences",
    "create_connection",
    "delete_connection",
    "enable_models",
    "end_price",
    "grant",
    "mark_unreadable",
    "provider_of",
    "remove_model",
    "revoke",
    "set_groups",
    "set_paused",
    "set_price",
    "settle_again",
    "stored_account",
    "stored_secrets",
    "update_connection",
    "update_model",
    "uses_host",
    "want_engine",
]
