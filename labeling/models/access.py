"""What belongs to a user: API tokens, keys of the label screen; and the audit trail."""

from django.conf import settings
from django.db import models

from labeling.models.projects import Project


class ApiToken(models.Model):
    """A bearer token, for one project or for all of its owner's. Only its hash is stored."""

    class Scope(models.TextChoices):
        READ = "read", "read"
        LABEL = "label", "label"
        MANAGE = "manage", "manage"

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, null=True, blank=True, related_name="+", help_text="empty: all the owner's"
    )
    name = models.CharField(max_length=100, blank=True)
    sha256 = models.CharField(max_length=64, unique=True)
    scope = models.CharField(max_length=10, choices=Scope, default=Scope.MANAGE)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.name or f"token {self.pk}"


class KeyMap(models.Model):
    """The keys a user has changed, by action: {"tie": "z"}. Whoever changed none has no row."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="key_map")
    keys = models.JSONField(default=dict, blank=True)

    def __str__(self) -> str:
        return f"keys of {self.user}"


class AuditEvent(models.Model):
    """Who did what to what. Append-only: the database refuses to update a row."""

    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=200)
    detail = models.JSONField(default=dict, blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.action} {self.target}"
