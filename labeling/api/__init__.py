"""The REST API, version 1."""

from labeling.api import claims, datasets, flags, judge, judgements, judges, labels, pairs, projects, runs, stats
from labeling.api.auth import BearerToken
from labeling.api.openapi import DESCRIPTION, Api
from labeling.api.parameters import refuse_unknown
from labeling.api.problems import handle_errors

api = Api(title="Tandem", version="1", description=DESCRIPTION, auth=BearerToken(), docs_url=None)
for module in (projects, pairs, claims, labels, datasets, judgements, flags, runs, judges, judge, stats):
    api.add_router("", module.router)
api.add_decorator(refuse_unknown)
handle_errors(api)
