"""The kinds of values that requests bring, as far as a schema can say what is right."""

from typing import Annotated, Literal

from ninja import Field, Schema
from pydantic import BeforeValidator, ConfigDict, StringConstraints

LONGEST_TEXT = 200_000
"""Characters of a prompt or a response, as in a file."""
VISIBLE = r"^[^\x00-\x1f\x7f-\xa0]*[^\x00-\x20\x7f-\xa0\s][^\x00-\x1f\x7f-\xa0]*$"
"""One line with something to see in it."""
TITLE = r"^[^\x00-\x20\x7f-\xa0\u2028\u2029:]([^\x00-\x1f\x7f-\xa0\u2028\u2029:]*[^\x00-\x20\x7f-\xa0\u2028\u2029:])?$"
"""One line without a colon, and without blanks around it."""
SENTENCE = TITLE.replace(":]", "]")
"""The same with colons."""
NOT_BLANK = r"^[^\x00]*[^\x00-\x20\x7f-\xa0\s][^\x00]*$"
"""A text that a database can hold, and not of spaces alone."""

Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=VISIBLE)]
Text = Annotated[str, StringConstraints(max_length=100_000, pattern=r"^[^\x00]*$")]
Content = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT, pattern=NOT_BLANK)]
Slug = Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=r"^[-a-zA-Z0-9_]+$")]
Comment = Annotated[str, StringConstraints(max_length=5_000, pattern=r"^[^\x00]*$")]
Reason = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]
TrainMethod = Literal["star-dpo", "star-sft", "genrm", "bradley-terry", "grpo"]


def _whole(value: object) -> object:
    """JSON knows one kind of number, so 2.0 is as whole as 2."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""To be named after the bounds, which a document would not know otherwise."""
Key = Annotated[int, Field(ge=1, le=2**63 - 1), WHOLE]
"""The number of a row."""


class Sent(Schema):
    """A body of a request: exactly these fields, of exactly these types."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Turn(Schema):
    """A message of a conversation."""

    role: str
    content: str
