//! Writes `COVERAGE.md`. Asks a running Kith for what is built, or with `--counts` keeps that column as it was.

use std::path::Path;

use http::Method;
use sytest_like::operations::{self, Built, Operation};
use sytest_like::{Server, User};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("COVERAGE.md");
    let only_counts = std::env::args().any(|argument| argument == "--counts");
    let built = if only_counts {
        operations::built_in(&std::fs::read_to_string(&file).unwrap_or_default())
    } else {
        probe().await
    };
    std::fs::write(&file, operations::coverage(&built)).expect("COVERAGE.md can be written");
}

/// An operation that is not built answers 404 or 405 with `M_UNRECOGNIZED`.
async fn probe() -> Built {
    let server = Server::start().await;
    // Hostile paths may make the server warn; this program asks about something else.
    server.expect_log("");
    let user = server.register("coverage").await;
    let mut built = Built::new();
    for operation in operations::all() {
        let is_built = answers(&user, &operation).await;
        built.insert(operation.name(), is_built);
    }
    built
}

async fn answers(user: &User, operation: &Operation) -> bool {
    // Logging out would take the token away from the rest.
    if operation.path.contains("/logout") {
        return !is_unrecognized(&user.server, operation, None).await;
    }
    !is_unrecognized(&user.server, operation, Some(user)).await
}

async fn is_unrecognized(server: &Server, operation: &Operation, user: Option<&User>) -> bool {
    let method: Method = operation.method.parse().expect("the list has valid methods");
    let path = fill_parameters(&operation.path);
    let mut request = server.request(method.clone(), &path);
    if let Some(user) = user {
        request = request.token(&user.access_token);
    }
    if method != Method::GET {
        request = request.body("{}");
    }
    let answer = request.await;
    answer.json["errcode"] == "M_UNRECOGNIZED" || (answer.status == 404 && !answer.json.is_object())
}

fn fill_parameters(template: &str) -> String {
    template
        .split('/')
        .map(|part| if part.starts_with('{') { "x" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}
