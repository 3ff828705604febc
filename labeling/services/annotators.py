"""By what names people go in files: those who labelled here, those who settled, and those whom a file brought.

A person here and an annotator of a file may have one name. An export marks the latter, and an import knows the mark.
"""

from collections.abc import Collection

from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef

from labeling.models import Label, Project
from labeling.services.given_labels import ADJUDICATION, LONGEST_NAME

IMPORTED = " (imported)"
"""What follows an imported name that is also a user's."""


def labelling_in(project: Project) -> frozenset[str]:
    """The names of the users who have labelled or settled pairs of the project."""
    given = Label.objects.filter(annotator=OuterRef("pk"), pair__project=project)
    return frozenset(User.objects.filter(Exists(given)).values_list("username", flat=True))


def as_exported(name: str, users: Collection[str]) -> str:
    """An imported name, marked if one of these users goes by it; if it has marks already it gets one more."""
    bare = name
    while bare.endswith(IMPORTED):
        bare = bare.removesuffix(IMPORTED)
    if bare.removesuffix(ADJUDICATION) not in users:
        return name
    return f"{name[: LONGEST_NAME - len(IMPORTED)]}{IMPORTED}"
