"""Indexes, and what the database itself guarantees about the rows."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0001_rows")]

    operations = [
        migrations.AddIndex(
            model_name='label',
            index=models.Index(fields=['pair', 'withdrawn'], name='label_by_pair'),
        ),
        migrations.AddConstraint(
            model_name='label',
            constraint=models.UniqueConstraint(condition=models.Q(('source', 'import')), fields=('pair', 'external_annotator'), name='one_imported_label_per_annotator'),
        ),
        migrations.AddConstraint(
            model_name='label',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('annotator__isnull', False), ('claim__isnull', False), ('source', 'claim')), models.Q(('annotator__isnull', False), ('claim__isnull', True), ('source', 'adjudication')), models.Q(('annotator__isnull', True), ('claim__isnull', True), ('source', 'import')), _connector='OR'), name='label_has_its_origin'),
        ),
        migrations.AddConstraint(
            model_name='label',
            constraint=models.CheckConstraint(condition=models.Q(('choice__in', ['a', 'b', 'tie', 'both_bad']), ('final_choice__in', ['a', 'b', 'tie', 'both_bad'])), name='label_choice_known'),
        ),
        migrations.AddIndex(
            model_name='judgingrequest',
            index=models.Index(fields=['state', 'priority', 'id'], name='request_next'),
        ),
        migrations.AddConstraint(
            model_name='judgingrequest',
            constraint=models.UniqueConstraint(fields=('pair', 'judge', 'method'), name='one_request_per_method'),
        ),
        migrations.AddConstraint(
            model_name='judgement',
            constraint=models.UniqueConstraint(fields=('pair', 'judge', 'method'), name='one_judgement_per_method'),
        ),
        migrations.AddConstraint(
            model_name='judgement',
            constraint=models.CheckConstraint(condition=models.Q(('p_a__gte', 0), ('p_a__lte', 1)), name='p_a_is_a_probability'),
        ),
        migrations.AddConstraint(
            model_name='flag',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'open')), fields=('pair', 'kind'), name='one_open_flag_per_kind'),
        ),
        migrations.AddIndex(
            model_name='claim',
            index=models.Index(fields=['annotator', 'state', '-id'], name='claim_by_annotator'),
        ),
        migrations.AddConstraint(
            model_name='claim',
            constraint=models.UniqueConstraint(fields=('pair', 'annotator'), name='one_claim_per_annotator'),
        ),
        migrations.AddConstraint(
            model_name='claim',
            constraint=models.UniqueConstraint(condition=models.Q(('state__in', ['live', 'done'])), fields=('pair', 'slot'), name='one_holder_per_slot'),
        ),
        migrations.AddConstraint(
            model_name='claim',
            constraint=models.CheckConstraint(condition=models.Q(('slot__lt', models.F('slots'))), name='slot_below_overlap'),
        ),
        migrations.AddIndex(
            model_name='pair',
            index=models.Index(fields=['project', 'shuffle'], name='pair_random_order'),
        ),
        migrations.AddIndex(
            model_name='pair',
            index=models.Index(fields=['project', 'part'], name='pair_by_part'),
        ),
        migrations.AddConstraint(
            model_name='pair',
            constraint=models.UniqueConstraint(fields=('project', 'external_id'), name='one_pair_per_external_id'),
        ),
        migrations.AddConstraint(
            model_name='pair',
            constraint=models.UniqueConstraint(fields=('project', 'content_hash'), name='one_pair_per_content'),
        ),
        migrations.AddConstraint(
            model_name='member',
            constraint=models.UniqueConstraint(fields=('project', 'user'), name='one_role_per_project'),
        ),
        migrations.AddConstraint(
            model_name='importbatch',
            constraint=models.UniqueConstraint(fields=('project', 'sha256'), name='one_batch_per_file'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'champion')), fields=('project',), name='one_champion_per_project'),
        ),
        migrations.AddConstraint(
            model_name='deployment',
            constraint=models.UniqueConstraint(fields=('project', 'judge'), name='one_deployment_per_judge'),
        ),
        migrations.AddConstraint(
            model_name='rationale',
            constraint=models.UniqueConstraint(fields=('judgement', 'swapped', 'sample'), name='one_rationale_per_sample'),
        ),
        migrations.AddConstraint(
            model_name='trainingrun',
            constraint=models.UniqueConstraint(condition=models.Q(('state__in', ['queued', 'running'])), fields=('project',), name='one_active_run_per_project'),
        ),
    ]
