// One side of a conversation, held by matrix-js-sdk. The other side is nio_client.py. Each waits for what the other
// does, and in the end writes what it has seen: one line of JSON, the last line of its standard output.
//
// Usage: node js_sdk.mjs BASE_URL OWN_NAME OTHER_NAME

import {
    ClientEvent,
    EventTimeline,
    EventType,
    MsgType,
    Preset,
    ReceiptType,
    RelationType,
    createClient,
} from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

const PATIENCE_MS = 60_000;
const LINES = 25;
const [baseUrl, ownName, otherName] = process.argv.slice(2);
logger.setLevel("error");

function step(text) {
    console.error(`js-sdk: ${text}`);
}

/** Waits until `look` gives something, asking again after every sync. */
function until(client, what, look) {
    step(`waits for ${what}`);
    return new Promise((resolve, reject) => {
        const finish = (settle, value) => {
            clearTimeout(timer);
            client.off(ClientEvent.Sync, again);
            settle(value);
        };
        const again = () => {
            try {
                const found = look();
                if (found) finish(resolve, found);
            } catch (error) {
                finish(reject, error);
            }
        };
        const timer = setTimeout(() => finish(reject, new Error(`js-sdk never saw ${what}`)), PATIENCE_MS);
        client.on(ClientEvent.Sync, again);
        again();
    });
}

async function register() {
    const anonymous = createClient({ baseUrl });
    const account = await anonymous.registerRequest({
        username: ownName,
        password: `correct horse ${ownName}`,
        initial_device_display_name: "matrix-js-sdk",
        auth: { type: "m.login.dummy" },
    });
    return createClient({
        baseUrl,
        userId: account.user_id,
        deviceId: account.device_id,
        accessToken: account.access_token,
    });
}

function textOf(event) {
    return event.getContent().body;
}

function findText(room, body) {
    return room.getLiveTimeline().getEvents().find((event) => !event.isRedacted() && textOf(event) === body);
}

/** The keys of the reactions to an event, with who reacted. */
function reactionsTo(room, eventId) {
    const relations = room.relations.getChildEventsForEvent(eventId, RelationType.Annotation, EventType.Reaction);
    const events = relations?.getRelations() ?? [];
    return events.map((event) => [event.getContent()["m.relates_to"].key, event.getSender()]).sort();
}

function sendText(client, room, body) {
    return client.sendEvent(room.roomId, EventType.RoomMessage, { msgtype: MsgType.Text, body });
}

function edit(client, room, eventId, body) {
    return client.sendEvent(room.roomId, EventType.RoomMessage, {
        "msgtype": MsgType.Text,
        "body": `* ${body}`,
        "m.new_content": { msgtype: MsgType.Text, body },
        "m.relates_to": { rel_type: RelationType.Replace, event_id: eventId },
    });
}

function joinedMembers(room) {
    return room.getJoinedMembers().map((member) => member.userId).sort();
}

/** Pages back to the room's beginning, and gives the whole history as it is after that. */
async function history(client, room) {
    while (room.getLiveTimeline().getPaginationToken(EventTimeline.BACKWARDS)) {
        await client.scrollback(room, 10);
    }
    return room
        .getLiveTimeline()
        .getEvents()
        .map((event) => [event.getId(), event.getType(), event.getSender(), event.isRedacted()]);
}

async function converse(client, other) {
    const created = await client.createRoom({
        preset: Preset.PrivateChat,
        name: "Meeting place",
        topic: "Two clients, one room",
        room_alias_name: `${ownName}-meets-${otherName}`,
        invite: [other],
    });
    const room = await until(client, "the new room", () => client.getRoom(created.room_id));
    await until(client, "the other to join", () => room.getMember(other)?.membership === "join");

    step("talks");
    const { event_id: first } = await sendText(client, room, "hello from js");
    const answer = await until(client, "an answer", () => findText(room, "hello from nio"));
    await until(client, "a reaction", () => reactionsTo(room, first).length === 1);
    await client.sendEvent(room.roomId, EventType.Reaction, {
        "m.relates_to": { rel_type: RelationType.Annotation, event_id: answer.getId(), key: "🎉" },
    });
    await edit(client, room, first, "hello again from js");
    await client.sendTyping(room.roomId, true, PATIENCE_MS);

    await until(client, "the other's edit", () => textOf(answer) === "hello again from nio");
    await until(client, "the other to type", () => room.getMember(other).typing);
    await until(client, "the other's redaction", () =>
        room.getLiveTimeline().getEvents().some((event) => event.getSender() === other && event.isRedacted()),
    );
    const { event_id: regretted } = await sendText(client, room, "to be removed by js");
    await client.redactEvent(room.roomId, regretted, undefined, { reason: "regretted" });
    await client.sendReadReceipt(answer, ReceiptType.Read);
    await client.sendTyping(room.roomId, false, 0);

    const receipt = await until(client, "the other's receipt", () => room.getReadReceiptForUserId(other, true)?.eventId === first && first);
    for (let line = 0; line < LINES; line += 1) {
        await sendText(client, room, `line ${line}`);
    }
    await client.setRoomTopic(room.roomId, "Everything has been said");
    await until(client, "the other to have read", () => findText(room, "nio has read all"));

    step("moves to another room");
    const { room_version: version } = room.currentState.getStateEvents(EventType.RoomCreate, "").getContent();
    const { replacement_room: replacementId } = await client.upgradeRoom(room.roomId, version);
    await client.invite(replacementId, other);
    const replacement = await until(client, "the new room", () => client.getRoom(replacementId));
    await until(client, "the other on the other side", () => findText(replacement, "hello from the other side"));
    await sendText(client, replacement, "goodbye from js");
    await until(client, "the own goodbye", () => {
        const event = findText(replacement, "goodbye from js");
        // A local echo has an id of its own until the server's answer is there.
        return event?.getId().startsWith("$") && !event.isSending();
    });
    await until(client, "the tombstone", () => room.currentState.getStateEvents(EventType.RoomTombstone, ""));

    return {
        room: room.roomId,
        name: room.name,
        topic: room.currentState.getStateEvents(EventType.RoomTopic, "").getContent().topic,
        alias: room.getCanonicalAlias(),
        members: joinedMembers(room),
        texts: {
            js: textOf(room.findEventById(first) ?? (await client.fetchRoomEvent(room.roomId, first))),
            nio: textOf(answer),
        },
        reactions: { js: reactionsTo(room, first), nio: reactionsTo(room, answer.getId()) },
        receipts: { nio: receipt, js: answer.getId() },
        history: await history(client, room),
        replacement: replacementId,
        replaced_by: room.currentState.getStateEvents(EventType.RoomTombstone, "").getContent().replacement_room,
        predecessor: replacement.findPredecessor().roomId,
        replacement_name: replacement.name,
        replacement_members: joinedMembers(replacement),
        replacement_history: await history(client, replacement),
    };
}

const client = await register();
const serverName = client.getUserId().slice(client.getUserId().indexOf(":") + 1);
await client.startClient({ initialSyncLimit: 5, lazyLoadMembers: true });
const report = await converse(client, `@${otherName}:${serverName}`);
client.stopClient();
await client.logout(true);
console.log(JSON.stringify(report));
process.exit(0);
