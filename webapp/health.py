"""Whether Tandem works: a page for people, and a line for load balancers that tells strangers nothing more."""

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from labeling import queries
from labeling.http import LabelerRequest, page, render_page


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 as long as the database answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"status": "degraded", "database": "unreachable"}, status=503)
    return JsonResponse({"status": "ok", "database": "ok"})


@page("GET")
def health_page(request: LabelerRequest) -> HttpResponse:
    return render_page(request, "health.html", "health", health=queries.system_health())
