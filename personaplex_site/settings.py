"""All settings, read from the environment. ``.env.example`` says what each means."""

import re
from pathlib import Path

import dj_database_url

from personaplex_site import policies
from personaplex_site.env import (
    envbool,
    envint,
    envlist,
    envnetworks,
    envone,
    envpath,
    envprefix,
    envstr,
    envurl,
)

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = envpath("DATA_DIR", BASE_DIR / "var")

DEBUG = envbool("DEBUG", False)
SECRET_KEY = envstr("SECRET_KEY")
WORKER_SECRET = envstr("WORKER_SECRET")
ALLOWED_HOSTS = envlist("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = envlist("CSRF_TRUSTED_ORIGINS", "")
HTTPS = envbool("HTTPS", False)
TRUSTED_PROXIES = envnetworks("TRUSTED_PROXIES", "")
URL_PREFIX = envprefix("URL_PREFIX", "")
FORCE_SCRIPT_NAME = URL_PREFIX or None

INSTALLED_APPS = [
    "daphne",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
    "personaplex_site",
    "personas",
    "conversations",
    "inference",
]

MIDDLEWARE = [
    "personaplex_site.addresses.client_address_middleware",
    "personaplex_site.middleware.permissions_middleware",
    "personaplex_site.middleware.nul_middleware",
    "personaplex_site.error_pages.json_errors_middleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "personaplex_site.middleware.SignInMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "personaplex_site.middleware.ContentPolicyMiddleware",
    "personaplex_site.accounts.CrowdMiddleware",
]

CSRF_FAILURE_VIEW = "personaplex_site.error_pages.form_refused"
ROOT_URLCONF = "personaplex_site.urls"
ASGI_APPLICATION = "personaplex_site.asgi.application"
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
                "personaplex_site.context.site",
            ]
        },
    }
]

# A connection is given back after each request and each piece of work: a thread that
# kept one would hold it until the garbage collector found the thread.
DATABASES = {
    "default": dj_database_url.parse(
        envurl("DATABASE_URL", "postgres", "postgresql"),
        conn_max_age=0,
        conn_health_checks=True,
    )
}
# Most connections of each process; personaplex_site/databases.py makes the pools.
DB_POOL_WEB = envint("DB_POOL_WEB", 8, least=8)
DB_POOL_PAGES = envint("DB_POOL_PAGES", 6, least=1)
DB_POOL_CELERY = envint("DB_POOL_CELERY", 3, least=2)
DB_POOL_SECONDS = envint("DB_POOL_SECONDS", 3, least=1)
WEB_PROCESSES = envint("WEB_PROCESSES", 1, least=1)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = envurl("REDIS_URL", "redis", "rediss", "unix")
MAX_REDIS_CONNECTIONS = envint("MAX_REDIS_CONNECTIONS", 16, least=4)
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [{"address": REDIS_URL, "max_connections": MAX_REDIS_CONNECTIONS}],
            "prefix": "personaplex",
        },
    }
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        # Of one thread: Django gives each a cache, and so a pool, of its own.
        "OPTIONS": {
            "max_connections": 2,
            "socket_connect_timeout": 5,
            "socket_timeout": 5,
        },
    }
}

