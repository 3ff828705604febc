"""The page of frozen datasets: the form, the list, the downloads."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from labeling.models import DatasetVersion, Deployment, Project
from labeling.services import dataset_versions
from tests.factories import LabelFactory, PairFactory

URL = "/p/stories/datasets/"
ASKED = {"name": "spring-1", "source": "human", "form": "full", "format": "ndjson"}


@pytest.fixture
def labelled(project: Project) -> Project:
    LabelFactory.create(pair=PairFactory.create(project=project))
    return project


def test_a_version_is_asked_for_and_the_page_waits_for_it(as_alice: Client, labelled: Project, home: Path) -> None:
    assert "None yet" in as_alice.get(URL).content.decode()
    answer = as_alice.post(URL, {**ASKED, "form": "kto"}, follow=True)
    assert answer.redirect_chain == [(URL, 302)]
    page = answer.content.decode()
    assert "data-poll" in page
    assert "waiting for a worker" in page
    dataset = DatasetVersion.objects.get()
    assert (dataset.filters["shape"], dataset.filters["profile"]) == ("kto", "strict")
    dataset_versions.write(dataset.pk)
    part = as_alice.get(URL, headers={"HX-Request": "true"}).content.decode()
    assert "<form" not in part
    assert "data-poll" not in part
    dataset.refresh_from_db()
    assert dataset.sha256 in part
    file = as_alice.get(f"/datasets/{dataset.pk}/file/")
    assert len(b"".join(file.streaming_content).splitlines()) == 2  # type: ignore[attr-defined]
    assert as_alice.get(f"/datasets/{dataset.pk}/manifest/").json()["sha256"] == dataset.sha256
    card = as_alice.get(f"/datasets/{dataset.pk}/card/")
    assert card["Content-Disposition"] == 'attachment; filename="README.md"'
    assert dataset.sha256 in card.content.decode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "../up"}, "Letters, digits"),
        ({"name": ""}, "This field is required"),
        ({"form": "kto", "ties": "soft"}, "With shape=kto ties can only be drop or keep."),
        ({"min_confidence": "50"}, "A person&#x27;s own label has no confidence"),
        ({"source": "judge", "judge": "nobody"}, "The project has no version &#x27;nobody&#x27;."),
    ],
)
def test_a_refusal_stands_at_its_field(
    as_alice: Client, labelled: Project, champion: Deployment, change: dict[str, str], words: str
) -> None:
    answer = as_alice.post(URL, {**ASKED, **change})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "Nothing was frozen" in page
    assert words in page
    assert not DatasetVersion.objects.exists()


def test_a_taken_name_stands_at_the_name(as_alice: Client, labelled: Project) -> None:
    as_alice.post(URL, ASKED)
    answer = as_alice.post(URL, ASKED)
    assert answer.status_code == 422
    assert answer.context["form"].errors["name"] == ["The project has a version 'spring-1' already."]


def test_confidence_is_given_in_per_cent(as_alice: Client, labelled: Project) -> None:
    as_alice.post(URL, {**ASKED, "source": "consensus", "min_confidence": "75"})
    assert DatasetVersion.objects.get().filters["min_confidence"] == 0.75


def test_the_list_takes_few_queries(as_alice: Client, labelled: Project, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        DatasetVersion.objects.create(project=labelled, name=f"v{number}", filters={"source": "human"})
    with django_assert_max_num_queries(8):
        assert as_alice.get(URL).status_code == 200
