"""A flag may be raised by whoever labels a pair, or by an adjudicator who opens it."""

from django.db import migrations, models

KINDS = [
    ("judge_disagrees", "judge and people disagree"),
    ("annotators_split", "annotators disagree"),
    ("order_flip", "the judge's verdict flips with the order"),
    ("low_margin", "the judge is unsure"),
    ("gold_missed", "a gold question was missed"),
    ("reported", "reported by a person"),
]


class Migration(migrations.Migration):
    dependencies = [("labeling", "0011_run_rests")]
    operations = [
        migrations.AlterField(
            model_name="flag", name="kind", field=models.CharField(choices=KINDS, max_length=20)
        ),
    ]
