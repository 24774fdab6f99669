from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("conversations", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="conversation",
            name="end_asked",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AlterField(
            model_name="conversation",
            name="end_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("user_ended", "The user ended the conversation"),
                    ("ended_elsewhere", "The user ended it from another page"),
                    ("user_left", "The page was closed"),
                    ("network_lost", "The connection to the browser was lost"),
                    ("inactivity", "No sound came from the browser for a while"),
                    ("max_duration", "The longest duration was reached"),
                    ("worker_lost", "The voice engine went away"),
                    ("model_error", "The voice engine failed"),
                    ("web_lost", "The web server stopped unexpectedly"),
                    ("shutdown", "The service was shut down"),
                    ("protocol", "The browser sent something invalid"),
                    ("signed_out", "The user signed out"),
                    ("password_changed", "The password was changed elsewhere"),
                    ("account_closed", "The account was closed"),
                    ("context_full", "The memory of the model was full"),
                    ("site_error", "The site failed"),
                ],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="conversation",
            name="parked_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("user_ended", "The user ended the conversation"),
                    ("ended_elsewhere", "The user ended it from another page"),
                    ("user_left", "The page was closed"),
                    ("network_lost", "The connection to the browser was lost"),
                    ("inactivity", "No sound came from the browser for a while"),
                    ("max_duration", "The longest duration was reached"),
                    ("worker_lost", "The voice engine went away"),
                    ("model_error", "The voice engine failed"),
                    ("web_lost", "The web server stopped unexpectedly"),
                    ("shutdown", "The service was shut down"),
                    ("protocol", "The browser sent something invalid"),
                    ("signed_out", "The user signed out"),
                    ("password_changed", "The password was changed elsewhere"),
                    ("account_closed", "The account was closed"),
                    ("context_full", "The memory of the model was full"),
                    ("site_error", "The site failed"),
                ],
                max_length=20,
            ),
        ),
    ]
