"""One side of an encrypted conversation, held by matrix-nio with its encryption. The other side is js_crypto.mjs. In the
end it writes what it has read: one line of JSON, the last line of its standard output.

Usage: python nio_crypto.py BASE_URL OWN_NAME
"""

import asyncio
import json
import sys
import tempfile
import time

from nio import AsyncClient, AsyncClientConfig, ErrorResponse, MegolmEvent, RoomMessageText

PATIENCE_SECONDS = 120
LONG_POLL_MS = 10_000
LAST = "seven while bob is away"


def step(text):
    print(f"nio-crypto: {text}", file=sys.stderr, flush=True)


def good(response):
    """nio gives errors as values; here every one of them ends the conversation."""
    if isinstance(response, ErrorResponse):
        raise RuntimeError(f"{type(response).__name__}: {response}")
    return response


class Reader:
    """Follows the sync stream and keeps the texts, and what could not be decrypted."""

    def __init__(self, client):
        self.client = client
        self.texts = []
        client.add_event_callback(lambda room, event: self.texts.append(event.body), RoomMessageText)
        client.add_event_callback(lambda room, event: self.texts.append("?"), MegolmEvent)

    async def once(self):
        client = self.client
        good(await client.sync(timeout=LONG_POLL_MS))
        # What a client has to do after each sync.
        await client.send_to_device_messages()
        if client.should_upload_keys:
            good(await client.keys_upload())
        if client.should_query_keys:
            good(await client.keys_query())
        if client.should_claim_keys:
            good(await client.keys_claim(client.get_users_for_key_claiming()))

    async def until(self, what, look):
        step(f"waits for {what}")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := look()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"nio never saw {what}; it has {self.texts}")
            await self.once()
        return found


async def send_text(client, room_id, body):
    content = {"msgtype": "m.text", "body": body}
    good(await client.room_send(room_id, "m.room.message", content, ignore_unverified_devices=True))


async def converse(client, reader):
    await reader.until("an invite", lambda: client.invited_rooms)
    room_id = next(iter(client.invited_rooms))
    good(await client.join(room_id))
    await reader.until("the encrypted room", lambda: room_id in client.rooms and client.rooms[room_id].encrypted)
    await reader.until("what bob says", lambda: "three from bob" in reader.texts)
    await send_text(client, room_id, "four from nio")
    await reader.until("the last text", lambda: LAST in reader.texts)
    await send_text(client, room_id, "nio has read all")
    await reader.until("its own text", lambda: "nio has read all" in reader.texts)
    return {"room": room_id, "texts": {"nio": reader.texts}}


async def main():
    base_url, own_name = sys.argv[1:]
    with tempfile.TemporaryDirectory() as store:
        config = AsyncClientConfig(encryption_enabled=True, store_sync_tokens=False)
        client = AsyncClient(base_url, own_name, store_path=store, config=config)
        try:
            account = good(await client.register(own_name, f"correct horse {own_name}", "matrix-nio"))
            client.restore_login(account.user_id, account.device_id, account.access_token)
            good(await client.keys_upload())
            reader = Reader(client)
            report = await converse(client, reader)
            good(await client.logout())
        finally:
            await client.close()
    print(json.dumps(report))


asyncio.run(main())
