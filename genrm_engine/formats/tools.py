"""Pairwise answers as annotation tools write them: Label Studio's tasks and Argilla's records; knows no files.

Both leave the names of the fields to whoever set the project up. The two texts are found by their names, or, in Label
Studio, by what the comparison was attached to.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from genrm_engine.errors import EngineError
from genrm_engine.formats.columns import couples, prompt_column
from genrm_engine.formats.draft import Draft
from genrm_engine.formats.fields import Row, messages_of, text_of
from genrm_engine.formats.rows import HumanLabel
from genrm_engine.formats.scales import Verdict, verdict_of

_VERDICTS = ("pairwise", "choices")
"""What Label Studio compares with; choices may ask for something else, and count only where nothing is pairwise."""


class _Answer(NamedTuple):
    """What somebody answered to one question."""

    question: str
    annotator: str
    value: object


def is_label_studio(row: Row) -> bool:
    """Whether the row is a task of Label Studio's JSON export."""
    return isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list)


def read_label_studio(row: Row) -> Draft:
    """A task with its annotations; cancelled ones and those without an answer say nothing."""
    data = row.get("data")
    if not isinstance(data, dict):
        raise EngineError("data is missing")
    annotations = row.get("annotations")
    if not isinstance(annotations, list):
        raise EngineError("annotations is not a list")
    done = [one for one in annotations if isinstance(one, dict) and not one.get("was_cancelled")]
    draft = _compared(data, "data", _attached(done, data))
    labels: dict[str, HumanLabel] = {}
    for number, one in enumerate(done, start=1):
        verdict = _selected(one.get("result"), f"annotations, entry {number}")
        if verdict is not None:
            name = _completed_by(one.get("completed_by"), number)
            labels[name] = HumanLabel(name, *verdict)
    return _labelled(draft, list(labels.values()))


def is_argilla(row: Row) -> bool:
    """Whether the row is a record of Argilla, with its fields apart or flattened, or of its older data sets."""
    if isinstance(row.get("fields"), dict) and "responses" in row:
        return True
    return any(str(name).endswith(".responses") or _is_answers(value) for name, value in row.items())


def read_argilla(row: Row) -> Draft:
    """A record with its submitted responses; the first question that compares the two texts counts.

    One that ranks or names them comes before those whose words might be a verdict on something else.
    """
    fields = row.get("fields")
    apart = isinstance(fields, dict)
    data: Mapping[str, Any] = fields if isinstance(fields, dict) else row
    answers = list(_answers(row))
    questions = {answer.question for answer in answers}
    texts = {name: value for name, value in data.items() if name not in questions and isinstance(value, str | list)}
    draft = _compared(texts, "fields" if apart else "record", None)
    sides = couples(texts)[0]
    naming = [answer for answer in answers if isinstance(answer.value, list) or answer.value in sides]
    for question in dict.fromkeys(answer.question for answer in (*naming, *answers)):
        try:
            return _labelled(draft, _verdicts([one for one in answers if one.question == question], sides))
        except EngineError:
            continue
    if answers:
        raise EngineError(f"responses: no answer to {', '.join(sorted(questions))} says which text is better")
    return draft


def _compared(data: Mapping[str, Any], name: str, sides: tuple[str, str] | None) -> Draft:
    found = [sides] if sides else couples(map(str, data))
    if not found:
        raise EngineError(f"{name} has no two texts to compare; its fields are: {', '.join(sorted(map(str, data)))}")
    first, second = found[0]
    asked = prompt_column(str(key) for key in data if key not in (first, second))
    if asked is None:
        raise EngineError(f"{name} has no prompt; its fields are: {', '.join(sorted(map(str, data)))}")
    return Draft(
        prompt=messages_of(data[asked], asked),
        response_a=text_of(data[first], first),
        response_b=text_of(data[second], second),
    )


def _labelled(draft: Draft, labels: Sequence[HumanLabel]) -> Draft:
    unique = {label.annotator: label for label in labels}
    return Draft(draft.prompt, draft.response_a, draft.response_b, labels=tuple(unique.values()))


