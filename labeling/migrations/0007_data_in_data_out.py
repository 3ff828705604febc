"""Data in and out: imports with their progress, frozen datasets, calls of the judge, tokens for one project."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('labeling', '0006_better_judges'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='DatasetVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('filters', models.JSONField(help_text='source, profile, format and whatever else was asked for')),
                ('state', models.CharField(choices=[('waiting', 'waiting for a worker'), ('running', 'running'), ('done', 'done'), ('failed', 'failed')], default='waiting', max_length=10)),
                ('manifest', models.JSONField(blank=True, default=dict, help_text='filters, counts, SHA-256, judge versions')),
                ('card', models.TextField(blank=True, help_text='Markdown')),
                ('path', models.CharField(blank=True, help_text='relative to the data folder', max_length=300)),
                ('sha256', models.CharField(blank=True, max_length=64)),
                ('bytes', models.PositiveBigIntegerField(default=0)),
                ('error', models.TextField(blank=True)),
                ('leased_until', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['-pk'],
            },
        ),
        migrations.CreateModel(
            name='JudgeCall',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('method', models.CharField(choices=[('score', "score: the indicator token's probability"), ('cot', 'rationale first, then the verdict')], max_length=10)),
                ('pairs', models.JSONField(help_text='as they were sent, checked')),
                ('state', models.CharField(choices=[('waiting', 'waiting for the judge worker'), ('running', 'running'), ('done', 'done'), ('failed', 'failed')], default='waiting', max_length=10)),
                ('said', models.JSONField(blank=True, default=list, help_text='one answer for each pair, in their order')),
                ('error', models.TextField(blank=True)),
                ('leased_until', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['-pk'],
            },
        ),
        migrations.RemoveConstraint(
            model_name='importbatch',
            name='one_batch_per_file',
        ),
        migrations.AddField(
            model_name='apitoken',
            name='project',
            field=models.ForeignKey(blank=True, help_text="empty: all the owner's", null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='labeling.project'),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='bytes',
            field=models.PositiveBigIntegerField(default=0, help_text='size of the file'),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='bytes_read',
            field=models.PositiveBigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='cancel_requested',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='error',
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='finished_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='format',
            field=models.CharField(blank=True, help_text='the layout that was detected or chosen', max_length=30),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='lease',
            field=models.CharField(blank=True, max_length=40),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='leased_until',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='mapping',
            field=models.JSONField(blank=True, default=dict, help_text='{field: column}, where a person said so'),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='requested_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='importbatch',
            name='state',
            field=models.CharField(choices=[('waiting', 'waiting for a worker'), ('running', 'running'), ('done', 'done'), ('failed', 'failed'), ('cancelled', 'cancelled')], default='done', max_length=10),
        ),
        migrations.AddField(
            model_name='rejectedline',
            name='field',
            field=models.CharField(blank=True, max_length=60),
        ),
        migrations.AddField(
            model_name='rejectedline',
            name='raw',
            field=models.TextField(blank=True, help_text='the row as it was read, to be mended and imported again'),
        ),
        migrations.AddConstraint(
            model_name='importbatch',
            constraint=models.UniqueConstraint(condition=models.Q(('state__in', ['waiting', 'running', 'done'])), fields=('project', 'sha256'), name='one_batch_per_file'),
        ),
        migrations.AddField(
            model_name='datasetversion',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='datasets', to='labeling.project'),
        ),
        migrations.AddField(
            model_name='datasetversion',
            name='requested_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='judgecall',
            name='judge',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='labeling.judgeversion'),
        ),
        migrations.AddField(
            model_name='judgecall',
            name='project',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='calls', to='labeling.project'),
        ),
        migrations.AddField(
            model_name='judgecall',
            name='requested_by',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddConstraint(
            model_name='datasetversion',
            constraint=models.UniqueConstraint(fields=('project', 'name'), name='one_dataset_per_name'),
        ),
        migrations.AddIndex(
            model_name='judgecall',
            index=models.Index(fields=['state', 'id'], name='call_next'),
        ),
    ]
