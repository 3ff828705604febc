"""Django settings of Tandem, all from one typed environment. Knows no request and no row."""

from pathlib import Path

import dj_database_url
import django_stubs_ext
import structlog
from csp.constants import NONE, SELF

from webapp.env import read_env, redis_url, secret_key, uploads_folder

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
ENV = read_env()
HOME = ENV.home.resolve()

SECRET_KEY = secret_key(ENV)
DEBUG = ENV.debug
ALLOWED_HOSTS = [host.strip() for host in ENV.allowed_hosts.split(",") if host.strip()]
CSRF_TRUSTED_ORIGINS = [origin.strip() for origin in ENV.csrf_trusted_origins.split(",") if origin.strip()]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "django_htmx",
    "django_structlog",
    "template_partials",
    "labeling",
    "workers",
    "webapp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "webapp.middleware.StaticFiles",
    "django.middleware.gzip.GZipMiddleware",
    "webapp.middleware.Sessions",
    "django.middleware.common.CommonMiddleware",
    "webapp.bodies.Bounded",
    "webapp.middleware.Csrf",
    "webapp.middleware.SignedIn",
    "webapp.middleware.Logged",
    "labeling.api.envelope.envelope",
    "webapp.middleware.Messages",
    "webapp.middleware.NoFrames",
    "webapp.middleware.ContentPolicy",
    "webapp.middleware.Htmx",
    "webapp.middleware.OwnClock",
    "webapp.middleware.FailedLogins",
]

# Their middleware is there, as classes of ours (`webapp.middleware`).
SILENCED_SYSTEM_CHECKS = ["axes.W002", "security.W002", "security.W003"]

ROOT_URLCONF = "webapp.urls"
ASGI_APPLICATION = "webapp.asgi.application"
WSGI_APPLICATION = "webapp.wsgi.application"

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
            ],
        },
    },
]

_database_url = ENV.database_url or f"sqlite:///{HOME / 'tandem.sqlite3'}"
DATABASES = {"default": dj_database_url.parse(_database_url, conn_max_age=60, conn_health_checks=True)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = False
    # A file as in earnest: the usual in-memory test database locks whole tables between threads.
    DATABASES["default"]["TEST"] = {"NAME": str(HOME / "test.sqlite3")}
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    DATABASES["default"]["ENGINE"] = "webapp.postgresql"
    # Statements that are sent with their values apart (`labeling.compiled`) are prepared at once.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("prepare_threshold", 0)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTHENTICATION_BACKENDS = [
    "webapp.sign_in.Lockout",
    "django.contrib.auth.backends.ModelBackend",
    "sesame.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 1  # hours
AXES_LOCKOUT_TEMPLATE = "lockout.html"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "webapp.sign_in.client_address"
SESAME_ONE_TIME = True
SESAME_MAX_AGE = 24 * 3600
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "labeling:projects"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"  # of what is stored, and where a browser names no zone
USE_I18N = False
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "webapp.static_files.StaticFiles"},
}
FILE_UPLOAD_TEMP_DIR = uploads_folder(ENV)  # `uploads.forget_old` tidies what a killed process leaves there
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024
"""Of a form's fields and of a body of the API; `webapp.bodies` counts the files in a form too."""

API_REQUESTS_PER_MINUTE = ENV.api_requests
"""Of one token. Counted in the broker's Redis, which all web processes share; where none is known, in each alone."""
_broker = redis_url(ENV) if ENV.redis_url or (ENV.home / "redis_url").exists() else ""
API_COUNTS_URL = _broker if _broker.startswith(("redis://", "rediss://", "unix://")) else ""
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "limits": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "limits",
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    },
}

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENV.secure_cookies
SESSION_COOKIE_HTTPONLY = True
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if ENV.secure_cookies:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# Celery reads these through `namespace="CELERY"`.
CELERY_BROKER_URL = redis_url(ENV)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,
    "socket_connect_timeout": 2,
    # A Redis that hangs hangs nobody who labels. Workers that wait for a job ask anew every second.
    "socket_timeout": 5,
    "socket_keepalive": True,
    "global_keyprefix": "tandem:",
}
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {
    "judging.*": {"queue": "judge"},
    "training.*": {"queue": "train"},
    # Long ones: in the default queue two of them would hold up the sweep.
    "imports.*": {"queue": "files"},
    "datasets.*": {"queue": "files"},
}
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5
CELERY_BEAT_SCHEDULE = {
    # What busy workers have not taken after three intervals is dropped: the next one does the same.
    "sweep": {
        "task": "housekeeping.sweep",
        "schedule": ENV.sweep_seconds,
        "options": {"expires": 3 * ENV.sweep_seconds},
    },
    "retraining-policy": {
        "task": "housekeeping.apply_retraining_policies",
        "schedule": ENV.policy_seconds,
        "options": {"expires": 3 * ENV.policy_seconds},
    },
}
CELERY_BEAT_SCHEDULE_FILENAME = str(HOME / "beat-schedule")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {
            "()": structlog.stdlib.ProcessorFormatter,
            # Not structlog's default, which writes every frame's variables (labels, keys) and takes most of a second.
            "processor": structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
            "foreign_pre_chain": [structlog.processors.TimeStamper(fmt="%H:%M:%S"), structlog.stdlib.add_log_level],
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": ENV.log_level},
    "loggers": {
        "django_structlog": {"level": "WARNING"},
        "axes": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
    },
}
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
