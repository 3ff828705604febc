"""When each label was written; of the old ones it is known as well as their own time says."""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.utils import timezone


def fill(apps: Apps, _schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("labeling", "Label").objects.update(stored_at=models.F("created_at"))


class Migration(migrations.Migration):
    dependencies = [("labeling", "0009_assisted_claims")]
    operations = [
        migrations.AddField(
            model_name="label",
            name="stored_at",
            field=models.DateTimeField(
                auto_now_add=True,
                default=timezone.now,
                help_text="when the row was written; a file may say an earlier created_at",
            ),
            preserve_default=False,
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
