// One side of an encrypted conversation, held by matrix-js-sdk with its Rust crypto. The other side is nio_crypto.py.
//
// Alice has devices that come one after the other: the first sets up cross-signing, secret storage and the key backup;
// the second is verified by comparing emoji with the first; the third has nothing but the recovery key, and follows
// the room by sliding sync. Bob has one device, and leaves a dehydrated one in its place. Every device has to decrypt
// everything that was said. In the end it writes what was read: one line of JSON, the last line of its standard output.
//
// Usage: node js_crypto.mjs BASE_URL ALICE BOB OTHER
// OTHER is a name on the same server, or the id of a user of another one.

import { ClientEvent, EventType, MatrixEventEvent, Method, MsgType, Preset, createClient } from "matrix-js-sdk";
import { CryptoEvent, VerificationPhase, VerificationRequestEvent, VerifierEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
import { logger } from "matrix-js-sdk/lib/logger.js";
import { SlidingSync } from "matrix-js-sdk/lib/sliding-sync.js";

const PATIENCE_MS = 60_000;
const [baseUrl, aliceName, bobName, otherName] = process.argv.slice(2);
logger.setLevel("error");
// The Rust part writes all it does to the console, whatever the logger says.
console.debug = () => {};
console.info = () => {};

function step(text) {
    console.error(`js-crypto: ${text}`);
}

function fail(what) {
    throw new Error(`js-crypto: ${what}`);
}

/** Waits until `look` gives something, asking again whenever anything has happened at the device. */
function until(device, what, look) {
    const emitters = [
        [device.client, [ClientEvent.Sync, ClientEvent.Event, MatrixEventEvent.Decrypted, CryptoEvent.KeysChanged]],
        [device.client, [CryptoEvent.VerificationRequestReceived, CryptoEvent.KeyBackupStatus]],
        [device.client, [CryptoEvent.KeyBackupDecryptionKeyCached, CryptoEvent.KeyBackupSessionsRemaining]],
    ];
    return new Promise((resolve, reject) => {
        let isOver = false;
        const finish = (settle, value) => {
            isOver = true;
            clearTimeout(timer);
            for (const [emitter, events] of emitters) events.forEach((event) => emitter.off(event, again));
            settle(value);
        };
        const again = async () => {
            try {
                const found = await look();
                if (found && !isOver) finish(resolve, found);
            } catch (error) {
                finish(reject, error);
            }
        };
        const timer = setTimeout(() => finish(reject, new Error(`${device.name} never saw ${what}`)), PATIENCE_MS);
        for (const [emitter, events] of emitters) events.forEach((event) => emitter.on(event, again));
        again();
    });
}

function passwordOf(localpart) {
    return `correct horse ${localpart}`;
}

/** Asks for the password when the server wants it. */
function withPassword(localpart, userId) {
    return async (makeRequest) => {
        try {
            return await makeRequest(null);
        } catch (error) {
            const session = error.data?.session;
            if (!session) throw error;
            const identifier = { type: "m.id.user", user: userId };
            return makeRequest({ type: "m.login.password", identifier, password: passwordOf(localpart), session });
        }
    };
}

/** A device of a user, logged in and ready to encrypt, but not syncing yet. */
async function makeDevice(name, localpart, account, keys) {
    const client = createClient({
        baseUrl,
        userId: account.user_id,
        deviceId: account.device_id,
        accessToken: account.access_token,
        cryptoCallbacks: {
            // The recovery key, which a person would type.
            getSecretStorageKey: async ({ keys: wanted }) => {
                const id = Object.keys(wanted).find((id) => id in keys);
                return id ? [id, keys[id]] : null;
            },
            cacheSecretStorageKey: (id, _info, key) => {
                keys[id] = key;
            },
        },
    });
    await client.initRustCrypto({ useIndexedDB: false });
    return { name, localpart, client, crypto: client.getCrypto(), keys };
}

async function register(name, localpart) {
    const account = await createClient({ baseUrl }).registerRequest({
        username: localpart,
        password: passwordOf(localpart),
        initial_device_display_name: name,
        auth: { type: "m.login.dummy" },
    });
    return makeDevice(name, localpart, account, {});
}

async function login(name, localpart, keys) {
    const account = await createClient({ baseUrl }).loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: localpart },
        password: passwordOf(localpart),
        initial_device_display_name: name,
    });
    return makeDevice(name, localpart, account, keys);
}

async function start(device, options = {}) {
    await device.client.startClient({ initialSyncLimit: 50, ...options });
    await until(device, "its first sync", () => device.client.isInitialSyncComplete() || device.client.getSyncState() === "SYNCING");
}

