//! Tokens and what they resolve to.

use hs_accounts::{LoginError, NewSession, PasswordOptions, RefreshError, ResolveSessionError};
use hs_testkit::TestDb;
use serde_json::json;

use crate::replica::{IP, PASSWORD, Replica, body, options};

const HOUR_MS: i64 = 60 * 60 * 1000;

async fn is_unknown(replica: &Replica, access_token: &str) -> bool {
    matches!(replica.resolve_session(access_token, IP).await, Err(ResolveSessionError::Unknown))
}

#[tokio::test]
async fn logout_at_one_replica_ends_the_session_at_the_other() {
    let db = TestDb::new().await;
    let (one, two) = (Replica::start(&db).await, Replica::start(&db).await);
    let alice = one.make_user("alice", "PHONE").await;
    let session = two.session(&alice.access_token).await;

    one.log_out(&session).await.unwrap();
    two.catch_up().await;

    assert!(is_unknown(&one, &alice.access_token).await);
    assert!(is_unknown(&two, &alice.access_token).await);
}

#[tokio::test]
async fn session_names_user_and_device() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.make_user("alice", "PHONE").await;

    let session = replica.session(&alice.access_token).await;

    assert_eq!(session.user_id, "@alice:test.example");
    assert_eq!(session.device_id, "PHONE");
    assert!(!session.is_admin);
}

#[tokio::test]
async fn expired_token_is_told_apart_from_an_unknown_one() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.make_user("alice", "PHONE").await;
    replica.session(&alice.access_token).await;

    replica.clock.advance_ms(HOUR_MS);

    let resolved = replica.resolve_session(&alice.access_token, IP).await;
    assert!(matches!(resolved, Err(ResolveSessionError::Expired)));
    assert!(is_unknown(&replica, "kith_at_made_up").await);
}

#[tokio::test]
async fn login_on_a_known_device_replaces_its_tokens() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let first = replica.make_user("alice", "PHONE").await;
    let before = replica.session(&first.access_token).await;

    let second = replica.log_in("alice", PASSWORD, "PHONE").await.unwrap();

    assert!(is_unknown(&replica, &first.access_token).await);
    assert_eq!(replica.session(&second.access_token).await.device, before.device);
    let old_refresh_token = first.refresh_token.unwrap();
    assert!(matches!(replica.refresh(&old_refresh_token).await, Err(RefreshError::Unknown)));
}

#[tokio::test]
async fn refresh_can_be_repeated_until_its_tokens_are_used() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.make_user("alice", "PHONE").await;
    let first_refresh = alice.refresh_token.unwrap();

    let lost = replica.refresh(&first_refresh).await.unwrap();
    let received = replica.refresh(&first_refresh).await.unwrap();

    assert!(is_unknown(&replica, &lost.access_token).await, "tokens of the lost reply are dead");
    replica.session(&alice.access_token).await;
    replica.session(&received.access_token).await;
    assert!(matches!(replica.refresh(&first_refresh).await, Err(RefreshError::Unknown)));
    assert!(is_unknown(&replica, &alice.access_token).await, "the replaced access token is dead");
}

#[tokio::test]
async fn use_of_the_new_refresh_token_ends_the_old_one() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.make_user("alice", "PHONE").await;
    let first_refresh = alice.refresh_token.unwrap();

    let second = replica.refresh(&first_refresh).await.unwrap();
    let third = replica.refresh(&second.refresh_token).await.unwrap();

    assert!(matches!(replica.refresh(&first_refresh).await, Err(RefreshError::Unknown)));
    replica.session(&third.access_token).await;
}

#[tokio::test]
async fn first_use_at_one_replica_ends_the_old_token_at_the_other() {
    let db = TestDb::new().await;
    let (one, two) = (Replica::start(&db).await, Replica::start(&db).await);
    let alice = one.make_user("alice", "PHONE").await;
    two.session(&alice.access_token).await;

    let refreshed = one.refresh(&alice.refresh_token.unwrap()).await.unwrap();
    one.session(&refreshed.access_token).await;
    two.catch_up().await;

    assert!(is_unknown(&two, &alice.access_token).await);
}

#[tokio::test]
async fn login_token_works_once_and_for_two_minutes() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.make_user("alice", "PHONE").await;
    let session = replica.session(&alice.access_token).await;
    let make = async || {
        let auth = json!({ "type": "m.login.password", "password": PASSWORD });
        replica.create_login_token(&session, body(json!({ "auth": auth }))).await.unwrap().token
    };

    let used = make().await;
    replica.log_in_with_token(&used, &NewSession::default(), IP).await.unwrap();
    let again = replica.log_in_with_token(&used, &NewSession::default(), IP).await;
    assert!(matches!(again, Err(LoginError::InvalidToken)));

    let late = make().await;
    replica.clock.advance_ms(2 * 60 * 1000);
    let too_late = replica.log_in_with_token(&late, &NewSession::default(), IP).await;
    assert!(matches!(too_late, Err(LoginError::InvalidToken)));
}

#[tokio::test]
async fn login_hashes_the_password_again_when_the_costs_have_changed() {
    let db = TestDb::new().await;
    let cheap = Replica::start(&db).await;
    cheap.make_user("alice", "PHONE").await;
    let mut dear = options();
    dear.passwords = PasswordOptions { hash_memory_kib: 16, ..dear.passwords };
    let dear = Replica::start_with(&db, dear).await;

    dear.log_in("alice", PASSWORD, "PHONE").await.unwrap();

    let user = dear.store.find_user(ruma::user_id!("@alice:test.example")).await.unwrap().unwrap();
    let account = dear.store.reader().await.unwrap().find_account(user).await.unwrap().unwrap();
    assert!(account.password_hash.unwrap().contains("m=16,t=1"));
    dear.log_in("alice", PASSWORD, "PHONE").await.unwrap();
}

#[tokio::test]
async fn device_in_use_is_noted() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.make_user("alice", "PHONE").await;
    replica.clock.advance_ms(HOUR_MS / 2);

    let session = replica.session(&alice.access_token).await;
    replica.write_seen().await.unwrap();

    let device = replica.find_device(session.user, "PHONE").await.unwrap().unwrap();
    assert_eq!(device.last_seen_at, Some(1_700_000_000_000 + HOUR_MS / 2));
    assert_eq!(device.last_seen_ip.as_deref(), Some("192.0.2.1"));
}
