//! How often a cache had what it was asked for.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the questions to a cache by their outcome.
#[derive(Debug, Default)]
pub struct HitRate {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What a [`HitRate`] has counted since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HitCounts {
    /// Answered from memory.
    pub hits: u64,
    /// Not in memory.
    pub misses: u64,
}

impl HitRate {
    /// Counts an answer on its way to whoever asked.
    pub fn count<T>(&self, answer: Option<T>) -> Option<T> {
        let counter = if answer.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        answer
    }

    /// The counts so far.
    pub fn counts(&self) -> HitCounts {
        HitCounts { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_and_passed_on() {
        let rate = HitRate::default();

        assert_eq!(rate.count(Some(1)), Some(1));
        assert_eq!(rate.count(Some(2)), Some(2));
        assert_eq!(rate.count(None::<u8>), None);

        assert_eq!(rate.counts(), HitCounts { hits: 2, misses: 1 });
    }
}
