"""Secrets that must be read again, such as the API key of a remote judge: encrypted in the database.

The key that seals them is derived from the installation's secret key, so a copy of the database alone opens nothing.
Sealing does not hide a secret from whoever can read both.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.encoding import force_bytes

from labeling.errors import SealBroken

PURPOSE = b"tandem: keys of remote judges"
LEAST_PIECE = 8
"""A piece of a secret that is this long is hidden too: a server may quote the key cut short."""


def seal(secret: str) -> str:
    """The secret as it may be stored; nothing stays nothing."""
    return _box().encrypt(secret.encode()).decode() if secret else ""


def unseal(sealed: str) -> str:
    """The secret again. Raises SealBroken where another installation, or another secret key, has sealed it."""
    if not sealed:
        return ""
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise SealBroken from None


def without(secret: str, text: str) -> str:
    """The text with every piece of the secret replaced by an ellipsis, so that it can be shown."""
    size = min(len(secret), LEAST_PIECE)
    if not size:
        return text
    pieces = {secret[start : start + size] for start in range(len(secret) - size + 1)}
    hidden = {
        place
        for start in range(len(text) - size + 1)
        if text[start : start + size] in pieces
        for place in range(start, start + size)
    }
    letters = (
        letter if place not in hidden else "" if place - 1 in hidden else "…" for place, letter in enumerate(text)
    )
    return "".join(letters)


def _box() -> MultiFernet:
    """Seals with the secret key of today, and opens what a former one has sealed."""
    return MultiFernet([_fernet(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _fernet(secret_key: str | bytes) -> Fernet:
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=PURPOSE).derive(force_bytes(secret_key))
    return Fernet(base64.urlsafe_b64encode(derived))