CELERY_BROKER_URL = REDIS_URL
CELERY_BROKER_POOL_LIMIT = MAX_REDIS_CONNECTIONS
CELERY_PROCESSES = envint("CELERY_PROCESSES", 2, least=1)
CELERY_WORKER_CONCURRENCY = CELERY_PROCESSES
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_SEND_TASK_EVENTS = False
# A killed worker's tasks come back after the visibility timeout. One that takes
# longer runs twice, so every task is idempotent; voice uploads hold a lease.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 60,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 5,
}
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "celerybeat-schedule")
# ``expires``: behind long tasks, beats that came late are dropped, not piled up.
CELERY_BEAT_SCHEDULE = {
    "end abandoned conversations": {
        "task": "personaplex_site.tasks.end_abandoned_conversations",
        "schedule": 5,
        "options": {"expires": 5},
    },
    "recover voice uploads": {
        "task": "personas.tasks.recover_uploads",
        "schedule": 5,
        "options": {"expires": 5},
    },
    "look for the voices of models": {
        "task": "personas.tasks.look_for_presets",
        "schedule": 3,
        "options": {"expires": 3},
    },
    "clean up voices": {
        "task": "personas.tasks.clean_up_voices",
        "schedule": 3600,
        "options": {"expires": 3600},
    },
    "expire audit records": {
        "task": "personaplex_site.tasks.expire_audit_records",
        "schedule": 3600,
        "options": {"expires": 3600},
    },
    "expire hardware samples": {
        "task": "personaplex_site.tasks.expire_hardware_samples",
        "schedule": 3600,
        "options": {"expires": 3600},
    },
    "expire sign-ins": {
        "task": "personaplex_site.tasks.expire_sign_ins",
        "schedule": 3600,
        "options": {"expires": 3600},
    },
    "expire web sessions": {
        "task": "personaplex_site.tasks.expire_web_sessions",
        "schedule": 3600,
        "options": {"expires": 3600},
    },
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_HASHERS = [
    "personaplex_site.hashing.Argon2Hasher",
    "personaplex_site.hashing.PBKDF2Hasher",
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "persona_list"
LOGOUT_REDIRECT_URL = "login"
# Failed attempts within the window, until the oldest of them leaves it.
SIGN_IN_WINDOW_SECONDS = envint("SIGN_IN_WINDOW_SECONDS", 600, least=1)
LOGIN_FAILURE_LIMIT = envint("LOGIN_FAILURE_LIMIT", 10, least=1)
SIGN_IN_ADDRESS_FAILURES = envint("SIGN_IN_ADDRESS_FAILURES", 50, least=1)
SIGN_IN_NAME_FAILURES = envint("SIGN_IN_NAME_FAILURES", 100, least=1)
SIGN_IN_PARALLEL = envint("SIGN_IN_PARALLEL", 1, least=1)
SIGN_IN_WAITING = envint("SIGN_IN_WAITING", 2)
SIGN_IN_WAIT_SECONDS = envint("SIGN_IN_WAIT_SECONDS", 5)
SIGN_IN_LOG_DAYS = envint("SIGN_IN_LOG_DAYS", 30, least=1)
SIGN_IN_LOG_ROWS = envint("SIGN_IN_LOG_ROWS", 1_000_000, least=1)

# Headers and cookies. Cookies have names of our own: those of Django would be those
# of any other Django site on the same host, whatever its port or path, and the later
# one would sign people out of the earlier. A site below a path has names for that path,
# since a cookie of the host's root comes along with its own.
_COOKIES = "personaplex" + URL_PREFIX.replace("/", "_")
SESSION_ENGINE = "personaplex_site.sessions"
SESSION_COOKIE_NAME = f"{_COOKIES}_session"
CSRF_COOKIE_NAME = f"{_COOKIES}_csrf"
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = URL_PREFIX or "/"
# Else in a cookie named "messages", as in every Django site.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
# The first middleware drops the header where no trusted proxy vouches for it.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = HTTPS
# Asked from inside, past the proxy: by supervisors and by inference workers.
SECURE_REDIRECT_EXEMPT = [
    f"^{re.escape(f'{URL_PREFIX}/'[1:])}{path}" for path in ("healthz$", "api/workers/")
]
HSTS_SECONDS = envint("HSTS_SECONDS", 30 * 24 * 3600)
SECURE_HSTS_SECONDS = HSTS_SECONDS if HTTPS else 0
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {"DIRECTIVES": policies.CONTENT}

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False
FORMAT_MODULE_PATH = "personaplex_site.formats"
STATIC_URL = f"{URL_PREFIX}/static/"
UNFOLD = {
    "SITE_TITLE": "PersonaPlex admin",
    "SITE_HEADER": "PersonaPlex",
    "SITE_URL": f"{URL_PREFIX}/",  # where the admin leads back to
}
STATIC_ROOT = envpath("STATIC_ROOT", DATA_DIR / "static")
STATIC_KEPT_DAYS = envint("STATIC_KEPT_DAYS", 7)
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "personaplex_site.media_storage.WholeFileStorage"},
    "staticfiles": {
        "BACKEND": "personaplex_site.static_storage.HashedStaticFilesStorage"
    },
}
MEDIA_ROOT = envpath("MEDIA_ROOT", DATA_DIR / "media")

