"""Django, under an ASGI server: relay a chat as server-sent events."""

import json

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import (
    HttpRequest,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from openrouter_async import AsyncOpenRouter
from openrouter_async.relay import Relay, read_ui_messages

MODEL = "openai/gpt-4o-mini"

# A project has these settings in settings.py; "*" is for this example only.
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="example")

# Django does not report the start and the end of the process. The connections are
# opened by the first request, and closed with the event loop.
client = AsyncOpenRouter(app_title="My backend")


# A page of Django sends a CSRF token, and then the view is not exempt.
@csrf_exempt
async def chat(request: HttpRequest) -> HttpResponseBase:
    """Respond to the messages of a browser."""
    try:
        messages = read_ui_messages(json.loads(request.body))
    except ValueError as error:
        return JsonResponse({"error": str(error)}, status=400)
    relay = Relay(client.chat.send(model=MODEL, messages=messages, stream=True))
    return StreamingHttpResponse(relay, headers=relay.headers)


urlpatterns = [path("chat", chat)]
app = get_asgi_application()
