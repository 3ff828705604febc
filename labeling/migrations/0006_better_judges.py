"""Retraining by schedule, versions one can look into: what runs start from, shadows, remote and pruned judges."""

import django.core.validators
import django.db.models.deletion
from django.apps.registry import Apps
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def fill(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Runs so far started from the champion and kept the yields of one iteration."""
    runs = apps.get_model("labeling", "TrainingRun")
    runs.objects.update(origin=models.F("start"))
    for run in runs.objects.exclude(yields={}):
        runs.objects.filter(pk=run.pk).update(yields=[{"iteration": 0, **run.yields}])
    runs.objects.filter(yields={}).update(yields=[])
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def forget(apps: Apps, _schema_editor: BaseDatabaseSchemaEditor) -> None:
    runs = apps.get_model("labeling", "TrainingRun")
    for run in runs.objects.all():
        runs.objects.filter(pk=run.pk).update(yields=run.yields[-1] if run.yields else {})


class Migration(migrations.Migration):

    dependencies = [
        ('labeling', '0005_humans_and_judge'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='deployment',
            name='overruled_because',
            field=models.CharField(blank=True, help_text="why the gate's decision did not count", max_length=500),
        ),
        migrations.AddField(
            model_name='deployment',
            name='overruled_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='deployment',
            name='retired_at',
            field=models.DateTimeField(blank=True, help_text='when it last ceased to be champion', null=True),
        ),
        migrations.AlterField(
            model_name='deployment',
            name='promoted_at',
            field=models.DateTimeField(blank=True, help_text='when it last became champion', null=True),
        ),
        migrations.AddField(
            model_name='deployment',
            name='shadow_since',
            field=models.DateTimeField(blank=True, help_text='from here on it judges new pairs beside the champion', null=True),
        ),
        migrations.AddField(
            model_name='deployment',
            name='weighed_of',
            field=models.JSONField(blank=True, default=list, help_text="the labels and judgements that a shadow's gate compared"),
        ),
        migrations.AddField(
            model_name='project',
            name='outside',
            field=models.ManyToManyField(blank=True, help_text="projects whose labelled hold-out tells how this one's judges do out of distribution", related_name='+', to='labeling.project'),
        ),
        migrations.AddField(
            model_name='project',
            name='replay_share',
            field=models.FloatField(default=0.5, help_text='older labelled pairs that a run from the champion repeats, for each new one', validators=[django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(10.0)]),
        ),
        migrations.AddField(
            model_name='project',
            name='retrain_every_days',
            field=models.PositiveSmallIntegerField(blank=True, help_text='retrain so many days after the last run was asked for; empty: never', null=True, validators=[django.core.validators.MinValueValidator(1)]),
        ),
        migrations.AddField(
            model_name='project',
            name='retrain_from',
            field=models.CharField(choices=[('champion', 'the champion, on the labels that it has not seen'), ('base', 'the judge that the project began with, on all labels')], default='champion', help_text='which weights a run starts from', max_length=10),
        ),
        migrations.AddField(
            model_name='project',
            name='retrain_labels',
            field=models.CharField(choices=[('soft', 'the share of people for either response'), ('consensus', 'the response that most people prefer')], default='soft', help_text='what is learnt where several people labelled a pair', max_length=10),
        ),
        migrations.AddField(
            model_name='trainingrun',
            name='origin',
            field=models.ForeignKey(help_text='the judge whose weights it starts from', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.judgeversion'),
        ),
        migrations.AddField(
            model_name='trainingrun',
            name='replay_pairs',
            field=models.PositiveIntegerField(default=0, help_text='older ones, repeated'),
        ),
        migrations.AddField(
            model_name='trainingrun',
            name='seconds',
            field=models.JSONField(blank=True, default=dict, help_text='{phase: seconds}, over all attempts'),
        ),
        migrations.AddField(
            model_name='trainingrun',
            name='tokens',
            field=models.PositiveBigIntegerField(default=0, help_text='trained on, sampled and judged'),
        ),
        migrations.AddField(
            model_name='trainingrun',
            name='versions',
            field=models.JSONField(blank=True, default=dict, help_text='of the packages that trained it'),
        ),
        migrations.AlterField(
            model_name='judgingrequest',
            name='priority',
            field=models.PositiveSmallIntegerField(choices=[(0, 'a person is waiting'), (10, 'new pair, score'), (20, 'new pair, rationales'), (30, 'judging again, score'), (40, 'judging again, rationales'), (50, 'judging beside the champion')]),
        ),
        migrations.AlterField(
            model_name='project',
            name='retrain_method',
            field=models.CharField(choices=[('star-dpo', "STaR-DPO: the judge's own rationales, right against wrong"), ('star-sft', "STaR-SFT: the judge's own right rationales"), ('genrm', 'GenRM: loss on the indicator token'), ('bradley-terry', 'Bradley–Terry: a reward model without rationales, for comparison'), ('grpo', 'GRPO: reinforcement by the verdict, an experiment')], default='star-dpo', max_length=20),
        ),
        migrations.AlterField(
            model_name='trainingrun',
            name='method',
            field=models.CharField(choices=[('star-dpo', "STaR-DPO: the judge's own rationales, right against wrong"), ('star-sft', "STaR-SFT: the judge's own right rationales"), ('genrm', 'GenRM: loss on the indicator token'), ('bradley-terry', 'Bradley–Terry: a reward model without rationales, for comparison'), ('grpo', 'GRPO: reinforcement by the verdict, an experiment')], max_length=20),
        ),
        migrations.AlterField(
            model_name='trainingrun',
            name='start',
            field=models.ForeignKey(help_text='the champion that it must beat', on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.judgeversion'),
        ),
        migrations.AlterField(
            model_name='trainingrun',
            name='training_pairs',
            field=models.PositiveIntegerField(default=0, help_text='new to the judge that it starts from'),
        ),
        migrations.AlterField(
            model_name='trainingrun',
            name='trigger',
            field=models.CharField(choices=[('button', 'button'), ('admin', 'admin action'), ('api', 'API'), ('policy', 'enough new labels'), ('schedule', 'schedule')], max_length=10),
        ),
        migrations.AlterField(
            model_name='trainingrun',
            name='yields',
            field=models.JSONField(blank=True, default=list, help_text='STaR: [{iteration, right, wrong, unparsed}] of the sampled chains'),
        ),
        migrations.CreateModel(
            name='JudgeEndpoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('url', models.URLField(max_length=300)),
                ('sealed_key', models.TextField(blank=True)),
                ('judge', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='endpoint', to='labeling.judgeversion')),
            ],
        ),
        migrations.CreateModel(
            name='JudgeTrial',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('backend', models.CharField(max_length=30)),
                ('model', models.CharField(max_length=300)),
                ('url', models.URLField(blank=True, max_length=300)),
                ('sealed_key', models.TextField(blank=True)),
                ('state', models.CharField(choices=[('waiting', 'waiting for the judge worker'), ('running', 'running'), ('passed', 'passed'), ('failed', 'failed')], default='waiting', max_length=10)),
                ('said', models.JSONField(blank=True, default=list, help_text='[{pair, method, p_a, consistent, tokens, seconds, …}]')),
                ('trainable', models.BooleanField(default=False, help_text='whether it can be trained on this installation')),
                ('note', models.CharField(blank=True, help_text='why it can or cannot be trained here', max_length=300)),
                ('error', models.TextField(blank=True)),
                ('leased_until', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('judge', models.ForeignKey(blank=True, help_text='once connected', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.judgeversion')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='trials', to='labeling.project')),
                ('requested_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-pk'],
            },
        ),
        migrations.CreateModel(
            name='PrunedWeights',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(auto_now_add=True)),
                ('bytes', models.PositiveBigIntegerField()),
                ('by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('judge', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='pruned', to='labeling.judgeversion')),
            ],
        ),
        migrations.CreateModel(
            name='TrainedPair',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('pair', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.pair')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='trained', to='labeling.trainingrun')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('run', 'pair'), name='one_row_per_trained_pair')],
            },
        ),
        migrations.RunPython(fill, forget),
        migrations.AlterField(
            model_name='trainingrun',
            name='origin',
            field=models.ForeignKey(help_text='the judge whose weights it starts from', on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.judgeversion'),
        ),
    ]