# Personas and voices.
ROLE_PROMPT_MAX_CHARACTERS = envint("ROLE_PROMPT_MAX_CHARACTERS", 2000, least=1)
VOICE_MIN_SECONDS = envint("VOICE_MIN_SECONDS", 3)
VOICE_MAX_SECONDS = envint("VOICE_MAX_SECONDS", 60)
VOICE_USED_SECONDS = envint("VOICE_USED_SECONDS", 12)
VOICE_MAX_BYTES = envint("VOICE_MAX_BYTES", 30 * 1024 * 1024, least=1)
# Pages are bounded however many objects a user has.
PERSONAS_PER_PAGE = envint("PERSONAS_PER_PAGE", 50, least=1, most=200)
VOICES_PER_PAGE = envint("VOICES_PER_PAGE", 25, least=1, most=200)
MAX_VOICE_CHOICES = envint("MAX_VOICE_CHOICES", 100, least=1, most=500)
DRAFT_DAYS = envint("DRAFT_DAYS", 30, least=1)
MAX_DRAFTS = envint("MAX_DRAFTS", 20, least=1)
VOICE_DECODE_MB = envint("VOICE_DECODE_MB", 256, least=16)
# No request is larger than a voice sample and the form around it.
MAX_BODY_BYTES = VOICE_MAX_BYTES + 1024 * 1024
FILE_UPLOAD_HANDLERS = ["personas.upload_handler.BoundedUploadHandler"]

# Pages: processes of their own behind the web process, which relays requests to them.
PAGES_SOCKET = envstr("PAGES_SOCKET", "")
PAGE_PROCESSES = envint("PAGE_PROCESSES", 2, least=1)
PAGE_THREADS = envint("PAGE_THREADS", 4, least=1)
PAGE_NICE = envint("PAGE_NICE", 19, most=19)
PAGE_MAX_REQUESTS = envint("PAGE_MAX_REQUESTS", 10_000)
PAGE_MAX_MB = envint("PAGE_MAX_MB", 400, least=150)
PAGE_SECONDS = envint("PAGE_SECONDS", 60, least=1)
# The gate before them.
PAGE_PARALLEL = PAGE_PROCESSES * PAGE_THREADS
REQUESTS_PER_SECOND = envint("REQUESTS_PER_SECOND", 600, least=10)
REQUESTS_BURST = envint("REQUESTS_BURST", 300, least=10)
PAGE_WAITING = envint("PAGE_WAITING", 250)
PAGE_WAIT_SECONDS = envint("PAGE_WAIT_SECONDS", 5, least=1)
MAX_UPLOADS = envint("MAX_UPLOADS", 2, least=1)
MAX_DOWNLOADS = envint("MAX_DOWNLOADS", 4, least=1)
SMALL_BODY_BYTES = envint("SMALL_BODY_BYTES", 16_384, least=8_192)
MAX_BODIES_MB = envint("MAX_BODIES_MB", 100, least=1)
HEAD_SECONDS = envint("HEAD_SECONDS", 20, least=1)
BODY_SECONDS = envint("BODY_SECONDS", 60, least=1)
SEND_SECONDS = envint("SEND_SECONDS", 30, least=1)

