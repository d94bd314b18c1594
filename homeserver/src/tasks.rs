//! Tasks with an owner.

use std::{fmt::Display, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const FIRST_RESTART_DELAY: Duration = Duration::from_millis(200);
const LAST_RESTART_DELAY: Duration = Duration::from_secs(30);

/// Work that ran this long before it failed has its next failure forgiven quickly again.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// The background tasks of the server: started here, told to end together, and waited for.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    /// The names of those that run.
    running: Arc<Mutex<Vec<&'static str>>>,
    stop: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Is cancelled when the tasks are to end. Long-running tasks watch it.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task that ends by itself. A panic in it is logged.
    #[expect(clippy::disallowed_methods, reason = "this is the spawn that everything else uses")]
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let running = Arc::clone(&self.running);
        running.lock().push(name);
        tokio::spawn(self.tracker.track_future(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(task = name, "task panicked");
            }
            let mut running = running.lock();
            if let Some(index) = running.iter().position(|other| *other == name) {
                running.swap_remove(index);
            }
        }));
    }

    /// Runs a task that is to go on until the server stops: when it fails or panics it is started again, after a pause
    /// that grows with each failure. It is dropped at its next await when the server stops; one that must finish what
    /// it is doing watches [`Tasks::stop_token`] and uses [`Tasks::spawn`].
    pub fn supervise<F, E>(&self, name: &'static str, mut start: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send,
    {
        let stop = self.stop.clone();
        self.spawn(name, async move {
            let mut delay = FIRST_RESTART_DELAY;
            loop {
                let started_at = tokio::time::Instant::now();
                let result = tokio::select! {
                    () = stop.cancelled() => return,
                    result = AssertUnwindSafe(start()).catch_unwind() => result,
                };
                if started_at.elapsed() >= HEALTHY_AFTER {
                    delay = FIRST_RESTART_DELAY;
                }
                match result {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => {
                        tracing::error!(task = name, %error, ?delay, "task failed; starting it again");
                    }
                    Err(_) => tracing::error!(task = name, ?delay, "task panicked; starting it again"),
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(delay) => {}
                }
                delay = (delay * 2).min(LAST_RESTART_DELAY);
            }
        });
    }

    /// Tells all tasks to end and waits for them, but no longer than `patience`.
    pub async fn stop(&self, patience: Duration) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            tracing::warn!(left = ?self.running.lock(), "some tasks did not end in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failing_and_panicking_work_is_started_again() {
        let tasks = Tasks::new();
        let attempts = Arc::new(AtomicU32::new(0));
        let (done, finished) = oneshot::channel();
        let mut done = Some(done);
        let counter = Arc::clone(&attempts);

        tasks.supervise("test", move || {
            let attempt = counter.fetch_add(1, Ordering::Relaxed);
            let done = (attempt == 2).then(|| done.take()).flatten();
            async move {
                match attempt {
                    0 => Err("failure"),
                    1 => panic!("a bug"),
                    _ => {
                        let _ = done.map(|done| done.send(()));
                        Ok(())
                    }
                }
            }
        });

        finished.await.unwrap();
        assert_eq!(attempts.load(Ordering::Relaxed), 3);
        tasks.stop(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn stop_waits_for_what_is_going_on() {
        let tasks = Tasks::new();
        let stop = tasks.stop_token();
        let (done, mut finished) = oneshot::channel();
        tasks.spawn("test", async move {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let _ = done.send(());
        });

        tasks.stop(Duration::from_secs(1)).await;

        assert!(finished.try_recv().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn stop_does_not_wait_forever() {
        let tasks = Tasks::new();
        tasks.spawn("test", std::future::pending());

        tasks.stop(Duration::from_secs(1)).await;
    }
}
