//! `/health/live` and `/health/ready`, for whatever watches over the server.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, extract::State, response::Response, routing::get};
use hs_http::error::json_response;
use http::StatusCode;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

/// How long a check may take before it counts as failed. Probes give up after a few seconds themselves.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type CheckFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Check = Arc<dyn Fn() -> CheckFuture + Send + Sync>;

/// What being ready depends on.
#[derive(Clone, Default)]
pub struct Health {
    stopping: CancellationToken,
    checks: Vec<(&'static str, Check)>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.checks.iter().map(|(name, _)| name)).finish()
    }
}

impl Health {
    /// Ready until `stopping` is cancelled.
    pub fn new(stopping: CancellationToken) -> Self {
        Self { stopping, checks: Vec::new() }
    }

    /// Ready only while `check` succeeds.
    #[must_use]
    pub fn with_check<F>(mut self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.checks.push((name, Arc::new(move || Box::pin(check()))));
        self
    }

    /// The two routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/health/live", get(async || json_response(StatusCode::OK, &json!({ "status": "ok" }))))
            .route("/health/ready", get(ready))
            .with_state(self)
    }
}

async fn ready(State(health): State<Health>) -> Response {
    if health.stopping.is_cancelled() {
        return json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "stopping" }));
    }
    let mut problems = Map::new();
    for (name, check) in &health.checks {
        let problem = match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
            Ok(Ok(())) => continue,
            Ok(Err(problem)) => problem,
            Err(_) => "no answer".to_owned(),
        };
        problems.insert((*name).to_owned(), problem.into());
    }
    if problems.is_empty() {
        return json_response(StatusCode::OK, &json!({ "status": "ok" }));
    }
    let body = json!({ "status": "unavailable", "problems": Value::Object(problems) });
    json_response(StatusCode::SERVICE_UNAVAILABLE, &body)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn status(health: &Health, path: &str) -> u16 {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        health.clone().router().oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn ready_while_all_checks_pass() {
        let health = Health::default().with_check("database", async || Ok(()));

        assert_eq!(status(&health, "/health/ready").await, 200);
    }

    #[tokio::test]
    async fn alive_but_not_ready_when_a_check_fails() {
        let health = Health::default().with_check("database", async || Err("gone".to_owned()));

        assert_eq!(status(&health, "/health/live").await, 200);
        assert_eq!(status(&health, "/health/ready").await, 503);
    }

    #[tokio::test(start_paused = true)]
    async fn check_that_hangs_has_failed() {
        let health = Health::default().with_check("database", std::future::pending);

        assert_eq!(status(&health, "/health/ready").await, 503);
    }

    #[tokio::test]
    async fn not_ready_while_stopping() {
        let stopping = CancellationToken::new();
        let health = Health::new(stopping.clone());

        stopping.cancel();

        assert_eq!(status(&health, "/health/ready").await, 503);
    }
}
