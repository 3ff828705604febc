"""How static files are named and served. Knows no template."""

from whitenoise.storage import CompressedManifestStaticFilesStorage

OUR_MODULES = ("js/*.js", ((r'(?P<matched>from "(?P<url>\./[a-z]+\.js)")', 'from "%(url)s"'),))
"""Our scripts import each other by this form. (Django's own switch for it stumbles over other packages' scripts.)"""


class StaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # it has no types
    """Names with a hash of the content, also where one JavaScript module imports another: never stale."""

    patterns = (*CompressedManifestStaticFilesStorage.patterns, OUR_MODULES)
