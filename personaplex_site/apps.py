from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "personaplex_site"

    def ready(self) -> None:
        from personaplex_site import checks  # noqa: F401
