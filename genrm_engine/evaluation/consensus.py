"""One label out of several: annotators weighted by how reliable they are. Knows labels by annotator, no judge.

Dawid and Skene (1979, doi 10.2307/2346806), fitted by crowd-kit's expectation maximisation. Which response is stored
as A says nothing, so every pair enters twice, once mirrored: A and B are equally likely beforehand, and an annotator's
confusion of A with B equals that of B with A.
"""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

ITERATIONS = 100
LEAST_ANNOTATORS = 3
LEAST_SHARED = 20
"""With fewer pairs that two people labelled, reliability cannot be told from chance."""
LEAST_LABELS = 10
"""An annotator with fewer labels is taken for an average one."""
_FLOOR = 1e-6  # nobody is sure beyond this
_MIRROR = {"a": "b", "b": "a"}

Matrix = dict[str, dict[str, float]]
"""By the true label, then by what is said: its probability."""


@dataclass(frozen=True, slots=True)
class DawidSkene:
    """What was fitted: how frequent each label is, each reliable annotator's confusion matrix and the average one."""

    priors: dict[str, float]
    errors: dict[str, Matrix]
    average: Matrix
    labels: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        return cls(**row)

    def reliability(self, annotator: str) -> float | None:
        """How often the annotator says what is true; None for one with too few labels."""
        matrix = self.errors.get(annotator)
        return None if matrix is None else sum(self.priors[label] * matrix[label][label] for label in self.priors)


def fit(labels: Mapping[str, Mapping[str, str]]) -> DawidSkene | None:
    """Estimate the annotators' confusion matrices from labels by item and annotator.

    None where there are too few: three annotators and 20 items with two labels are needed.
    """
    import pandas as pd
    from crowdkit.aggregation.classification.dawid_skene import DawidSkene as CrowdKit

    annotators = {annotator for each in labels.values() for annotator in each}
    if len(annotators) < LEAST_ANNOTATORS or sum(len(each) > 1 for each in labels.values()) < LEAST_SHARED:
        return None
    rows = [(item, annotator, label) for item, each in sorted(labels.items()) for annotator, label in each.items()]
    mirrored = [(f"{item}\nmirrored", annotator, _MIRROR.get(label, label)) for item, annotator, label in rows]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="crowdkit")  # it calls pandas in ways that pandas has deprecated
        model = CrowdKit(n_iter=ITERATIONS).fit(pd.DataFrame(rows + mirrored, columns=["task", "worker", "label"]))
    assert model.priors_ is not None, "just fitted"
    assert model.errors_ is not None, "just fitted"
    names = [str(name) for name in model.priors_.index]
    counts = pd.Series([annotator for _, annotator, _ in rows]).value_counts()
    errors = model.errors_.reindex(columns=names).fillna(0.0)
    found = {str(name): _matrix(errors.loc[name].reindex(names).fillna(0.0), names) for name in counts.index}
    weights = counts / counts.sum()
    return DawidSkene(
        priors={name: float(model.priors_[name]) for name in names},
        errors={name: matrix for name, matrix in sorted(found.items()) if counts[name] >= LEAST_LABELS},
        average={
            true: {
                said: float(sum(weights[who] * found[str(who)][true][said] for who in counts.index)) for said in names
            }
            for true in names
        },
        labels=len(rows),
    )


def posterior(model: DawidSkene, labels: Mapping[str, str]) -> dict[str, float]:
    """The probability of each label, given what the annotators said; a label never seen before weighs nothing."""
    names = list(model.priors)
    log = np.log([model.priors[name] for name in names])
    for annotator, label in labels.items():
        if label in model.priors:
            matrix = model.errors.get(annotator, model.average)
            log = log + np.log([max(_FLOOR, matrix[true][label]) for true in names])
    shares = np.exp(log - log.max())
    return dict(zip(names, (shares / shares.sum()).tolist(), strict=True))


def _matrix(table: Any, names: list[str]) -> Matrix:
    """crowd-kit's table (what is said by row, what is true by column) as nested dictionaries."""
    return {true: {said: float(table.loc[said, true]) for said in names} for true in names}
