from typing import Any

import django.utils.timezone
from django.db import migrations, models

# Children first. Of django-axes, which kept attempts to sign in before.
AXES_TABLES = (
    "axes_accessattemptexpiration",
    "axes_accessattempt",
    "axes_accessfailurelog",
    "axes_accesslog",
)


def drop_axes(apps: Any, schema_editor: Any) -> None:
    for table in AXES_TABLES:
        schema_editor.execute(f"DROP TABLE IF EXISTS {table}")
    schema_editor.execute("DELETE FROM django_migrations WHERE app = 'axes'")
    # With their permissions, which the admin would go on offering.
    apps.get_model("contenttypes", "ContentType").objects.filter(
        app_label="axes"
    ).delete()


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.CreateModel(
            name="SignIn",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("name", models.CharField(max_length=150, verbose_name="user name")),
                ("network", models.CharField(max_length=49, verbose_name="address")),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("succeeded", models.BooleanField(default=False)),
                ("counted", models.BooleanField(default=True, editable=False)),
            ],
            options={
                "verbose_name": "sign-in",
                "indexes": [
                    models.Index(fields=["at"], name="sign_in_at"),
                    models.Index(
                        condition=models.Q(("counted", True)),
                        fields=["name", "-at"],
                        name="sign_in_failures_of_name",
                    ),
                    models.Index(
                        condition=models.Q(("counted", True)),
                        fields=["network", "-at"],
                        name="sign_in_failures_of_network",
                    ),
                    models.Index(
                        condition=models.Q(("succeeded", True)),
                        fields=["name", "network"],
                        name="sign_in_known",
                    ),
                ],
            },
        ),
        migrations.RunPython(drop_axes, migrations.RunPython.noop),
    ]
