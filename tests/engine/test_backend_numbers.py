"""Where a model gives no number there is no verdict: it is counted as unparsed, and never a side."""

import math
from pathlib import Path
from typing import Any

import pytest

from genrm_engine.backends import BackendSpec, load_backend
from genrm_engine.backends.reading import letter_share, share
from genrm_engine.judge import judge
from genrm_engine.types import JudgeSettings
from tests.engine.conftest import make_pair

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(NAN, 0.0, None), (0.0, NAN, None), (INF, INF, None), (-INF, -INF, None), (0.0, -INF, 1.0), (-2.0, -2.0, 0.5)],
)
def test_a_share_of_what_is_no_number_is_none(first: float, second: float, expected: float | None) -> None:
    assert share(first, second) == expected


@pytest.mark.parametrize("candidates", [{"A": NAN, "B": -1.0}, {"A": -INF, "B": -INF}])
def test_a_letter_stands_as_written_where_its_candidates_are_no_numbers(candidates: dict[str, float]) -> None:
    assert letter_share(candidates, first=False) == 0.0
    assert letter_share(candidates, first=True) == 1.0


@pytest.mark.model
@pytest.mark.parametrize("method", ["score", "cot"])
def test_a_model_that_computes_no_numbers_gives_no_verdict(tiny_model: Path, method: Any) -> None:
    backend: Any = load_backend(BackendSpec("transformers", str(tiny_model), device="cpu", dtype="float32", threads=1))
    backend.model.model.norm.weight.data.fill_(NAN)
    settings = JudgeSettings(method=method, samples_per_order=2, max_rationale_tokens=5)
    [found] = judge([make_pair(1)], backend=backend, settings=settings)
    backend.close()
    assert found.unparsed == found.samples
    assert (found.votes_a, found.votes_b, found.p_a, found.consistent) == (0, 0, 0.5, False)


@pytest.mark.model
@pytest.mark.parametrize("kind", ["bradley-terry", "pairrm"])
@pytest.mark.parametrize("value", [NAN, INF])
def test_a_head_that_gives_no_number_gives_no_verdict(tiny_model: Path, kind: str, value: float) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from genrm_engine.backends.heads import HeadBackend

    folder = tiny_model.with_name(f"{kind}-{value}")
    model: Any = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    model.config.tandem_head = kind
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    backend: Any = HeadBackend(BackendSpec("transformers", str(folder), device="cpu", dtype="float32", threads=1))
    backend.model.score.register_forward_hook(lambda module, given, out: out * value)
    [found] = judge([make_pair(1)], backend=backend, settings=JudgeSettings())
    backend.close()
    assert found.unparsed == found.samples == 2
    assert (found.votes_a, found.votes_b) == (0, 0)
