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