# Conversations.
# Four hours at most: what a frame log reader reads (conversations/frame_log/reader.py).
CONVERSATION_MAX_SECONDS = envint(
    "CONVERSATION_MAX_SECONDS", 1800, least=1, most=14_400
)
CONVERSATION_INACTIVITY_SECONDS = envint("CONVERSATION_INACTIVITY_SECONDS", 30, least=1)
CONVERSATIONS_PER_USER = envint("CONVERSATIONS_PER_USER", 3, least=1)
CONVERSATIONS_PER_PAGE = envint("CONVERSATIONS_PER_PAGE", 25, least=1, most=200)
# Of one socket, all kinds of messages together. A page sends 12.5 frames a second
# (PCM: 48 kB), 1 or 2 figures, and catches up on 10 s after a network stalled.
SOCKET_MESSAGES_PER_SECOND = envint("SOCKET_MESSAGES_PER_SECOND", 25, least=16)
SOCKET_BURST_MESSAGES = envint("SOCKET_BURST_MESSAGES", 250, least=160)
SOCKET_BYTES_PER_SECOND = envint("SOCKET_BYTES_PER_SECOND", 100_000, least=60_000)
SOCKET_BURST_BYTES = envint("SOCKET_BURST_BYTES", 1_000_000, least=600_000)
SOCKET_OPENINGS_PER_MINUTE = envint("SOCKET_OPENINGS_PER_MINUTE", 60, least=1)
SOCKET_OPENINGS_BURST = envint("SOCKET_OPENINGS_BURST", 30, least=5)
SOCKET_COOLDOWN_SECONDS = envint("SOCKET_COOLDOWN_SECONDS", 10)
SOCKET_CHECK_SECONDS = envint("SOCKET_CHECK_SECONDS", 20, least=1)
RESUME_SECONDS = envint("RESUME_SECONDS", 30, least=1)
RECOVER_SECONDS = envint("RECOVER_SECONDS", 25, least=1)
WEB_LOST_SECONDS = envint("WEB_LOST_SECONDS", 25, least=5)
QUEUE_PLACES = envint("QUEUE_PLACES", 200, least=1)
QUEUE_SECONDS = envint("QUEUE_SECONDS", 900, least=1)
MAX_LOOP_LAG_MS = envint("MAX_LOOP_LAG_MS", 20, least=1)
MAX_LOOP_CPU_PERCENT = envint("MAX_LOOP_CPU_PERCENT", 85, least=1)
WHEN_FULL = envone("WHEN_FULL", "slide", "end")
# 1.6 s: what a killed web process may lose, with time to spare for the write.
CHUNK_FRAMES = envint("CHUNK_FRAMES", 20, least=1)
MAX_FRAME_LOG_MB = envint("MAX_FRAME_LOG_MB", 256, least=16)
OPUS_BITRATE = envint("OPUS_BITRATE", 64_000, least=6_000, most=510_000)
OPUS_COMPLEXITY = envint("OPUS_COMPLEXITY", 0, most=10)

# Inference workers.
WORKER_STALE_SECONDS = envint("WORKER_STALE_SECONDS", 15, least=1)
HARDWARE_SAMPLE_SECONDS = envint("HARDWARE_SAMPLE_SECONDS", 10)
HARDWARE_SAMPLE_DAYS = envint("HARDWARE_SAMPLE_DAYS", 14)

# Who looked at what belongs to others.
AUDIT_DAYS = envint("AUDIT_DAYS", 365, least=1)

# Logs.
LOG_LEVEL = envone("LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "conversation": {"()": "personaplex_site.logs.ConversationFilter"},
        "refusals": {"()": "personaplex_site.logs.RefusalFilter"},
        "repeats": {"()": "personaplex_site.logs.RepeatFilter"},
    },
    "formatters": {
        "line": {
            "format": "{asctime} {levelname} {name} [{conversation}] {message}",
            "style": "{",
        }
    },
    "handlers": {
        "stderr": {
            "class": "personaplex_site.lost_lines.StderrHandler",
            "filters": ["conversation", "refusals"],
            "formatter": "line",
        },
        # Of what reports at every attempt that a server is away.
        "stderr_once": {
            "class": "personaplex_site.lost_lines.StderrHandler",
            "filters": ["conversation", "repeats"],
            "formatter": "line",
        },
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        **{
            name: {"handlers": ["stderr_once"], "propagate": False}
            for name in (
                *("celery", "kombu", "redis", "channels_redis"),
                "personaplex_site.front.health",
            )
        },
        # A line for every task that the clock sends, every few seconds. Tasks say
        # themselves what they did.
        "celery.beat": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        # Failed tasks are no repetition of each other.
        "celery.app.trace": {
            "handlers": ["stderr"],
            "propagate": False,
            "level": "WARNING",
        },
        "httpx": {"level": "WARNING"},
        # A line for every HEAD.
        "gunicorn.http.wsgi": {"level": "ERROR"},
        # A line for every connection that is taken or given back.
        "psycopg.pool": {"level": "WARNING"},
        "django": {"handlers": [], "propagate": True},
        "django.server": {"handlers": [], "propagate": True},
    },
}
