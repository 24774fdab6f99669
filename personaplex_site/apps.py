from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "personaplex_site"
    verbose_name = "Site"

    def ready(self) -> None:
        from personaplex_site import checks  # noqa: F401
