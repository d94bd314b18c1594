//! What the cases about moderation stand on.

use sytest_like::{Response, Server, User, json, path, unique};

/// An administrator of the server.
pub(super) async fn admin_of(server: &Server) -> User {
    let answer = crate::accounts::shared_secret::register(server, &unique("admin"), true).await.expect_ok();
    User::from_login(server, &answer, "secret words")
}

/// An administrator and an ordinary user of the shared server.
pub(super) async fn admin_and_alice() -> (User, User) {
    let server = Server::shared().await;
    (admin_of(&server).await, server.register("alice").await)
}

/// Locks an account, or unlocks it.
pub(super) async fn lock(admin: &User, user_id: &str, locked: bool) -> Response {
    admin.put(&path!("/v1/admin/lock/{}", user_id), json!({"locked": locked})).await
}

/// Suspends an account, or lifts the suspension.
pub(super) async fn suspend(admin: &User, user_id: &str, suspended: bool) -> Response {
    admin.put(&path!("/v1/admin/suspend/{}", user_id), json!({"suspended": suspended})).await
}
