//! User-interactive authentication over several requests.

use hs_accounts::{AuthError, Challenge, ChangePasswordError, DeleteDevicesError, StageFailure};
use hs_testkit::TestDb;
use serde_json::{Value, json};

use crate::replica::{PASSWORD, Replica, body};

const NEW_PASSWORD: &str = "battery staple";

fn password_auth(session: &str, password: &str) -> Value {
    json!({ "type": "m.login.password", "session": session, "password": password })
}

fn challenge(error: ChangePasswordError) -> Challenge {
    match error {
        ChangePasswordError::Auth(AuthError::Challenge(challenge)) => *challenge,
        other => panic!("a challenge was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn session_goes_on_at_another_replica() {
    let db = TestDb::new().await;
    let (one, two) = (Replica::start(&db).await, Replica::start(&db).await);
    let alice = one.make_user("alice", "PHONE").await;
    let session = one.session(&alice.access_token).await;

    let request = body(json!({ "new_password": NEW_PASSWORD }));
    let asked = challenge(one.change_password(&session, request).await.unwrap_err());
    let auth = password_auth(&asked.session, PASSWORD);
    let request = body(json!({ "new_password": NEW_PASSWORD, "auth": auth }));
    two.change_password(&session, request).await.unwrap();

    one.log_in("alice", NEW_PASSWORD, "LAPTOP").await.unwrap();
}

#[tokio::test]
async fn wrong_password_can_be_tried_again_in_the_same_session() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.make_user("alice", "PHONE").await;
    let session = replica.session(&alice.access_token).await;
    let change = async |auth: Value| {
        let request = body(json!({ "new_password": NEW_PASSWORD, "auth": auth }));
        replica.change_password(&session, request).await
    };

    let auth = json!({ "type": "m.login.password", "password": "wrong" });
    let asked = challenge(change(auth).await.unwrap_err());
    assert_eq!(asked.failure, Some(StageFailure::WrongPassword));
    assert!(asked.completed.is_empty());

    change(password_auth(&asked.session, PASSWORD)).await.unwrap();
}

#[tokio::test]
async fn session_cannot_be_used_twice() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.make_user("alice", "PHONE").await;
    let session = replica.session(&alice.access_token).await;
    let request = body(json!({ "new_password": NEW_PASSWORD }));
    let asked = challenge(replica.change_password(&session, request).await.unwrap_err());
    let auth = password_auth(&asked.session, PASSWORD);
    let request = json!({ "new_password": NEW_PASSWORD, "auth": auth });
    replica.change_password(&session, body(request.clone())).await.unwrap();

    let again = challenge(replica.change_password(&session, body(request)).await.unwrap_err());

    assert_eq!(again.failure, Some(StageFailure::UnknownSession));
    assert_ne!(again.session, asked.session);
}

#[tokio::test]
async fn session_for_one_operation_is_good_for_no_other() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.make_user("alice", "PHONE").await;
    let session = replica.session(&alice.access_token).await;
    let request = body(json!({ "new_password": NEW_PASSWORD }));
    let asked = challenge(replica.change_password(&session, request).await.unwrap_err());

    let auth = password_auth(&asked.session, PASSWORD);
    let request = body(json!({ "devices": ["PHONE"], "auth": auth }));
    let deleted = replica.delete_devices(&session, request).await;

    assert!(matches!(deleted, Err(DeleteDevicesError::Auth(AuthError::WrongSession))));
}

#[tokio::test]
async fn session_of_another_user_is_refused() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let (alice, bob) = (replica.make_user("alice", "PHONE").await, replica.make_user("bob", "PHONE").await);
    let (alice, bob) = (replica.session(&alice.access_token).await, replica.session(&bob.access_token).await);
    let request = body(json!({ "new_password": NEW_PASSWORD }));
    let asked = challenge(replica.change_password(&alice, request).await.unwrap_err());

    let auth = password_auth(&asked.session, PASSWORD);
    let changed =
        replica.change_password(&bob, body(json!({ "new_password": NEW_PASSWORD, "auth": auth }))).await;

    assert!(matches!(changed, Err(ChangePasswordError::Auth(AuthError::WrongSession))));
}

#[tokio::test]
async fn session_expires() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.make_user("alice", "PHONE").await;
    let session = replica.session(&alice.access_token).await;
    let request = body(json!({ "new_password": NEW_PASSWORD }));
    let asked = challenge(replica.change_password(&session, request).await.unwrap_err());

    replica.clock.advance_ms(60 * 60 * 1000);
    let auth = password_auth(&asked.session, PASSWORD);
    let changed =
        replica.change_password(&session, body(json!({ "new_password": NEW_PASSWORD, "auth": auth }))).await;

    assert_eq!(challenge(changed.unwrap_err()).failure, Some(StageFailure::UnknownSession));
}
