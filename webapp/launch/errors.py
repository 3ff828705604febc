"""The one error of the launcher: Tandem cannot start or go on, for a reason that fits in a line."""


class CannotLaunch(Exception):
    """Shown as it is, without a traceback."""
