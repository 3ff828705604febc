"""Texts of an imported row: what every database and every page takes, or the reason why not. And a model's texts."""

LONGEST_FIELD = 200_000


class BadRow(Exception):
    """The reason why a row is not taken; begins with the field, where one is to blame."""

    def __init__(self, reason: str, name: str | None = None) -> None:
        super().__init__(reason)
        self.field = reason.partition(":")[0] if name is None else name


def clean_text(value: str, name: str) -> str:
    if len(value) > LONGEST_FIELD:
        raise BadRow(f"{name}: {len(value):,} characters, the most are {LONGEST_FIELD:,}")
    if "\x00" in value:
        raise BadRow(f"{name}: contains a NUL character")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise BadRow(f"{name}: contains half of a surrogate pair") from None
    return value


def storable(text: str) -> str:
    """What a model wrote, without the characters that a database refuses: NUL and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode("utf-8")
