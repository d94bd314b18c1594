//! What users keep with us: profiles, filters.

use hs_accounts::SetProfileFieldError;
use hs_testkit::TestDb;
use serde_json::{json, value::to_raw_value};

use crate::replica::Replica;

#[tokio::test]
async fn change_at_one_replica_is_seen_at_the_other() {
    let db = TestDb::new().await;
    let (one, two) = (Replica::start(&db).await, Replica::start(&db).await);
    let alice = one.make_user("alice", "PHONE").await;
    let session = one.session(&alice.access_token).await;
    assert_eq!(two.profile_of(session.user).await.unwrap().displayname, None);

    let name = to_raw_value("Alice").unwrap();
    one.set_profile_field(session.user, "displayname", &name).await.unwrap();
    two.catch_up().await;

    let profile = two.find_profile(&alice.user_id).await.unwrap().unwrap();
    assert_eq!(profile.displayname.as_deref(), Some("Alice"));
}

#[tokio::test]
async fn profile_has_at_most_64_kib() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.make_user("alice", "PHONE").await;
    let user = replica.session(&alice.access_token).await.user;
    let half = to_raw_value(&"x".repeat(32 * 1024 - 100)).unwrap();
    replica.set_profile_field(user, "org.example.one", &half).await.unwrap();
    replica.set_profile_field(user, "org.example.two", &half).await.unwrap();

    let third = replica.set_profile_field(user, "org.example.three", &half).await;

    assert!(matches!(third, Err(SetProfileFieldError::ProfileTooLarge)));
    replica.delete_profile_field(user, "org.example.one").await.unwrap();
    replica.set_profile_field(user, "org.example.three", &half).await.unwrap();
}

#[tokio::test]
async fn profile_of_nobody_is_not_found() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;

    let profile = replica.find_profile(ruma::user_id!("@nobody:test.example")).await.unwrap();

    assert!(profile.is_none());
}

#[tokio::test]
async fn same_filter_has_the_same_id_and_the_oldest_is_forgotten() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.make_user("alice", "PHONE").await;
    let user = replica.session(&alice.access_token).await.user;
    let filter = |limit: usize| to_raw_value(&json!({ "room": { "timeline": { "limit": limit } } })).unwrap();

    let first = replica.store_filter(user, &filter(1)).await.unwrap();
    assert_eq!(replica.store_filter(user, &filter(1)).await.unwrap(), first);
    for limit in 2..=201 {
        replica.store_filter(user, &filter(limit)).await.unwrap();
    }

    assert_eq!(replica.find_filter(user, &first).await.unwrap(), None);
    let newest = replica.store_filter(user, &filter(201)).await.unwrap();
    assert!(replica.find_filter(user, &newest).await.unwrap().is_some());
}
