"""Django settings. Everything that differs between installations comes from the environment."""

import os
from pathlib import Path

import environ

from llmmesh import logs
from llmmesh.environment import broker_url, read_roots, refuse_too_little, refuse_unknown

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
refuse_unknown(os.environ)

DATA_DIR = Path(env("MESH_DATA_DIR", default=str(BASE_DIR / "var"))).resolve()
ROOTS = read_roots(DATA_DIR)
VERSION = (BASE_DIR / "CHANGELOG.md").read_text().partition("## ")[2].split()[0]

SECRET_KEY = ROOTS["MESH_SECRET_KEY"][0]
DEBUG = env.bool("MESH_DEBUG", default=False)
PORT = env.int("PORT", default=8000)
HOST = env("MESH_HOST", default="127.0.0.1")
BASE_URL = env("MESH_BASE_URL", default=f"http://127.0.0.1:{PORT}").rstrip("/")
ALLOWED_HOSTS = env.list("MESH_ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = [BASE_URL]
TRUSTED_PROXIES = env.list("MESH_TRUSTED_PROXIES", default=[])
PRIVATE_ADDRESSES = env.list("MESH_PRIVATE_ADDRESSES", default=[])
PICTURE_ADDRESSES = env.list("MESH_PICTURE_ADDRESSES", default=[])
"""Networks (CIDR) and host names that outgoing calls may reach although they are not public."""
AMBIENT_IDENTITY = env.list("MESH_AMBIENT_IDENTITY", default=[])
"""Clouds (aws, google, azure) whose connections may use this machine's own identity."""
WEB_WORKERS = env.int("MESH_WEB_WORKERS", default=1)
MAX_CALLS = env.int("MESH_MAX_CALLS", default=1000)
MAX_PAGES = env.int("MESH_MAX_PAGES", default=100)
"""Requests that one process works on at once: calls of `/v1`, and all others."""
DRAIN_SECONDS = env.float("MESH_DRAIN_SECONDS", default=1.0)
"""For how long a process that is told to stop serves on, not ready any more."""
refuse_too_little(1, MESH_WEB_WORKERS=WEB_WORKERS, MESH_MAX_CALLS=MAX_CALLS, MESH_MAX_PAGES=MAX_PAGES)
refuse_too_little(0, MESH_DRAIN_SECONDS=DRAIN_SECONDS)
LEDGER_AWAY = env.str("MESH_LEDGER_AWAY", default="refuse", choices=("refuse", "serve"))
"""Whether calls are made while the database cannot take their rows; those that are made go to the journal."""
USAGE_DAYS = env.int("MESH_USAGE_DAYS", default=400)
"""For how long single calls are kept; their sums by the day stay."""
refuse_too_little(32, MESH_USAGE_DAYS=USAGE_DAYS)
LOCAL_MODEL = env("MESH_LOCAL_MODEL", default="smollm2")
"""A GGUF file, the name of the built-in model, or `off`."""
MODEL_FOLDERS = env.list("MESH_MODEL_FOLDERS", default=[])
"""Folders below which engines may read local weights."""
CUSTOM_CLASSES = env.list("MESH_CUSTOM_CLASSES", default=[])
"""Classes of installed packages that engines may run, as `module:Class`."""
ENGINE_PYTHON = env("MESH_ENGINE_PYTHON", default="")
"""The interpreter of engines; empty: that of `.venv-engines` where it exists, else our own."""
ENGINE_HOST = env("MESH_ENGINE_HOST", default="127.0.0.1")
"""The address of this machine at which its engines listen."""

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.forms",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "django_filters",
    "django_htmx",
    "template_partials",
    "allauth",
    "allauth.account",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_structlog",
    "llmmesh",
    "access",
    "connections",
    "gateway",
    "playground",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "llmmesh.middleware.PlainAddresses",
    "llmmesh.middleware.ChunkedBodies",
    "csp.middleware.CSPMiddleware",
    "llmmesh.middleware.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "access.middleware.SessionLimits",
]
ROOT_URLCONF = "llmmesh.urls"
ASGI_APPLICATION = "llmmesh.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "llmmesh.context.page",
            ],
        },
    }
]
FORM_RENDERER = "llmmesh.forms.Renderer"

