"""WebSockets to the consumers, HTTP through the front door to the pages."""

import os

from personaplex_site import exit_if_wrong

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "personaplex_site.settings")
exit_if_wrong.prepare()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402

from conversations.live import shutdown  # noqa: E402
from conversations.routing import websocket_urlpatterns as conversation_sockets  # noqa: E402
from personaplex_site import interpreter  # noqa: E402
from personaplex_site.body_limit import BodyLimit, limit_daphne  # noqa: E402
from personaplex_site.daphne_heads import answer_bad_heads  # noqa: E402
from personaplex_site.daphne_scope import name_protocols  # noqa: E402
from personaplex_site.daphne_socket import limit_sockets  # noqa: E402
from personaplex_site.databases import all_page_threads  # noqa: E402
from personaplex_site.front.application import Front, Pages  # noqa: E402
from personaplex_site.front.inside import Inside  # noqa: E402
from personaplex_site.front.relay import Relay  # noqa: E402
from personaplex_site.origins import OriginCheck  # noqa: E402
from personaplex_site.socket_cooldown import SocketCooldown  # noqa: E402
from personaplex_site.url_prefix import UnderPrefix  # noqa: E402
from personas.routing import websocket_urlpatterns as persona_sockets  # noqa: E402


def pages() -> Pages:
    """Where requests for pages go."""
    if settings.PAGES_SOCKET:
        return Relay(settings.PAGES_SOCKET)
    from personaplex_site.wsgi import application as django_application

    return Inside(django_application, all_page_threads())


shutdown.attend_reactor()
front = Front(pages())
limit_daphne(settings.MAX_BODY_BYTES, settings.VOICE_MAX_BYTES, front)
limit_sockets()
answer_bad_heads()
name_protocols()
sockets = AuthMiddlewareStack(URLRouter(conversation_sockets + persona_sockets))
application = UnderPrefix(
    ProtocolTypeRouter(
        {
            "http": BodyLimit(front, settings.MAX_BODY_BYTES, settings.VOICE_MAX_BYTES),
            "websocket": OriginCheck(SocketCooldown(sockets)),
        }
    ),
    settings.URL_PREFIX,
)
interpreter.settle()
