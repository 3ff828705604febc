"""Rests of a run are counted apart from its attempts, which a restart of the installation adds to as well."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0010_label_stored_at")]
    operations = [
        migrations.AddField(
            model_name="trainingrun",
            name="rests",
            field=models.PositiveSmallIntegerField(
                db_default=0, default=0, help_text="how often it has rested after a failure that may pass"
            ),
        ),
    ]
