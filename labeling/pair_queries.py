"""Reads of the list of a project's pairs, found by name or a word of the prompt. Shows no verdict, writes nothing."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Case, Count, Exists, IntegerField, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, Left

from labeling.flag_queries import in_prompt
from labeling.models import Claim, Label, Pair, Project
from labeling.services.claims import SEEN

EXCERPT = 160

_LABELS = Label.objects.filter(pair=OuterRef("pk"), withdrawn=False)
_SKIPS = Claim.objects.filter(pair=OuterRef("pk"), state=Claim.State.SKIPPED).exclude(skip_reason=SEEN)
"""Not those of people who are kept away from the pair."""
_ASKED = Case(When(prompt__0__role="system", then=KT("prompt__1__content")), default=KT("prompt__0__content"))

SHOWS = {
    "": ("All", Q()),
    "labelled": ("Labelled", Q(Exists(_LABELS))),
    "unlabelled": ("Not yet labelled", ~Q(Exists(_LABELS))),
    "skipped": ("Skipped", Q(Exists(_SKIPS))),
    "ambiguous": ("Ambiguous", Q(ambiguous=True)),
}
"""By what the address has as ``show``: the name of the part, and which pairs are in it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What part of the list somebody looks at; empty fields leave everything in."""

    show: str = ""
    text: str = ""

    @property
    def query(self) -> str:
        """As the page's address has it; empty for the whole list."""
        return urlencode([(name, value) for name in ("show", "text") if (value := getattr(self, name))])


def parts_for(wanted: Listed) -> list[tuple[str, str, str]]:
    """Every part of the list: what the address has, its name, and the query that shows it under the same search."""
    return [(show, name, Listed(show, wanted.text).query) for show, (name, _) in SHOWS.items()]


def pairs_for(project: Project, wanted: Listed) -> QuerySet[Any]:
    """The pairs, first imported first, each with the beginning of its prompt, the ``labels_given`` by people here or
    in a file, how many have ``skips``, and the ``newest`` reason among them.
    """
    _, part = SHOWS[wanted.show]
    found = Pair.objects.filter(part, project=project)
    if wanted.text:
        found = found.filter(Q(external_id__icontains=wanted.text) | in_prompt(wanted.text))
    given = _LABELS.exclude(source=Label.Source.ADJUDICATION)
    return (
        found.only("external_id", "extra_labels", "ambiguous")
        .annotate(
            excerpt=Left(_ASKED, EXCERPT),
            labels_given=_count(given),
            skips=_count(_SKIPS),
            newest=Subquery(_SKIPS.exclude(skip_reason="").order_by("-expires_at").values("skip_reason")[:1]),
        )
        .order_by("pk")
    )


def _count(rows: QuerySet[Label] | QuerySet[Claim]) -> Coalesce:
    counted = rows.order_by().values("pair").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)
