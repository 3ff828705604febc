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
    message = "Somebody else has settled this pair already."


class NotSettled(LabelingError):
    message = "There is no settlement of this pair to take back."


class NobodyLeft(LabelingError):
    message = "It cannot be sent back: every other member of the project has labelled or skipped this pair."


class ImportRefused(LabelingError):
    """The file as a whole cannot be read; nothing was imported."""


class CannotRetrain(LabelingError):
    """The run cannot start; the message says what is missing."""


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
