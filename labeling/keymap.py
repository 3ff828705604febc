"""The keys of the label screen: what each does, its default, and a user's own. Knows no button and no event.

A key ends up in an attribute that the page's script splits at white space, so only single printable characters are
ever let in, and what is stored is checked again whenever it is read.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.contrib.auth.models import User
from django.db import transaction

from labeling.models import KeyMap

LABEL, REVEAL = "label", "reveal"
FORBIDDEN = frozenset("\"'`<>&\\")
PRINTABLE = frozenset(["Ll", "Lo", "Nd", "No", "Pc", "Pd", "Ps", "Pe", "Po", "Sc", "Sk", "Sm"])
SYMBOLS = {
    "ArrowLeft": "←",
    "ArrowRight": "→",
    "Enter": "↵",
    "Shift+ArrowLeft": "⇧←",
    "Shift+ArrowRight": "⇧→",
}
NOT_A_KEY = "One letter, digit or punctuation mark; no space, quotation mark, <, >, & or backslash."


@dataclass(frozen=True, slots=True)
class Action:
    """Something a key does, its default keys, and on which screens. Empty keys: not on that scale."""

    name: str
    label: str
    keys: tuple[str, ...]
    graded: tuple[str, ...] = ()
    stages: frozenset[str] = frozenset([LABEL, REVEAL])

    def on(self, *, graded: bool) -> tuple[str, ...]:
        """The default keys on a scale."""
        return self.graded if graded and self.graded else self.keys


FIRST, THEN = frozenset([LABEL]), frozenset([REVEAL])
ACTIONS = (
    Action("left_much", "Left much better", (), ("1", "Shift+ArrowLeft")),
    Action("left", "Left better", ("1", "ArrowLeft"), ("2", "ArrowLeft")),
    Action("tie", "Tie", ("t",)),
    Action("both_bad", "Both bad", ("x",)),
    Action("right", "Right better", ("2", "ArrowRight"), ("3", "ArrowRight")),
    Action("right_much", "Right much better", (), ("4", "Shift+ArrowRight")),
    Action("keep", "Keep your verdict, next pair", ("Enter", "k"), stages=THEN),
    Action("undo", "Undo the last label", ("u",)),
    Action("skip", "Skip the pair", ("s",), stages=FIRST),
    Action("flag", "Report the pair", ("f",), stages=FIRST),
    Action("comment", "Comment", ("c",), stages=FIRST),
    Action("criteria", "Criteria", ("r",), stages=FIRST),
    Action("highlight", "Highlight a passage", ("h",), stages=FIRST),
    Action("diff", "Show the differences", ("d",)),
    Action("expand", "Expand long responses", ("e",)),
    Action("guidelines", "Guidelines", ("g",)),
    Action("keys", "List of keys", ("?",)),
)
BY_NAME = {action.name: action for action in ACTIONS}


@dataclass(frozen=True, slots=True)
class KeyTable:
    """All keys of one user: the defaults, and above them the user's own, which have been checked."""

    own: Mapping[str, str] = field(default_factory=dict)

    def for_action(self, name: str, *, graded: bool) -> tuple[str, ...]:
        """All keys of an action, first the one to print on its button; none if the scale has no such action."""
        keys = BY_NAME[name].on(graded=graded)
        if not keys or name not in self.own:
            return keys
        return (self.own[name], *(key for key in keys if len(key) > 1))

    def printed(self, name: str, *, graded: bool) -> str:
        """The first key as it is printed on a button."""
        keys = self.for_action(name, graded=graded)
        return shown(keys[0]) if keys else ""


DEFAULTS = KeyTable()


def shown(key: str) -> str:
    """A key as people know it: ←, ↵, K."""
    upper = key.upper()
    return SYMBOLS.get(key) or (upper if len(upper) == 1 else key)


def keys_of(user: User) -> KeyTable:
    """The user's keys. A stored value that could not be typed in today counts as not stored."""
    own = getattr(user, "key_map", None)
    return KeyTable(_trusted(own.keys if own is not None else None))


@transaction.atomic
def save_keys(user: User, own: Mapping[str, str]) -> KeyTable:
    """Store the user's own keys as `check` returned them; without any, there is no row."""
    if own:
        KeyMap.objects.update_or_create(user=user, defaults={"keys": dict(own)})
    else:
        KeyMap.objects.filter(user=user).delete()
    return KeyTable(own)


def check(typed: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What a user typed, by action: the keys that differ from the defaults, and what is wrong, by action."""
    own: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for name, text in typed.items():
        key = as_key(text.strip() or text)
        if key is None:
            wrong |= {name: NOT_A_KEY} if text else {}
        elif not _is_default(name, key):
            own[name] = key
    return own, wrong | _clashes(own)


def as_key(text: object) -> str | None:
    """The one key that a text names, in lower case; None if it names none."""
    key = unicodedata.normalize("NFC", text).lower() if isinstance(text, str) else ""
    good = len(key) == 1 and key <= "\uffff" and unicodedata.category(key) in PRINTABLE and key not in FORBIDDEN
    return key if good else None


def _is_default(name: str, key: str) -> bool:
    """Whether the key says nothing new: it is the default on every scale that has the action."""
    scales = [keys for graded in (False, True) if (keys := BY_NAME[name].on(graded=graded))]
    return all(key in keys for keys in scales)


def _clashes(own: Mapping[str, str]) -> dict[str, str]:
    """Each own key that another action has on the same screen, with a sentence that names that action."""
    table = KeyTable(own)
    found: dict[str, str] = {}
    for name, key in own.items():
        for other in ACTIONS:
            where = [graded for graded in (False, True) if _meet(table, BY_NAME[name], other, graded=graded)]
            if where and name not in found:
                scale = " in graded projects" if where == [True] else ""
                found[name] = f"{shown(key)} is already the key for “{other.label}”{scale}."
    return found


def _meet(table: KeyTable, one: Action, other: Action, *, graded: bool) -> bool:
    if one is other or not one.stages & other.stages:
        return False
    keys = table.for_action(one.name, graded=graded)
    return not set(keys).isdisjoint(table.for_action(other.name, graded=graded))


def _trusted(stored: object) -> dict[str, str]:
    """The stored keys that are valid; of those that clash none, until none clash."""
    pairs = stored.items() if isinstance(stored, dict) else ()
    keys = {name: as_key(text) for name, text in pairs if name in BY_NAME}
    own = {name: key for name, key in keys.items() if key is not None}
    while clashing := _clashes(own):
        own = {name: key for name, key in own.items() if name not in clashing}
    return own