SQLITE_PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;"
DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'mesh.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": DATA_DIR / "test.sqlite3"}  # threads cannot share one in memory
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": SQLITE_PRAGMAS,
    }
else:
    DATABASES["default"]["ENGINE"] = "django.db.backends.postgresql"
    DATABASES["default"]["OPTIONS"] = {
        **DATABASES["default"].get("OPTIONS", {}),
        "pool": {"min_size": 1, "max_size": 10, "timeout": 5, "reconnect_timeout": 5},
        # a line on which nothing is heard any more is dead after some seconds, not after hours
        "connect_timeout": 3,
        "tcp_user_timeout": 5000,
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "options": "-c lock_timeout=3000 -c statement_timeout=15000 -c idle_in_transaction_session_timeout=30000",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ, TIME_ZONE, LANGUAGE_CODE = True, "UTC", "en-gb"

REDIS_URL = env("REDIS_URL", default="")
"""Empty on a single machine until `manage.py up` has started its own Valkey."""
CELERY_BROKER_URL = broker_url(REDIS_URL) or "memory://"
CELERY_TASK_PUBLISH_RETRY = False  # nobody waits for the broker: the sweeper announces again
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "socket_keepalive": True,
    "socket_connect_timeout": 2,
    "socket_timeout": 30,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "generations"
CELERY_TASK_ROUTES = {"connections.tasks.*": {"queue": "health"}}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
CELERY_BEAT_SCHEDULE = {
    "sweep-jobs": {"task": "gateway.tasks.sweep_jobs", "schedule": 5.0},
    "sweep-leases": {"task": "gateway.tasks.sweep_leases", "schedule": 10.0},
    "watch-budgets": {"task": "gateway.tasks.watch_budgets", "schedule": 10.0},
    "forget-answers": {"task": "gateway.tasks.forget_answers", "schedule": 300.0},
    "add-up-calls": {"task": "gateway.tasks.add_up_calls", "schedule": 60.0},
    "keep-ledger": {"task": "gateway.tasks.keep_ledger", "schedule": 3600.0},
    "schedule-checks": {"task": "connections.tasks.schedule_checks", "schedule": 10.0},
    "trim-checks": {"task": "connections.tasks.trim_checks", "schedule": 3600.0},
}
CELERY_TIMEZONE = "UTC"

vars().update(env.email_url("MESH_MAIL_URL", default="dummymail://"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env("MESH_MAIL_FROM", default="llm-mesh@localhost")


AUTH_USER_MODEL = "access.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "access.adapter.AccountAdapter"
ACCOUNT_RATE_LIMITS = {"login_failed": "10/15m/ip,10/15m/key"}
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_FORMS = {"login": "access.forms.SignInForm", "change_password": "access.forms.PasswordForm"}
CACHES = {
    "default": (
        {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
        if REDIS_URL
        else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    )
}

SECURE = BASE_URL.startswith("https://")
SESSION_COOKIE_NAME = "__Host-session" if SECURE else "mesh_session"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_HTTPONLY = True
CSRF_USE_SESSIONS = True
CSRF_FAILURE_VIEW = "llmmesh.views.csrf_failed"
SECURE_SSL_REDIRECT = SECURE
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 2**20
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_000
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}

LOGGING = logs.configuration(env.str("MESH_LOG_LEVEL", default="WARNING", choices=logs.LEVELS))

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["access.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["access.permissions.DenyAll"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["llmmesh.api.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "llmmesh.api.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": ["llmmesh.api.FilterBackend"],
    "EXCEPTION_HANDLER": "llmmesh.api.exception_handler",
    "STRICT_JSON": True,
    "PAGE_SIZE": 100,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "LLM Mesh",
    "DESCRIPTION": "Everything the pages do, for programs. Send an API key as `Authorization: Bearer mesh_…`. "
    "Models are asked at `/v1`, in the form of OpenAI's API.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "ENFORCE_NON_BLANK_FIELDS": True,
    "SERVE_PERMISSIONS": ["access.permissions.AllowAny"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "gateway.openapi.add_v1",
        "gateway.openapi.add_refusals",
    ],
    "ENUM_NAME_OVERRIDES": {
        "JobStateEnum": "gateway.models.Job.State",
        "UsageStateEnum": "gateway.models.Usage.State",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