/** Cross-signing, secret storage and a key backup, made anew. */
async function bootstrap(device) {
    const { client, crypto, localpart } = device;
    step(`${device.name} sets up cross-signing, secret storage and the backup`);
    await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: withPassword(localpart, client.getUserId()) });
    await crypto.bootstrapSecretStorage({
        createSecretStorageKey: () => crypto.createRecoveryKeyFromPassphrase(),
        setupNewSecretStorage: true,
        setupNewKeyBackup: true,
    });
    if (!(await crypto.isCrossSigningReady())) fail("cross-signing is not ready");
    if (!(await crypto.isSecretStorageReady())) fail("secret storage is not ready");
    await until(device, "its backup", () => crypto.getActiveSessionBackupVersion());
}

/** Two devices of one user compare emoji; each side's person sees what the other sees. */
async function verifyBySas(newcomer, known) {
    step(`${newcomer.name} is verified by ${known.name}`);
    const userId = known.client.getUserId();
    await newcomer.crypto.getUserDeviceInfo([userId], true);
    const incoming = new Promise((resolve) => known.client.once(CryptoEvent.VerificationRequestReceived, resolve));
    const outgoing = await newcomer.crypto.requestOwnUserVerification();
    const request = await incoming;
    await request.accept();
    await reaches(outgoing, VerificationPhase.Ready);
    const verifier = await outgoing.startVerification("m.sas.v1");
    const shown = sasOf(verifier);
    verifier.verify().catch(() => {});
    await reaches(request, VerificationPhase.Started);
    const otherVerifier = request.verifier;
    const otherShown = sasOf(otherVerifier);
    otherVerifier.verify().catch(() => {});
    const [ours, theirs] = await Promise.all([shown, otherShown]);
    const emoji = ours.sas.emoji.map(([symbol]) => symbol).join(" ");
    if (emoji !== theirs.sas.emoji.map(([symbol]) => symbol).join(" ")) fail("the emoji differ");
    await Promise.all([ours.confirm(), theirs.confirm()]);
    await reaches(outgoing, VerificationPhase.Done);
    await reaches(request, VerificationPhase.Done);
    for (const device of [newcomer, known]) await seesSignature(device, newcomer);
}

/** Waits until a device knows that a device of the same user is signed by the user's keys. */
async function seesSignature(device, signed) {
    await until(device, `the signature of ${signed.name}`, async () => {
        const { client } = signed;
        const status = await device.crypto.getDeviceVerificationStatus(client.getUserId(), client.getDeviceId());
        return status?.signedByOwner && status.crossSigningVerified;
    });
}

function sasOf(verifier) {
    const shown = verifier.getShowSasCallbacks();
    return shown ? Promise.resolve(shown) : new Promise((resolve) => verifier.once(VerifierEvent.ShowSas, resolve));
}

function reaches(request, phase) {
    return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`a verification stands at ${request.phase}`)), PATIENCE_MS);
        const look = () => {
            if (request.phase === VerificationPhase.Cancelled) {
                reject(new Error(`a verification was cancelled: ${request.cancellationCode}`));
            } else if (request.phase >= phase) {
                clearTimeout(timer);
                request.off(VerificationRequestEvent.Change, look);
                resolve();
            }
        };
        request.on(VerificationRequestEvent.Change, look);
        look();
    });
}

function sendText(device, roomId, body) {
    return device.client.sendEvent(roomId, EventType.RoomMessage, { msgtype: MsgType.Text, body });
}

/** The texts that a device can read in a room, and what it cannot. */
function textsOf(device, roomId) {
    const events = device.client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];
    return events
        .filter((event) => event.isEncrypted())
        .map((event) => (event.isDecryptionFailure() ? `?${event.decryptionFailureReason}` : event.getContent().body));
}

async function reads(device, roomId, texts) {
    await until(device, `the texts ${texts}`, async () => {
        // Old events are decrypted when somebody looks at them.
        await device.client.getRoom(roomId)?.decryptAllEvents();
        const read = textsOf(device, roomId);
        return texts.every((text) => read.includes(text));
    }).catch((error) => fail(`${error.message}; it has ${JSON.stringify(textsOf(device, roomId))}`));
}

/** Follows the account by sliding sync. */
function slidingSync(client) {
    const list = { ranges: [[0, 19]], timeline_limit: 20, required_state: [["*", "*"]] };
    return new SlidingSync(baseUrl, new Map([["all", list]]), { timeline_limit: 20, required_state: [["*", "*"]] }, client, 10_000);
}

