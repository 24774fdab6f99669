"""HTTP to Django, WebSockets to the consumers."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personaplex_site.settings")
django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402

from conversations import shutdown  # noqa: E402
from conversations.routing import websocket_urlpatterns as conversation_sockets  # noqa: E402
from personaplex_site import interpreter  # noqa: E402
from personaplex_site.body_limit import BodyLimit, limit_daphne  # noqa: E402
from personaplex_site.daphne_socket import limit_sockets  # noqa: E402
from personaplex_site.origins import OriginCheck  # noqa: E402
from personas.routing import websocket_urlpatterns as persona_sockets  # noqa: E402

shutdown.attend_reactor()
limit_daphne(settings.MAX_BODY_BYTES, settings.VOICE_MAX_BYTES)
limit_sockets()
application = ProtocolTypeRouter(
    {
        "http": BodyLimit(
            django_application, settings.MAX_BODY_BYTES, settings.VOICE_MAX_BYTES
        ),
        "websocket": OriginCheck(
            AuthMiddlewareStack(URLRouter(conversation_sockets + persona_sockets))
        ),
    }
)
interpreter.settle()
