from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("personas", "0004_channel_of_uploads"),
    ]

    operations = [
        migrations.AddField(
            model_name="persona",
            name="edits",
            field=models.PositiveIntegerField(default=0, editable=False),
        ),
    ]