def _attached(annotations: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> tuple[str, str] | None:
    """The two fields that a comparison names, where the task has fields of these names."""
    for one in annotations:
        for result in _results(one.get("result")):
            named = result.get("to_name")
            names = named.split(",") if isinstance(named, str) else named
            if isinstance(names, list) and len(names) == 2 and all(isinstance(each, str) for each in names):
                first, second = (each.strip() for each in names)
                if first in data and second in data:
                    return first, second
    return None


def _results(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _selected(results: object, name: str) -> Verdict | None:
    said = [result for kind in _VERDICTS for result in _results(results) if result.get("type") == kind]
    value = next((each["value"] for each in said if isinstance(each.get("value"), dict)), None)
    if value is None:
        return None
    chosen = value.get("selected") or value.get("choices")
    if isinstance(chosen, list) and len(chosen) == 1:
        chosen = chosen[0]
    return verdict_of(chosen, f"{name}: selected")


def _completed_by(value: object, number: int) -> str:
    if isinstance(value, dict):
        value = value.get("email") or value.get("username") or value.get("id")
    return (
        f"annotation {number}"
        if value in (None, "")
        else f"annotator {value}"
        if isinstance(value, int)
        else str(value)
    )


def _is_answers(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and {"user_id", "value"} <= each.keys() for each in value)
    )


def _answers(row: Row) -> Iterator[_Answer]:
    """Every submitted answer, whichever way the record keeps them."""
    responses = row.get("responses")
    if isinstance(responses, dict):
        for question, given in responses.items():
            yield from _given(str(question), given)
    elif isinstance(responses, list):
        for each in responses:
            values = each.get("values") if isinstance(each, dict) else None
            if isinstance(values, dict) and each.get("status", "submitted") == "submitted":
                for question, given in values.items():
                    value = given.get("value") if isinstance(given, dict) else given
                    yield _Answer(str(question), _who(each.get("user_id")), value)
    for name, value in row.items():
        if str(name).endswith(".responses") and isinstance(value, list):
            yield from _flat(row, str(name), value)
        elif name != "responses" and _is_answers(value):
            yield from _given(str(name), value)


def _given(question: str, given: object) -> Iterator[_Answer]:
    for each in given if isinstance(given, list) else []:
        if isinstance(each, dict) and (each.get("status") or "submitted") == "submitted":
            yield _Answer(question, _who(each.get("user_id")), each.get("value"))


def _flat(row: Row, name: str, values: Sequence[object]) -> Iterator[_Answer]:
    users, states = row.get(f"{name}.users"), row.get(f"{name}.status")
    for place, value in enumerate(values):
        if _at(states, place) in (None, "submitted"):
            yield _Answer(name.removesuffix(".responses"), _who(_at(users, place)), value)


def _at(values: object, place: int) -> object:
    return values[place] if isinstance(values, list) and place < len(values) else None


def _who(value: object) -> str:
    return "argilla" if value in (None, "") else str(value)


def _verdicts(answers: Sequence[_Answer], sides: tuple[str, str]) -> list[HumanLabel]:
    return [HumanLabel(one.annotator, *_judged(one.value, one.question, sides)) for one in answers]


def _judged(value: object, name: str, sides: tuple[str, str]) -> Verdict:
    """A label that names a side or a verdict, or a ranking of the two sides."""
    if isinstance(value, list) and value:
        ranks = {_ranked(each)[0]: _ranked(each)[1] or place for place, each in enumerate(value, start=1)}
        first, second = ranks.get(sides[0]), ranks.get(sides[1])
        if first is None or second is None:
            raise EngineError(f"{name} does not rank {sides[0]} and {sides[1]}")
        return Verdict("tie" if first == second else "a" if first < second else "b")
    if value in sides:
        return Verdict("a" if value == sides[0] else "b")
    if isinstance(value, int | float):
        raise EngineError(f"{name} is a rating, not a comparison")
    return verdict_of(value, name)


def _ranked(value: object) -> tuple[str, int | None]:
    if isinstance(value, dict):
        rank = value.get("rank")
        return str(value.get("value")), rank if isinstance(rank, int) else None
    return str(value), None
