"""One side of a conversation, held by matrix-nio. The other side is js_sdk.mjs. Each waits for what the other does,
and in the end writes what it has seen: one line of JSON, the last line of its standard output.

Usage: python nio_client.py BASE_URL OWN_NAME OTHER_NAME
"""

import asyncio
import json
import sys
import time

from nio import (
    AsyncClient,
    ErrorResponse,
    Event,
    MessageDirection,
    ReactionEvent,
    ReceiptEvent,
    RoomMessageText,
    RoomUpgradeEvent,
    TypingNoticeEvent,
)

PATIENCE_SECONDS = 60
LONG_POLL_MS = 10_000
LINES = 25


def step(text):
    print(f"nio: {text}", file=sys.stderr, flush=True)


def good(response):
    """nio gives errors as values; here every one of them ends the conversation."""
    if isinstance(response, ErrorResponse):
        raise RuntimeError(f"{type(response).__name__}: {response}")
    return response


class Watcher:
    """Follows the sync stream and remembers what nio made of it."""

    def __init__(self, client):
        self.client = client
        self.events = {}
        self.typing = {}
        self.receipts = {}
        client.add_event_callback(self.on_event, Event)
        client.add_ephemeral_callback(self.on_typing, TypingNoticeEvent)
        client.add_ephemeral_callback(self.on_receipt, ReceiptEvent)

    def on_event(self, room, event):
        self.events.setdefault(room.room_id, {})[event.event_id] = event

    def on_typing(self, room, event):
        self.typing[room.room_id] = event.users

    def on_receipt(self, room, event):
        for receipt in event.receipts:
            self.receipts.setdefault(room.room_id, {})[receipt.user_id] = receipt.event_id

    async def until(self, what, look):
        step(f"waits for {what}")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := look()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"nio never saw {what}")
            good(await self.client.sync(timeout=LONG_POLL_MS))
        return found

    def find(self, room_id, kind, fits):
        events = self.events.get(room_id, {}).values()
        return next((event for event in events if isinstance(event, kind) and fits(event)), None)

    def find_text(self, room_id, body):
        return self.find(room_id, RoomMessageText, lambda event: event.body == body)


async def send_text(client, room_id, body):
    content = {"msgtype": "m.text", "body": body}
    return good(await client.room_send(room_id, "m.room.message", content)).event_id


async def edit(client, room_id, event_id, body):
    content = {
        "msgtype": "m.text",
        "body": f"* {body}",
        "m.new_content": {"msgtype": "m.text", "body": body},
        "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
    }
    return good(await client.room_send(room_id, "m.room.message", content)).event_id


async def react(client, room_id, event_id, key):
    content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": key}}
    return good(await client.room_send(room_id, "m.reaction", content)).event_id


async def history(client, room_id):
    """Pages back to the room's beginning."""
    events, start = [], client.next_batch
    while start:
        page = good(
            await client.room_messages(room_id, start, direction=MessageDirection.back, limit=10)
        )
        events.extend(page.chunk)
        start = page.end if page.chunk else None
    return list(reversed(events))


def told(events):
    return [
        [event.event_id, event.source["type"], event.sender, "redacted_because" in event.source.get("unsigned", {})]
        for event in events
    ]


def final_text(events, event_id):
    """The text of an event after its edits; nio leaves that to the application."""
    text = None
    for event in events:
        relation = event.source["content"].get("m.relates_to", {})
        if event.event_id == event_id:
            text = event.body
        elif relation.get("rel_type") == "m.replace" and relation.get("event_id") == event_id:
            text = event.source["content"]["m.new_content"]["body"]
    return text


def reactions_to(events, event_id):
    reactions = [event for event in events if isinstance(event, ReactionEvent)]
    return sorted([event.key, event.sender] for event in reactions if event.reacts_to == event_id)


def joined_members(client, room_id):
    return sorted(user for user in client.rooms[room_id].users if not client.rooms[room_id].users[user].invited)