/** A device with nothing but the recovery key: it signs itself and restores the backup. */
async function recover(device) {
    step(`${device.name} restores the backup`);
    const { client, crypto } = device;
    if (!(await crypto.userHasCrossSigningKeys(client.getUserId(), true))) fail("the public keys are not there");
    await crypto.bootstrapCrossSigning({ authUploadDeviceSigningKeys: withPassword(device.localpart, client.getUserId()) });
    await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
    const check = await crypto.checkKeyBackupAndEnable();
    if (!check?.trustInfo.trusted) fail("the backup is not trusted");
    const { total, imported } = await crypto.restoreKeyBackup();
    if (total === 0 || imported !== total) fail(`${imported} of ${total} keys were restored`);
}

/** Waits until everything that a device knows is in the backup. */
async function backedUp(device) {
    const keys = await device.crypto.exportRoomKeys();
    await until(device, "its keys in the backup", async () => {
        const { count } = await device.client.http.authedRequest(Method.Get, "/room_keys/version");
        return count >= keys.length;
    });
}

async function converse(alice, bob) {
    const domain = alice.client.getDomain();
    const other = otherName.startsWith("@") ? otherName : `@${otherName}:${domain}`;
    const { room_id: roomId } = await alice.client.createRoom({
        preset: Preset.TrustedPrivateChat,
        name: "Behind closed doors",
        invite: [bob.client.getUserId(), other],
        initial_state: [{ type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } }],
    });
    await until(bob, "the invite", () => bob.client.getRoom(roomId));
    await bob.client.joinRoom(roomId);
    await until(alice, "the others to join", () => {
        const room = alice.client.getRoom(roomId);
        return [bob.client.getUserId(), other].every((user) => room?.getMember(user)?.membership === "join");
    });

    const second = await login("alice's second", aliceName, {});
    await start(second);
    await verifyBySas(second, alice);
    // The secrets come from the verified device, without the recovery key.
    await until(second, "the key of the backup", () => second.crypto.getSessionBackupPrivateKey());

    step("talks");
    const texts = ["one from alice", "two from alice's second", "three from bob", "four from nio"];
    await sendText(alice, roomId, texts[0]);
    await reads(second, roomId, [texts[0]]);
    await sendText(second, roomId, texts[1]);
    await reads(bob, roomId, texts.slice(0, 2));
    await sendText(bob, roomId, texts[2]);
    for (const device of [alice, second, bob]) await reads(device, roomId, texts);
    await backedUp(second);

    const third = await login("alice's third", aliceName, alice.keys);
    await recover(third);
    await start(third, { slidingSync: slidingSync(third.client) });
    await reads(third, roomId, texts);
    for (const device of [alice, third]) await seesSignature(device, third);
    texts.push("five to all devices");
    await sendText(bob, roomId, texts.at(-1));
    for (const device of [alice, second, third, bob]) await reads(device, roomId, texts);
    texts.push("six by sliding sync");
    await sendText(third, roomId, texts.at(-1));
    for (const device of [alice, second, third, bob]) await reads(device, roomId, texts);

    step("bob is away");
    await backedUp(bob);
    if (!(await bob.crypto.isDehydrationSupported())) fail("the server has no dehydrated devices");
    await bob.crypto.startDehydration({ createNewKey: true });
    bob.client.stopClient();
    await bob.client.logout(true);
    await until(alice, "bob's device to be gone", async () => {
        const devices = (await alice.crypto.getUserDeviceInfo([bob.client.getUserId()])).get(bob.client.getUserId());
        return devices && !devices.has(bob.client.getDeviceId()) && [...devices.values()].some((device) => device.dehydrated);
    });
    texts.push("seven while bob is away");
    await alice.crypto.forceDiscardSession(roomId);
    await sendText(alice, roomId, texts.at(-1));
    const again = await login("bob's second", bobName, bob.keys);
    await start(again);
    await recover(again);
    await again.crypto.startDehydration();
    await reads(again, roomId, texts);

    texts.push("nio has read all");
    for (const device of [alice, second, third, again]) await reads(device, roomId, texts);
    const report = { room: roomId, texts: {} };
    for (const device of [alice, second, third, again]) {
        report.texts[device.name] = textsOf(device, roomId);
        device.client.stopClient();
    }
    return report;
}

const alice = await register("alice", aliceName);
const bob = await register("bob", bobName);
for (const device of [alice, bob]) {
    await start(device);
    await bootstrap(device);
}
const report = await converse(alice, bob);
console.log(JSON.stringify(report));
process.exit(0);
