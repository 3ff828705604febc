"""Parameters of an address: one that its route does not know is refused, as an unknown field of a body is."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest
from ninja.operation import Operation

from labeling.api.problems import Invalid

View = Callable[..., Any]


def refuse_unknown(view: View) -> View:
    """Decorates the function of every route: a misspelled filter must not give everything."""
    known = _known(vars(view)["_ninja_operation"])

    @wraps(view)
    def answer(request: HttpRequest, **given: Any) -> Any:
        unknown = [(name, "this route has no such parameter") for name in request.GET if name not in known]
        if unknown:
            raise Invalid(*unknown)
        return view(request, **given)

    return answer


def _known(operation: Operation) -> frozenset[str]:
    queries = [model for model in operation.models if model.__ninja_param_source__ == "query"]
    return frozenset(name for model in queries for name in vars(model)["__ninja_flatten_map__"])