async def converse(client, watcher, other):
    await watcher.until("an invite", lambda: client.invited_rooms)
    room_id, invited = next(iter(client.invited_rooms.items()))
    if invited.inviter != other or invited.name != "Meeting place":
        raise RuntimeError(f"the invite says {invited.inviter} and {invited.name}")
    good(await client.join(room_id))
    await watcher.until("the joined room", lambda: room_id in client.rooms)

    step("talks")
    first = await watcher.until("a greeting", lambda: watcher.find_text(room_id, "hello from js"))
    answer = await send_text(client, room_id, "hello from nio")
    await react(client, room_id, first.event_id, "👍")

    def reaction_to_us():
        return watcher.find(room_id, ReactionEvent, lambda event: event.reacts_to == answer)

    await watcher.until("a reaction", reaction_to_us)
    await watcher.until("the other's edit", lambda: watcher.find_text(room_id, "* hello again from js"))
    await watcher.until("the other to type", lambda: other in watcher.typing.get(room_id, []))
    await edit(client, room_id, answer, "hello again from nio")
    good(await client.room_typing(room_id, True, timeout=PATIENCE_SECONDS * 1000))
    regretted = await send_text(client, room_id, "to be removed by nio")
    good(await client.room_redact(room_id, regretted, reason="regretted"))

    def their_redaction():
        events = watcher.events[room_id].values()
        return any(event.sender == other and event.source["type"] == "m.room.redaction" for event in events)

    await watcher.until("the other's redaction", their_redaction)
    await watcher.until("the other's receipt", lambda: watcher.receipts.get(room_id, {}).get(other) == answer)
    await watcher.until("the other to stop typing", lambda: other not in watcher.typing[room_id])
    their_receipt = watcher.receipts[room_id][other]
    good(await client.room_typing(room_id, False))
    good(await client.room_read_markers(room_id, first.event_id, first.event_id))
    await watcher.until("the last line", lambda: watcher.find_text(room_id, f"line {LINES - 1}"))
    await watcher.until(
        "the new topic", lambda: client.rooms[room_id].topic == "Everything has been said"
    )
    await send_text(client, room_id, "nio has read all")

    step("moves to another room")
    tombstone = await watcher.until(
        "the tombstone", lambda: watcher.find(room_id, RoomUpgradeEvent, lambda event: True)
    )
    replacement = tombstone.replacement_room
    await watcher.until("the invite to the new room", lambda: replacement in client.invited_rooms)
    good(await client.join(replacement))
    await watcher.until("the new room", lambda: replacement in client.rooms)
    await send_text(client, replacement, "hello from the other side")
    await watcher.until("the goodbye", lambda: watcher.find_text(replacement, "goodbye from js"))

    events, replacement_events = await history(client, room_id), await history(client, replacement)
    creation = next(event for event in replacement_events if event.source["type"] == "m.room.create")
    room = client.rooms[room_id]
    return {
        "room": room_id,
        "name": room.name,
        "topic": room.topic,
        "alias": room.canonical_alias,
        "members": joined_members(client, room_id),
        "texts": {"js": final_text(events, first.event_id), "nio": final_text(events, answer)},
        "reactions": {"js": reactions_to(events, first.event_id), "nio": reactions_to(events, answer)},
        "receipts": {"js": their_receipt, "nio": first.event_id},
        "history": told(events),
        "replacement": replacement,
        "replaced_by": replacement,
        "predecessor": creation.source["content"]["predecessor"]["room_id"],
        "replacement_name": client.rooms[replacement].name,
        "replacement_members": joined_members(client, replacement),
        "replacement_history": told(replacement_events),
    }


async def main():
    base_url, own_name, other_name = sys.argv[1:]
    client = AsyncClient(base_url, own_name)
    try:
        account = good(await client.register(own_name, f"correct horse {own_name}", "matrix-nio"))
        server_name = account.user_id.partition(":")[2]
        watcher = Watcher(client)
        good(await client.sync(timeout=0, full_state=True))
        report = await converse(client, watcher, f"@{other_name}:{server_name}")
        good(await client.logout())
    finally:
        await client.close()
    print(json.dumps(report))


asyncio.run(main())
