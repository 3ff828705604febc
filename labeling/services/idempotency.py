"""Keys by which a label that is sent twice is saved once, for requests of the API. Keeps no table of its own.

What is stored with a label is made of two halves: whose key it is, and what the request said. So the same key with
another request is recognised, and two people may use the same key.
"""

import hashlib
import json
from collections.abc import Mapping

from django.contrib.auth.models import User

from labeling.models import Label

HALF = 32
AFTER = "g"
"""Sorts behind every hexadecimal digit."""


def key_of(user: User, key: str, request: Mapping[str, object]) -> str:
    """What is stored for this key of the user and this request: 64 hexadecimal digits."""
    said = json.dumps(request, sort_keys=True)
    return _hash(f"{user.pk}:{key}")[:HALF] + _hash(said)[:HALF]


def owner_of_key(stored: str) -> Label | None:
    """The label that was saved under the same key, whatever the request said."""
    key = stored[:HALF]
    return Label.objects.filter(idempotency_key__gte=key, idempotency_key__lt=key + AFTER).first()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
