"""Keys of one's own: saved, refused with a reason, and never trusted because they are stored."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from labeling import keymap
from labeling.keymap import ACTIONS, DEFAULTS, KeyTable
from labeling.models import KeyMap
from tests.web.conftest import World

URL = "/keys/"
SCRIPT = '<script>alert("keys")</script>'


def test_the_defaults_are_all_different_where_they_meet() -> None:
    for graded in (False, True):
        for stage in (keymap.LABEL, keymap.REVEAL):
            actions = [action for action in ACTIONS if stage in action.stages]
            keys = [key for action in actions for key in DEFAULTS.for_action(action.name, graded=graded)]
            assert len(keys) == len(set(keys))


def test_a_key_replaces_the_letter_and_leaves_arrows_and_enter() -> None:
    table = KeyTable({"left": "a", "keep": "p", "left_much": "q", "keys": "/"})
    assert table.for_action("left", graded=False) == table.for_action("left", graded=True) == ("a", "ArrowLeft")
    assert table.for_action("keep", graded=False) == ("p", "Enter")
    assert table.for_action("left_much", graded=True) == ("q", "Shift+ArrowLeft")
    assert table.for_action("left_much", graded=False) == ()
    assert table.printed("left_much", graded=False) == ""
    assert (table.printed("left", graded=True), table.printed("keys", graded=True)) == ("A", "/")
    assert DEFAULTS.for_action("left", graded=True) == ("2", "ArrowLeft")
    assert (DEFAULTS.printed("keep", graded=False), DEFAULTS.printed("tie", graded=False)) == ("↵", "T")
    assert [keymap.shown(key) for key in ("ArrowLeft", "ArrowRight", "ß", "é")] == ["←", "→", "ß", "É"]


def test_own_keys_are_saved_for_oneself_alone(
    as_bob: Client, bob: User, dora: User, django_assert_num_queries: Any
) -> None:
    page = as_bob.post(URL, {"tie": "Z", "skip": "s", "keep": " ", "both_bad": "t"}, follow=True)
    assert page.status_code == 422
    page = as_bob.post(URL, {"tie": "Z", "skip": "s", "both_bad": " t ", "undo": ""}, follow=True)
    assert "Saved." in page.content.decode()
    assert 'name="tie" value="z"' in page.content.decode()
    assert KeyMap.objects.get().keys == {"tie": "z", "both_bad": "t"}
    with django_assert_num_queries(1):
        table = keymap.keys_of(bob)
    assert table.for_action("tie", graded=True) == ("z",)
    assert table.for_action("skip", graded=True) == ("s",)
    with django_assert_num_queries(1):
        assert keymap.keys_of(dora).for_action("tie", graded=True) == ("t",)


def test_back_to_the_defaults(as_bob: Client, bob: User) -> None:
    assert "Back to the defaults" not in as_bob.get(URL).content.decode()
    as_bob.post(URL, {"tie": "z"})
    assert "Back to the defaults" in as_bob.get(URL).content.decode()
    as_bob.post(URL, {"tie": "y", "defaults": "1"})
    assert not KeyMap.objects.exists()
    as_bob.post(URL, {"tie": "z"})
    as_bob.post(URL, {"tie": "T"})
    assert not KeyMap.objects.exists()


BAD = [
    "ab",
    " ",
    "\u00a0",
    "\t",
    "<",
    ">",
    "&",
    '"',
    "'",
    "`",
    "\\",
    "“",
    "»",
    "\x07",
    "\u200b",
    "\u0301",
    "İ",
    "😀",
    "Enter",
]


@pytest.mark.parametrize("typed", [*BAD, SCRIPT, "x" * 30], ids=ascii)
def test_what_is_no_key_is_refused_and_kept_as_text(as_bob: Client, typed: str) -> None:
    response = as_bob.post(URL, {"tie": typed, "skip": "j"})
    assert response.status_code == 422
    form = response.context["form"]
    assert list(form.errors) == ["tie"]
    page = response.content.decode()
    assert 'id="id_tie_error"' in page
    assert 'aria-describedby="id_tie_error"' in page
    assert 'name="skip" value="j"' in page
    assert "<script>alert" not in page
    assert form["tie"].value() == typed
    assert not KeyMap.objects.exists()


@pytest.mark.parametrize("typed", ["j", "J", "7", ";", "+", "/", "é", "ж", "ß", "²", "§"])
def test_letters_digits_and_punctuation_are_keys(as_bob: Client, bob: User, typed: str) -> None:
    assert as_bob.post(URL, {"skip": typed}).status_code == 302
    assert keymap.keys_of(bob).for_action("skip", graded=False) == (typed.lower(),)


@pytest.mark.parametrize(
    ("typed", "problems"),
    [
        ({"tie": "x"}, {"tie": "X is already the key for “Both bad”."}),
        ({"tie": "z", "skip": "z"}, {"tie": "“Skip the pair”", "skip": "“Tie”"}),
        ({"tie": "4"}, {"tie": "4 is already the key for “Right much better” in graded projects."}),
        ({"left": "1"}, {"left": "“Left much better” in graded projects"}),
        ({"keep": "u"}, {"keep": "“Undo the last label”"}),
    ],
)
def test_one_key_does_one_thing_on_a_screen(as_bob: Client, typed: dict[str, str], problems: dict[str, str]) -> None:
    response = as_bob.post(URL, typed)
    assert response.status_code == 422
    errors = response.context["form"].errors
    assert set(errors) == set(problems)
    for name, problem in problems.items():
        assert problem in errors[name][0]


def test_keys_may_change_places_and_be_the_same_on_screens_that_never_meet(as_bob: Client, bob: User) -> None:
    assert as_bob.post(URL, {"tie": "x", "both_bad": "t", "keep": "s"}).status_code == 302
    assert KeyMap.objects.get().keys == {"tie": "x", "both_bad": "t", "keep": "s"}


@pytest.mark.parametrize(
    "stored",
    [
        {"tie": SCRIPT, "skip": "<", "nothing": "z", "flag": ["f"], "undo": None, "left": ""},
        {"tie": "x"},
        {"tie": "z", "skip": "z"},
        {"left": "1", "comment": "T"},
        [SCRIPT],
        SCRIPT,
        7,
    ],
    ids=repr,
)
def test_stored_values_that_are_no_keys_are_ignored(as_bob: Client, bob: User, stored: object) -> None:
    KeyMap.objects.create(user=bob, keys=stored)
    assert keymap.keys_of(bob) == DEFAULTS
    page = as_bob.get(URL)
    assert page.status_code == 200
    assert "<script>alert" not in page.content.decode()
    assert "&lt;script" not in page.content.decode()


def test_a_good_stored_key_stands_beside_a_bad_one(as_bob: Client, bob: User, world: World) -> None:
    KeyMap.objects.create(user=bob, keys={"tie": SCRIPT, "skip": "J"})
    assert keymap.keys_of(bob) == KeyTable({"skip": "j"})
    assert "<script>alert" not in as_bob.get("/p/stories/label/").content.decode()


@given(st.dictionaries(st.sampled_from([action.name for action in ACTIONS]), st.sampled_from("123txksfucdx?z/")))
def test_whatever_is_stored_no_key_does_two_things(stored: dict[str, str]) -> None:
    table = KeyTable(keymap._trusted(stored))
    for graded in (False, True):
        for stage in (keymap.LABEL, keymap.REVEAL):
            actions = [action for action in ACTIONS if stage in action.stages]
            keys = [key for action in actions for key in table.for_action(action.name, graded=graded)]
            assert len(keys) == len(set(keys))


def test_the_page_is_linked_for_those_who_are_signed_in(as_charlie: Client, client: Client) -> None:
    assert f'<a href="{URL}">Keys</a>' in as_charlie.get("/").content.decode()
    assert URL not in client.get("/login/").content.decode()
    assert client.post(URL, {"tie": "z"}).status_code == 302
    assert not KeyMap.objects.exists()
