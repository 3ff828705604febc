"""Whether Tandem works: a page for people, and a line for load balancers that tells strangers nothing more."""

from celery import current_app
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from kombu.exceptions import OperationalError

from labeling import queries
from labeling.http import LabelerRequest, page, render_page

BROKER_SECONDS = 1


@never_cache
@require_safe
def healthz(_request: HttpRequest) -> HttpResponse:
    """200 as long as the database answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"status": "degraded", "database": "unreachable"}, status=503)
    return JsonResponse({"status": "ok", "database": "ok"})


@page("GET")
def health_page(request: LabelerRequest) -> HttpResponse:
    context = {"health": queries.system_health(broker_ok=_broker_answers())}
    return render_page(request, "health.html", "health", context)


def _broker_answers() -> bool:
    try:
        with current_app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=0, timeout=BROKER_SECONDS)
    except (OperationalError, ConnectionError):
        return False
    return True
