"""Sealed secrets: read again by this installation only, and cut out of every text that is shown."""

from typing import Any

import pytest

from labeling import sealing
from labeling.errors import SealBroken

KEY = "sk-not-a-real-key-0123456789"


def test_a_secret_comes_back_and_does_not_stand_in_what_is_stored() -> None:
    sealed = sealing.seal(KEY)
    assert KEY not in sealed
    assert sealing.seal(KEY) != sealed
    assert sealing.unseal(sealed) == KEY


def test_no_secret_stays_none() -> None:
    assert sealing.seal("") == ""
    assert sealing.unseal("") == ""


def test_another_secret_key_opens_nothing_unless_the_former_one_is_named(settings: Any) -> None:
    settings.SECRET_KEY = "first"
    sealed = sealing.seal(KEY)
    settings.SECRET_KEY = "second"
    with pytest.raises(SealBroken, match="connect the judge again") as raised:
        sealing.unseal(sealed)
    assert KEY not in str(raised.value)
    settings.SECRET_KEY_FALLBACKS = ["first"]
    assert sealing.unseal(sealed) == KEY


def test_what_was_changed_in_the_database_is_refused() -> None:
    sealed = sealing.seal(KEY)
    with pytest.raises(SealBroken):
        sealing.unseal(sealed[:-4] + "AAAA")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Incorrect key: {KEY}.", "Incorrect key: …."),
        (f"Incorrect key: {KEY[:15]}", "Incorrect key: …"),
        (f"{KEY} and {KEY}", "… and …"),
        (f"ends in {KEY[-4:]}", f"ends in {KEY[-4:]}"),
        ("nothing of it", "nothing of it"),
        ("", ""),
    ],
)
def test_pieces_of_a_secret_are_cut_out_of_a_text(text: str, shown: str) -> None:
    assert sealing.without(KEY, text) == shown


def test_a_short_secret_is_cut_out_whole_and_none_cuts_nothing() -> None:
    assert sealing.without("abc", "the key abc is wrong") == "the key … is wrong"
    assert sealing.without("", "the text") == "the text"
