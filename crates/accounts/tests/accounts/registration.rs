//! Who gets an account.

use hs_accounts::{
    AdminError, AuthError, NewRegistrationToken, NewUser, RegisterError, Registered, RegistrationMode,
};
use hs_testkit::TestDb;
use serde_json::{Value, json};

use crate::replica::{IP, PASSWORD, Replica, body, options};

fn by(auth: &Value, username: &str) -> hs_accounts::UiaBody {
    body(json!({ "username": username, "password": PASSWORD, "auth": auth }))
}

fn by_token(token: &str, username: &str) -> hs_accounts::UiaBody {
    by(&json!({ "type": "m.login.registration_token", "token": token }), username)
}

async fn replica(db: &TestDb, mode: RegistrationMode) -> Replica {
    let mut options = options();
    options.registration.mode = mode;
    Replica::start_with(db, options).await
}

async fn is_admin(replica: &Replica, registered: Registered) -> bool {
    let Registered::LoggedIn(logged_in) = registered else { return false };
    replica.session(&logged_in.access_token).await.is_admin
}

#[tokio::test]
async fn closed_server_admits_only_the_first_administrator() {
    let db = TestDb::new().await;
    let replica = replica(&db, RegistrationMode::Closed).await;
    let token = replica.first_run_token().await.unwrap().unwrap();

    let root = replica.register(by_token(&token, "root"), IP).await.unwrap();
    assert!(is_admin(&replica, root).await);

    let second = replica.register(by_token(&token, "second"), IP).await;
    assert!(matches!(second, Err(RegisterError::Closed)));
    assert_eq!(replica.first_run_token().await.unwrap(), None);
}

#[tokio::test]
async fn replicas_agree_on_the_token_of_the_first_run() {
    let db = TestDb::new().await;
    let (one, two) = (Replica::start(&db).await, Replica::start(&db).await);

    let (first, second) = tokio::join!(one.first_run_token(), two.first_run_token());

    let first = first.unwrap();
    assert!(first.is_some());
    assert_eq!(first, second.unwrap());
}

#[tokio::test]
async fn administrator_made_by_hand_makes_the_token_of_the_first_run_invalid() {
    let db = TestDb::new().await;
    let replica = replica(&db, RegistrationMode::Token).await;
    let token = replica.first_run_token().await.unwrap().unwrap();
    let root = NewUser { username: "root".to_owned(), is_admin: true, ..NewUser::default() };
    replica.admin_create_user(&root).await.unwrap();

    let registered = replica.register(by_token(&token, "mallory"), IP).await;

    assert!(matches!(registered, Err(RegisterError::Auth(AuthError::Challenge(_)))));
}

#[tokio::test]
async fn token_for_one_admits_one_of_two_at_the_same_time() {
    let db = TestDb::new().await;
    let replica = replica(&db, RegistrationMode::Token).await;
    let token = NewRegistrationToken { uses_allowed: Some(1), ..NewRegistrationToken::default() };
    let token = replica.admin_create_registration_token(&token).await.unwrap().token;

    let (one, two) = tokio::join!(
        replica.register(by_token(&token, "one"), IP),
        replica.register(by_token(&token, "two"), IP)
    );

    assert_ne!(one.is_ok(), two.is_ok());
}

#[tokio::test]
async fn name_goes_to_one_of_two_at_the_same_time() {
    let db = TestDb::new().await;
    let (one, two) = (Replica::start(&db).await, Replica::start(&db).await);
    let dummy = json!({ "type": "m.login.dummy" });

    let (first, second) =
        tokio::join!(one.register(by(&dummy, "alice"), IP), two.register(by(&dummy, "alice"), IP));

    assert_ne!(first.is_ok(), second.is_ok());
    let refused = if first.is_err() { first } else { second };
    assert!(matches!(refused, Err(RegisterError::UserInUse)));
}

#[tokio::test]
async fn client_cannot_bring_the_hash_of_a_password() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let auth = json!({ "type": "m.login.dummy" });
    let forged = json!({ "username": "alice", "kith.password_hash": "$argon2id$forged", "auth": auth });

    let registered = replica.register(body(forged), IP).await;

    assert!(matches!(registered, Err(RegisterError::MissingPassword)));
}

#[tokio::test]
async fn name_of_a_deactivated_user_stays_taken() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    replica.make_user("alice", "PHONE").await;
    replica.admin_deactivate("alice", true).await.unwrap();

    let again = NewUser { username: "alice".to_owned(), ..NewUser::default() };

    assert!(matches!(replica.admin_create_user(&again).await, Err(AdminError::UserInUse)));
}
