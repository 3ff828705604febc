"""Whether a judge's probabilities mean what they say, before and after calibration; knows no models.

Temperature scaling (Guo et al. 2017, arXiv 1706.04599) divides the logit by one number; isotonic regression (Zadrozny
and Elkan 2002) fits any rising curve. Both are fitted on every label twice, once mirrored (1 − p against the other
response), because which response is stored as A says nothing: a calibrated one half stays one half.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.bootstrap import group_of, mean
from genrm_engine.evaluation.curves import Bin, binned
from genrm_engine.evaluation.metrics import BINS, expected_calibration_error, negative_log_likelihood
from genrm_engine.types import Choice, Judgement, LabelledPair

FOLDS = 5
OTHERS = "other held-out labels"
CROSS = "the same labels, cross-fitted by group in {folds} folds"
SHARED = "calibration is fitted on pairs of a group that is measured: keep groups on one side"
LEAST_LABELS = 20
_EDGE = 1e-6  # a probability of 0 or 1 has no logit
_HOTTEST = 100.0  # at this temperature every probability is near one half

Floats = NDArray[np.float64]
Fit = Callable[[Floats, Floats], Callable[[Floats], Floats]]
"""From probabilities of A and whether A was chosen (1 or 0) to a function that calibrates probabilities."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """How good probabilities are: ECE over ten equal bins of P(A), NLL, Brier, and the bins' observed share of A."""

    ece: float
    nll: float
    brier: float
    curve: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability ``before`` and after each method; ``fitted_on`` says on which labels the methods were fitted.

    ``temperature`` is the scalar fitted on all labels that were used (above 1: the judge is too sure of itself). The
    methods are None where there were too few labels; ``fitted_on`` then says so.
    """

    n: int
    labels: int
    fitted_on: str
    before: Reliability
    temperature: float | None = None
    after_temperature: Reliability | None = None
    after_isotonic: Reliability | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def calibrate(
    judgements: Sequence[Judgement],
    rows: Sequence[LabelledPair],
    *,
    others: tuple[Sequence[Judgement], Sequence[LabelledPair]] | None = None,
    seed: int = 0,
) -> Calibration:
    """Measure calibration on ``rows``, with methods fitted on ``others`` (judgements and labels of other pairs).

    Without ``others`` the methods are cross-fitted: groups are dealt to five folds, and each fold is calibrated by what
    the other four fitted. At least one row must be judged, and 20 labels of two groups are needed to fit.
    """
    held = _Labels.of(judgements, rows)
    source = held if others is None else _Labels.of(*others)
    names = set(source.group_names)
    if others is not None and names & set(held.group_names):
        raise EngineError(SHARED)
    n, labels, before = len(held.p_a), len(source.p_a), held.reliability(held.p_a)
    if labels < LEAST_LABELS or len(names) < 2:
        return Calibration(n, labels, f"nothing: {labels} labels in {len(names)} groups are too few", before)
    folds = held.folds(seed) if others is None else None
    return Calibration(
        n=n,
        labels=labels,
        fitted_on=OTHERS if folds is None else CROSS.format(folds=int(folds.max()) + 1),
        before=before,
        temperature=fit_temperature(source.p_a, source.is_a),
        after_temperature=held.reliability(_applied(temperature_scaling, source, held, folds)),
        after_isotonic=held.reliability(_applied(isotonic, source, held, folds)),
    )


def refuse_shared_groups(rows: Iterable[LabelledPair], others: Iterable[LabelledPair]) -> None:
    """Raise EngineError where pairs to measure and others to fit on are of one group; known before any is judged."""
    groups = [{group_of(row.pair.id, {row.pair.id: row.pair.group}) for row in part} for part in (rows, others)]
    if set.intersection(*groups):
        raise EngineError(SHARED)


def fit_temperature(p_a: Floats, is_a: Floats) -> float:
    """The temperature with the smallest NLL; ``is_a`` is 1 where A was chosen, else 0."""
    from scipy.optimize import minimize_scalar

    logits = np.where(is_a == 1, 1.0, -1.0) * _logit(p_a)
    found = minimize_scalar(
        lambda log: float(np.mean(np.logaddexp(0.0, -logits / np.exp(log)))),
        bounds=(-np.log(_HOTTEST), np.log(_HOTTEST)),
        method="bounded",
    )
    return float(np.exp(found.x))


def scaled(p_a: Floats, temperature: float) -> Floats:
    """The probabilities with their logits divided by the temperature."""
    return 1 / (1 + np.exp(-_logit(p_a) / temperature))


def temperature_scaling(p_a: Floats, is_a: Floats) -> Callable[[Floats], Floats]:
    temperature = fit_temperature(p_a, is_a)
    return lambda values: scaled(values, temperature)


def isotonic(p_a: Floats, is_a: Floats) -> Callable[[Floats], Floats]:
    """A rising curve; with n labels it stays 1 / (n + 2) away from 0 and 1, where it would be infinitely sure."""
    from sklearn.isotonic import IsotonicRegression

    edge = 1 / (len(p_a) + 2)
    model = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip")
    model.fit(np.concatenate([p_a, 1 - p_a]), np.concatenate([is_a, 1 - is_a]))
    return lambda values: np.asarray(model.predict(values), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Labels:
    """Judged and labelled pairs, in the order of their ids."""

    items: tuple[str, ...]
    p_a: Floats
    is_a: Floats
    groups: Mapping[str, str]

    @classmethod
    def of(cls, judgements: Sequence[Judgement], rows: Sequence[LabelledPair]) -> "_Labels":
        p_a = {judgement.pair_id: judgement.p_a for judgement in judgements}
        judged = {row.pair.id: row for row in rows if row.pair.id in p_a}
        items = tuple(sorted(judged))
        return cls(
            items=items,
            p_a=np.array([p_a[item] for item in items]),
            is_a=np.array([judged[item].choice == "a" for item in items], dtype=np.float64),
            groups={item: judged[item].pair.group for item in items},
        )

    @property
    def group_names(self) -> list[str]:
        return [group_of(item, self.groups) for item in self.items]

    def folds(self, seed: int) -> NDArray[np.intp]:
        """The number of each pair's fold; the pairs of a group share one."""
        names = sorted(set(self.group_names))
        dealt = np.random.default_rng(seed).permutation(len(names)) % min(FOLDS, len(names))
        fold = dict(zip(names, dealt, strict=True))
        return np.array([fold[name] for name in self.group_names])

    def reliability(self, p_a: Floats) -> Reliability:
        choices: list[Choice] = ["a" if chosen else "b" for chosen in self.is_a]
        x, y = (dict(zip(self.items, values.tolist(), strict=True)) for values in (p_a, self.is_a))
        return Reliability(
            ece=expected_calibration_error(p_a, self.is_a),
            nll=mean([negative_log_likelihood(p, choice) for p, choice in zip(p_a.tolist(), choices, strict=True)]),
            brier=mean(list((p_a - self.is_a) ** 2)),
            curve=binned(x, y, self.groups, [number / BINS for number in range(BINS + 1)]),
        )


def _applied(fit: Fit, source: _Labels, held: _Labels, folds: NDArray[np.intp] | None) -> Floats:
    """The held pairs' probabilities, calibrated by other pairs: those of ``source``, or of the other folds."""
    if folds is None:
        return fit(source.p_a, source.is_a)(held.p_a)
    found = np.empty_like(held.p_a)
    for number in range(int(folds.max()) + 1):
        here = folds == number
        found[here] = fit(held.p_a[~here], held.is_a[~here])(held.p_a[here])
    return found


def _logit(p_a: Floats) -> Floats:
    p = np.clip(p_a, _EDGE, 1 - _EDGE)
    return np.log(p / (1 - p))
