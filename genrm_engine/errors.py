"""The engine's one error type. It does not know how a caller retries or shows it."""


class EngineError(Exception):
    """Something the caller can act on; ``permanent`` says that trying again would not help."""

    permanent: bool

    def __init__(self, message: str, *, permanent: bool = True) -> None:
        super().__init__(message)
        self.permanent = permanent


class Cancelled(EngineError):
    """The run was asked to stop."""

    def __init__(self, message: str = "cancelled") -> None:
        super().__init__(message, permanent=False)


EXIT_FAILED, EXIT_CANCELLED, EXIT_FOR_NOW = 2, 3, 75
"""How a command's process ends after an EngineError: it will not pass, it was cancelled, it may pass (``sysexits.h``).

1 is none of them: so Python ends by an exception that nobody catches, a fault of the program.
"""
