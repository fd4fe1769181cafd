"""What the asker can do when an answer failed, by the problem's code."""

RETRY = "Regenerate the answer. If it fails again, tell an admin the request id."
ANOTHER_MODEL = "Pick another model, or ask an admin to grant this one to your group."
MEND = "An admin has to mend this connection. Pick a model of another one meanwhile."
LATER = "Wait a little and regenerate the answer, or pick another model."

NEXT_STEPS = {
    "invalid_value": "Change the message or the parameter it speaks of, and send it again.",
    "unknown_field": "Take the parameter out, and send it again.",
    "context_length_exceeded": "Shorten the message, or start a new conversation.",
    "content_filter": "Word the message differently.",
    "body_too_large": "Shorten the message, or start a new conversation.",
    "model_not_found": ANOTHER_MODEL,
    "model_not_allowed": ANOTHER_MODEL,
    "upstream_auth_error": MEND,
    "upstream_tls_error": MEND,
    "rate_limit_exceeded": LATER,
    "overloaded": LATER,
    "shutting_down": LATER,
    "upstream_unavailable": LATER,
    "upstream_timeout": LATER,
    "interrupted": "Regenerate the answer.",
}
