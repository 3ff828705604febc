"""What people choose when they import: which source, which layout, and which column holds what."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django import forms

from genrm_engine.formats import FORMATS
from labeling.services.checking import Plan
from labeling.services.mapping import FIELDS, problems
from labeling.services.sources import Source

COLUMNS = "columns"
"""Choice of "the columns named below" in place of a layout."""


class SourceForm(forms.Form):
    """A data set by name: a folder on the server or a name on the hub."""

    folder = forms.CharField(max_length=200, required=False, label="Folder on the server")
    hub = forms.RegexField(
        regex=r"^[^\W_][\w.-]*/[^\W_][\w.-]*$",
        max_length=200,
        required=False,
        label="Name on the Hugging Face hub (owner/name)",
        error_messages={"invalid": "Give the name as the hub has it: owner/name."},
    )
    split = forms.RegexField(regex=r"^[\w.-]+$", max_length=100, required=False, label="Split (empty: all)")

    def clean_hub(self) -> str:
        """The library that reads the hub would read a folder of that name instead."""
        name = str(self.cleaned_data["hub"])
        if name and Path(name).exists():
            raise forms.ValidationError("This is the name of a folder here, not of a data set on the hub.")
        return name

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if bool(given.get("folder")) == bool(given.get("hub")) and not self.errors:
            raise forms.ValidationError("Name a folder or a data set on the hub.")
        return given

    def source(self) -> Source:
        data = self.cleaned_data
        return Source(folder=data["folder"], hub=data["hub"], split=data["split"])


class PlanForm(forms.Form):
    """How a file is to be read: as detected, in a named layout, or by columns."""

    def __init__(
        self, data: Mapping[str, Any] | None, *, columns: Sequence[str], layout: str, suggested: Mapping[str, str]
    ) -> None:
        start = {"layout": "" if layout else COLUMNS, **suggested}
        super().__init__(data, initial=start)
        detected = f"As detected: {layout}" if layout else "As detected, row by row"
        named = [(name, f"Layout: {name}") for name in FORMATS]
        self.fields["layout"] = forms.ChoiceField(
            choices=[("", detected), (COLUMNS, "By the columns named below"), *named], required=False, label="Read it"
        )
        choices = [("", "none"), *((name, name) for name in columns)]
        for name, label in FIELDS.items():
            self.fields[name] = forms.ChoiceField(choices=choices, required=False, label=label)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if given.get("layout") == COLUMNS:
            for name, problem in problems(self._mapping(given)).items():
                self.add_error(name, problem)
        return given

    def plan(self) -> Plan:
        """What was chosen."""
        layout = self.cleaned_data["layout"]
        if layout == COLUMNS:
            return Plan(mapping=self._mapping(self.cleaned_data))
        return Plan(layout=layout)

    def columns(self) -> list[forms.BoundField]:
        """The fields to which columns are assigned."""
        return [self[name] for name in FIELDS]

    @staticmethod
    def _mapping(given: Mapping[str, Any]) -> dict[str, str]:
        return {name: given[name] for name in FIELDS if given.get(name)}
