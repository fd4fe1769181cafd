"""What the processes say: one JSON object per line on standard error, control characters escaped.

Bodies are never logged; an API key that is logged all the same is masked.
"""

import re
from typing import Any

import structlog

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
KEY = re.compile(r"mesh_([0-9A-Za-z]{10})_[0-9A-Za-z]{49}")


def mask_keys(logger: Any, method: str, event: Any) -> Any:
    """Only the public id of a key stays."""
    return {name: KEY.sub(r"mesh_\1_…", value) if isinstance(value, str) else value for name, value in event.items()}


PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,  # without the frames' variables: they may hold secrets
]


def configuration(level: str) -> dict[str, Any]:
    """Set structlog up and return Django's LOGGING to go with it."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *PROCESSORS,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    refusals = "ERROR" if level == "WARNING" else level  # refused requests and left pages are no warning
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": PROCESSORS,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            mask_keys,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": formatter},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            **{name: {"handlers": [], "propagate": True} for name in ("django", "uvicorn", "uvicorn.error")},
            **{name: {"level": refusals} for name in ("django.request", "django_structlog")},
            "botocore": {"level": "INFO" if level == "DEBUG" else level},  # below, it writes session tokens
            "uvicorn.access": {"handlers": [], "propagate": False},  # as the child of a named logger it would speak
        },
    }
