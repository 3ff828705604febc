"""What a judge reads of a project and its pairs, and how much of it: the rows as the engine takes them."""

from django.conf import settings

from genrm_engine import types as engine
from labeling.models import Pair, Project
from labeling.services.judging import REMOTE

READ_BY_JUDGES = frozenset({"guidelines", "criteria"})
"""The settings of a project that enter what a judge reads."""


def to_engine(pair: Pair) -> engine.Pair:
    """The row as the engine sees it: no model names, no labels."""
    return engine.Pair.from_json(
        {
            "id": str(pair.pk),
            "prompt": pair.prompt,
            "response_a": pair.response_a,
            "response_b": pair.response_b,
            "group": pair.group_key,
        }
    )


def settings_of(project: Project, method: str, *, backend: str) -> engine.JudgeSettings:
    """How this project wants its pairs judged by a judge of that backend."""
    return engine.JudgeSettings(
        method=engine.as_method(method),
        samples_per_order=max(1, project.samples_per_order),
        rubric=rubric_of(project),
        max_prompt_tokens=prompt_tokens(backend),
    )


def prompt_tokens(backend: str) -> int:
    """Most tokens of a prompt; of a longer one conversation and responses are shortened, never the guidelines."""
    return settings.ENV.server_prompt_tokens if backend in REMOTE else settings.ENV.prompt_tokens


def rubric_of(project: Project) -> str:
    """The project's guidelines and criteria, as the judge reads them."""
    criteria = "\n".join(f"- {one['name']}: {one['about']}".rstrip(": ") for one in project.criteria)
    return "\n".join(part for part in (project.guidelines.strip(), criteria) if part)
