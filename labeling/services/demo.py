"""The demo project: loaded once, by the ordinary importer."""

from pathlib import Path

from django.db import transaction

from labeling.models import Project
from labeling.services import deployments
from labeling.services.imports import import_file

SLUG = "demo"
GUIDELINES = """\
Choose the response that helps the person more.

- It answers what was asked, and all of it.
- Facts, numbers and steps are right.
- It is clear, polite and no longer than it needs to be.
"""


@transaction.atomic
def load_demo(path: Path) -> str:
    """Create the demo project with the file's pairs and a first judge unless it is there; says in one line what it did.

    Raises OSError where there is no such file and ImportRefused where nothing of it can be read; no project is left.
    """
    project, created = Project.objects.get_or_create(
        slug=SLUG,
        defaults={
            "name": "Demo: everyday questions",
            "guidelines": GUIDELINES,
            "retrain_method": Project.RetrainMethod.GENRM,  # what the embedded judge learns most from
        },
    )
    deployments.ensure_champion(project)
    if not created:
        return "The demo project is there."
    with path.open("rb") as file:
        batch = import_file(project, file=file, filename=path.name)
    return f"Demo project loaded: {batch.imported} pairs, {batch.labels} example labels."
