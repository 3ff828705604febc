"""What can go wrong in labelling, each with a sentence a person can act on."""


class LabelingError(Exception):
    """An expected failure; `str(error)` is shown to the person."""

    message = "That is not possible."

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.message)


class ClaimGone(LabelingError):
    message = "Your hold on this pair ran out and somebody else has it now. You may still label it, or skip it."


class NothingToUndo(LabelingError):
    message = "There is nothing to undo."


class AlreadySettled(LabelingError):
    """No flag of the pair is open. What was decided last is ``choice``, as one sends it, and maybe one's ``own``.

    There is no such choice where nobody decided it: what was raised is no longer true.
    """

    message = "Nothing is open on this pair any more."

    def __init__(self, choice: str = "", *, own: bool = False) -> None:
        who, by = ("You have", "you") if own else ("Somebody else has", "somebody else")
        what, done = ("sent this pair back", "sent back") if choice == "send_back" else ("settled this pair", "settled")
        super().__init__(f"{who} {what} already." if choice else "")
        self.choice, self.own = choice, own
        self.briefly = f"had been {done} by {by} before" if choice else "had nothing open any more"


class NotSettled(LabelingError):
    message = "There is no settlement of this pair to take back."


class AlreadyOpen(LabelingError):
    message = "This pair is open already."


class NobodySkipped(LabelingError):
    message = "Nobody who could be asked again has skipped this pair."


class NobodyLeft(LabelingError):
    message = "It cannot be sent back: every other member of the project has labelled or skipped this pair."


class ImportRefused(LabelingError):
    """The file as a whole cannot be read; nothing was imported."""


class CannotRetrain(LabelingError):
    """The run cannot start; the message says what is missing."""


class SettingsMoved(LabelingError):
    message = "Somebody else has changed these settings meanwhile."


class ImportNotActive(LabelingError):
    message = "This import has ended already."


class RunNotActive(LabelingError):
    message = "This run has ended already."


class CannotReign(LabelingError):
    """The version cannot become, or stop being, the project's judge; the message says why."""


class CannotConnect(LabelingError):
    """The judge cannot be tried or connected; the message says why."""


class SealBroken(LabelingError):
    message = "The judge's key was sealed with another secret key of this installation: connect the judge again."


class ExportRefused(LabelingError):
    """What was asked of an export cannot be given; `field` names the option, the message says why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.reason = message
