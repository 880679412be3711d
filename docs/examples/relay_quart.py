"""Quart: relay a chat as server-sent events."""

from collections.abc import AsyncGenerator

from quart import Quart, Response, abort, current_app, request

from openrouter_async import AsyncOpenRouter
from openrouter_async.relay import Relay, read_ui_messages

MODEL = "openai/gpt-4o-mini"

app = Quart(__name__)
# Quart would end a response after 60 seconds.
app.config["RESPONSE_TIMEOUT"] = None


@app.while_serving
async def share_client() -> AsyncGenerator[None, None]:
    """Share one client in the process."""
    async with AsyncOpenRouter(app_title="My backend") as client:
        app.extensions["openrouter"] = client
        yield


@app.post("/chat")
async def chat() -> Response:
    """Respond to the messages of a browser."""
    try:
        messages = read_ui_messages(await request.get_json())
    except ValueError as error:
        abort(400, str(error))
    client: AsyncOpenRouter = current_app.extensions["openrouter"]
    relay = Relay(client.chat.send(model=MODEL, messages=messages, stream=True))
    # A relay that is returned as it is would be rejected: it is not a generator.
    return Response(relay, headers=relay.headers)
