"""What a manager types to connect a judge, checked field by field. Knows nothing of who may, and asks no judge."""

import importlib.util
import re
import socket
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from django import forms
from django.conf import settings

from genrm_engine.starter import EMBEDDED
from labeling.settings_forms import LIMITS
from labeling.trial_queries import Prices

LONGEST = 300
NO_FOLDER = "There is no model at this path: give the whole path of a folder that holds a config.json."
NO_NAME = "Give a folder's whole path, beginning with /, or a Hugging Face name such as Qwen/Qwen3-4B."
BACKENDS = [("transformers", "Transformers"), ("vllm", "vLLM: many pairs at once, for a large project")]
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_PATHS = ("/chat/completions", "/completions")


class LocalForm(forms.Form):
    """A model that runs here. How it runs is asked only where there is a choice."""

    model = forms.CharField(
        label="Folder or name",
        max_length=LONGEST,
        help_text="A folder's whole path on the server, with config.json and safetensors weights, or a Hugging Face "
        "name, which is downloaded unless the server is offline.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    backend = forms.ChoiceField(
        label="Runs with",
        choices=BACKENDS,
        initial="transformers",
        widget=forms.RadioSelect,
        help_text="vLLM needs a few GiB beside the model for its cache.",
    )

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        if not has_vllm():
            del self.fields["backend"]

    def clean_model(self) -> str:
        model = str(self.cleaned_data["model"]).strip()
        if model.startswith("/"):
            if not (Path(model) / "config.json").is_file():
                raise forms.ValidationError(NO_FOLDER)
            return str(Path(model))
        if model not in EMBEDDED and not _NAME.fullmatch(model):
            raise forms.ValidationError(NO_NAME)
        return model

    def clean(self) -> dict[str, object]:
        return {"backend": "transformers", **self.cleaned_data}


class ServerForm(forms.Form):
    """A model behind an OpenAI-compatible server. The key is never shown again, not even after a mistake."""

    url = forms.CharField(
        label="URL",
        max_length=LONGEST,
        help_text="The base address, as the server's documentation gives it; it often ends with /v1.",
        widget=forms.TextInput(attrs={"inputmode": "url", "autocomplete": "off", "spellcheck": "false"}),
    )
    model = forms.CharField(
        label="Model",
        max_length=LONGEST,
        help_text="The name that the server gives it.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    key = forms.CharField(
        label="API key",
        required=False,
        max_length=500,
        help_text="If the server wants one. It is stored encrypted, sent to this address only, and never shown again.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean_url(self) -> str:
        url = str(self.cleaned_data["url"]).strip().rstrip("/")
        for path in _PATHS:
            url = url.removesuffix(path)
        if problem := _problem(url) or _forbidden(urlsplit(url).hostname or ""):
            raise forms.ValidationError(problem)
        return url

    def clean_key(self) -> str:
        key = str(self.cleaned_data["key"])
        if not key.isascii() or (key and not key.isprintable()) or " " in key:
            raise forms.ValidationError("The key holds a character that no key has, such as a space.")
        return key

    def clean(self) -> dict[str, object]:
        return {"backend": "openai", **self.cleaned_data}


class PriceForm(forms.Form):
    """What a million tokens costs. What is written costs as much as what is read where nothing else is said."""

    read = forms.FloatField(
        label="Price per million tokens",
        min_value=0,
        max_value=1_000_000,
        error_messages=LIMITS,
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    written = forms.FloatField(
        label="of those it writes, if it differs",
        required=False,
        min_value=0,
        max_value=1_000_000,
        error_messages=LIMITS,
        widget=forms.NumberInput(attrs={"step": "any"}),
    )

    @property
    def prices(self) -> Prices | None:
        """The prices that were typed; None without any that can be used."""
        if not self.is_bound or not self.is_valid():
            return None
        read, written = self.cleaned_data["read"], self.cleaned_data["written"]
        return Prices(read, read if written is None else written)


def has_vllm() -> bool:
    """Whether vLLM is installed; it is not loaded for that."""
    return importlib.util.find_spec("vllm") is not None


def _problem(url: str) -> str:
    """What is wrong with a server's address; nothing if it can be one."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return "This address cannot be read: is the port a number?"
    if parts.scheme not in ("http", "https") or not named or re.search(r"\s", url):
        return (
            "Give an address that begins with http:// or https:// and names a host, such as http://127.0.0.1:8000/v1."
        )
    if parts.username is not None or parts.query or parts.fragment:
        return "The address may hold no user name, password, ? or #: the key has a field of its own."
    return ""


def _forbidden(host: str) -> str:
    """Why no judge may be connected on that host; nothing if one may. A name that is not known here yet is let pass."""
    allowed = {each.strip().strip("[]").lower() for each in settings.ENV.judge_servers.split(",")} - {""}
    if allowed and host not in allowed:
        return f"This installation connects judges only on {', '.join(sorted(allowed))}."
    if any(_link_local(address) for address in _addresses(host)):
        return "This is a link-local address, behind which clouds keep their machines' credentials, not judges."
    return ""


def _addresses(host: str) -> set[str]:
    """What the name stands for, asked of the resolver, which also knows odd ways of writing an address."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()


def _link_local(address: str) -> bool:
    found = ip_address(address)
    inner = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (inner or found).is_link_local
