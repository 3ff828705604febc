"""How many requests a token may make: so many a minute, counted in the broker's Redis, or in memory where none is.

A store that cannot be reached limits nobody: it is logged, and the request goes on.
"""

import time
from dataclasses import dataclass
from functools import cache

import redis
import structlog
from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse

from labeling.api.problems import TooMany
from labeling.models import ApiToken

WINDOW = 60
"""Seconds."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Spent:
    """What is left of a token's requests, and the seconds until it has all of them again."""

    limit: int
    left: int
    reset: int


def spend(request: HttpRequest, token: ApiToken) -> None:
    """Count one request of the token. Raises TooMany where it has none left."""
    limit = settings.API_REQUESTS_PER_MINUTE
    now = time.time()
    window = int(now // WINDOW)
    try:
        used = _count(f"{token.pk}:{window}")
    except (redis.RedisError, OSError) as error:
        log.warning("requests are not counted", error=str(error))
        return
    spent = Spent(limit, max(limit - used, 0), max(1, round((window + 1) * WINDOW - now)))
    request.spent = spent  # type: ignore[attr-defined]
    if used > limit:
        raise TooMany(spent.reset)


def write_headers(request: HttpRequest, response: HttpResponse) -> None:
    """Say in the answer what is left, as the IETF's draft on RateLimit headers has it."""
    spent = getattr(request, "spent", None)
    if isinstance(spent, Spent):
        response["RateLimit-Policy"] = f'"token";q={spent.limit};w={WINDOW}'
        response["RateLimit"] = f'"token";r={spent.left};t={spent.reset}'


def _count(key: str) -> int:
    if settings.API_COUNTS_URL:
        store_of_all = _redis(settings.API_COUNTS_URL)
        used = int(store_of_all.incr(f"tandem:limits:{key}"))
        if used == 1:
            store_of_all.expire(f"tandem:limits:{key}", 2 * WINDOW)
        return used
    store = caches["limits"]
    store.add(key, 0, timeout=2 * WINDOW)
    return int(store.incr(key))


@cache
def _redis(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_connect_timeout=0.2, socket_timeout=0.5)
