//! Keys of devices: uploading them, claiming one-time keys, asking for the keys of a room.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use memchr::memmem;

use crate::{
    load::{closed_loop, each_once},
    session::Session,
    world::World,
};

/// What a client uploads at first.
const KEYS_PER_DEVICE: usize = 50;
/// How many devices one claim is for: those of a small room.
const DEVICES_PER_CLAIM: usize = 20;
/// How many users one query is for at most: those of a big room.
const USERS_PER_QUERY: usize = 200;
const CLAIMERS: usize = 8;

pub(super) async fn run(world: &mut World) -> Result<()> {
    let count = world.sizes.key_devices;
    let sessions = world.new_sessions(count).await?;
    // Signing is the clients' work, and done before.
    let mut devices: Vec<Device> = Vec::with_capacity(count);
    for (number, mut session) in sessions.into_iter().enumerate() {
        let device_id = session.device_id().await?;
        let body = upload(&session.user.id, &device_id, number);
        devices.push(Device { session, device_id, body });
    }
    let limit = world.limit(count);
    let row = world
        .measure("keys", format!("upload of a device, {KEYS_PER_DEVICE} keys"), async {
            Ok(each_once(&mut devices, CLAIMERS, limit, async |device| {
                device.session.call("POST", format_args!("/keys/upload"), device.body.as_bytes()).await?;
                Ok(())
            })
            .await)
        })
        .await?;
    world.push(row);
    claim(world, &mut devices).await?;
    query(world, &mut devices).await
}

/// Claims, until all keys are handed out: each device is asked for as often as it has keys.
async fn claim(world: &mut World, devices: &mut [Device]) -> Result<()> {
    let per_claim = DEVICES_PER_CLAIM.min(devices.len());
    let groups: Vec<String> = devices
        .chunks_exact(per_claim)
        .map(|devices| {
            let wanted = devices.iter().map(|device| {
                format!(r#""{}":{{"{}":"signed_curve25519"}}"#, device.session.user.id, device.device_id)
            });
            format!(r#"{{"one_time_keys":{{{}}}}}"#, wanted.collect::<Vec<_>>().join(","))
        })
        .collect();
    let limit = world.limit(groups.len() * KEYS_PER_DEVICE);
    let claimers = CLAIMERS.min(devices.len());
    let row = world
        .measure("keys", format!("claim of a key of each of {per_claim} devices"), async {
            Ok(closed_loop(&mut devices[..claimers], limit, async |device, number| {
                let body = groups[number % groups.len()].as_bytes();
                let reply = device.session.call("POST", format_args!("/keys/claim"), body).await?;
                let keys = memmem::find_iter(reply.body, b"\"signed_curve25519:").count();
                ensure!(keys == per_claim, "{keys} keys for {per_claim} devices");
                Ok(())
            })
            .await)
        })
        .await?;
    world.push(row);
    Ok(())
}

async fn query(world: &mut World, devices: &mut [Device]) -> Result<()> {
    let users = USERS_PER_QUERY.min(devices.len());
    let wanted: Vec<String> =
        devices[..users].iter().map(|device| format!(r#""{}":[]"#, device.session.user.id)).collect();
    let body = format!(r#"{{"device_keys":{{{}}}}}"#, wanted.join(","));
    let limit = world.limit(world.sizes.key_queries);
    let claimers = CLAIMERS.min(devices.len());
    let row = world
        .measure("keys", format!("query of {users} users"), async {
            Ok(closed_loop(&mut devices[..claimers], limit, async |device, _| {
                let reply = device.session.call("POST", format_args!("/keys/query"), body.as_bytes()).await?;
                let keys = memmem::find_iter(reply.body, b"\"algorithms\"").count();
                ensure!(keys == users, "the keys of {keys} devices for {users} users");
                Ok(())
            })
            .await)
        })
        .await?;
    world.push(row);
    Ok(())
}

struct Device {
    session: Session,
    device_id: String,
    body: String,
}

/// Identity keys, one-time keys and a fallback key, signed; keys of objects stand in the order in which they are signed.
fn upload(user: &str, device: &str, number: usize) -> String {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    let signer = SigningKey::from_bytes(&seed);
    let public = STANDARD_NO_PAD.encode(signer.verifying_key().as_bytes());
    let sign = |text: &str| {
        let signature = STANDARD_NO_PAD.encode(signer.sign(text.as_bytes()).to_bytes());
        format!(r#""signatures":{{"{user}":{{"ed25519:{device}":"{signature}"}}}}"#)
    };
    let key = |kind: u8, at: usize| {
        let mut bytes = seed;
        bytes[8] = kind;
        bytes[9..17].copy_from_slice(&(at as u64).to_le_bytes());
        STANDARD_NO_PAD.encode(bytes)
    };
    let identity = format!(
        r#"{{"algorithms":["m.olm.v1.curve25519-aes-sha2","m.megolm.v1.aes-sha2"],"device_id":"{device}","keys":{{"curve25519:{device}":"{}","ed25519:{device}":"{public}"}},"user_id":"{user}"}}"#,
        key(0, 0)
    );
    let mut one_time = String::new();
    for at in 0..KEYS_PER_DEVICE {
        let object = format!(r#"{{"key":"{}"}}"#, key(1, at));
        let signatures = sign(&object);
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(
            one_time,
            r#"{comma}"signed_curve25519:A{at:05}":{},{signatures}}}"#,
            object.trim_end_matches('}')
        );
    }
    let fallback = format!(r#"{{"fallback":true,"key":"{}"}}"#, key(2, 0));
    format!(
        r#"{{"device_keys":{},{}}},"one_time_keys":{{{one_time}}},"fallback_keys":{{"signed_curve25519:F":{},{}}}}}}}"#,
        &identity[..identity.len() - 1],
        sign(&identity),
        &fallback[..fallback.len() - 1],
        sign(&fallback),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn upload_is_what_clients_send() {
        let body: Value = serde_json::from_str(&upload("@a:b", "DEV", 3)).unwrap();
        assert_eq!(body["one_time_keys"].as_object().unwrap().len(), KEYS_PER_DEVICE);
        assert_eq!(body["device_keys"]["device_id"], "DEV");
        let fallback = &body["fallback_keys"]["signed_curve25519:F"];
        assert!(fallback["fallback"] == true && fallback["signatures"]["@a:b"]["ed25519:DEV"].is_string());
    }
}
