//! Figures in the text format of Prometheus.
//!
//! The rest of the program speaks to the `metrics` facade; this is what stands behind it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SetRecorderError, SharedString,
    Unit,
};
use parking_lot::RwLock;

/// Upper bounds of the classes that durations are counted in, in seconds: from a lookup to a long poll.
const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The figures of this process.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Default)]
struct Inner {
    counters: RwLock<HashMap<Key, Arc<AtomicU64>>>,
    /// The bits of an `f64`.
    gauges: RwLock<HashMap<Key, Arc<AtomicU64>>>,
    histograms: RwLock<HashMap<Key, Arc<Buckets>>>,
    descriptions: RwLock<HashMap<String, SharedString>>,
    on_scrape: RwLock<Vec<Box<dyn Fn() + Send + Sync>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Buckets {
    /// One per bound, and the last for everything above.
    counts: [AtomicU64; BUCKETS.len() + 1],
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let class = BUCKETS.iter().position(|bound| value <= *bound).unwrap_or(BUCKETS.len());
        self.counts[class].fetch_add(1, Ordering::Relaxed);
        let add = |sum: u64| Some((f64::from_bits(sum) + value).to_bits());
        // The closure never declines, so neither does the update.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

impl Metrics {
    /// Makes these the figures that `metrics::counter!` and its like refer to.
    pub fn install(&self) -> Result<(), SetRecorderError<Self>> {
        metrics::set_global_recorder(self.clone())
    }

    /// Runs `update` before each answer: for figures that are looked up rather than counted.
    pub fn on_scrape(&self, update: impl Fn() + Send + Sync + 'static) {
        self.0.on_scrape.write().push(Box::new(update));
    }

    /// Everything, as Prometheus reads it.
    pub fn render(&self) -> String {
        for update in self.0.on_scrape.read().iter() {
            update();
        }
        let mut text = String::new();
        let counters = snapshot(&self.0.counters, |value| value.load(Ordering::Relaxed).to_string());
        self.write_plain(&mut text, "counter", counters);
        let gauges =
            snapshot(&self.0.gauges, |bits| f64::from_bits(bits.load(Ordering::Relaxed)).to_string());
        self.write_plain(&mut text, "gauge", gauges);
        self.write_histograms(&mut text);
        text
    }

    fn write_head(&self, text: &mut String, name: &str, kind: &str) {
        if let Some(description) = self.0.descriptions.read().get(name) {
            let _ = writeln!(text, "# HELP {name} {description}");
        }
        let _ = writeln!(text, "# TYPE {name} {kind}");
    }

    fn write_plain(&self, text: &mut String, kind: &str, families: Families<String>) {
        for (name, series) in families {
            self.write_head(text, &name, kind);
            for (labels, value) in series {
                let _ = writeln!(text, "{name}{} {value}", braced(&labels));
            }
        }
    }

    fn write_histograms(&self, text: &mut String) {
        let families = snapshot(&self.0.histograms, |buckets| {
            let counts = buckets.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
            (counts, f64::from_bits(buckets.sum.load(Ordering::Relaxed)))
        });
        for (name, series) in families {
            self.write_head(text, &name, "histogram");
            for (labels, (counts, sum)) in series {
                let separator = if labels.is_empty() { "" } else { "," };
                let mut total = 0;
                for (index, count) in counts.iter().enumerate() {
                    total += count;
                    let bound = BUCKETS.get(index).map_or("+Inf".to_owned(), f64::to_string);
                    let _ = writeln!(text, "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {total}");
                }
                let _ = writeln!(text, "{name}_sum{} {sum}", braced(&labels));
                let _ = writeln!(text, "{name}_count{} {total}", braced(&labels));
            }
        }
    }
}

/// Series by name, then by labels, both sorted so that answers can be compared.
type Families<T> = BTreeMap<String, BTreeMap<String, T>>;

fn snapshot<V, T>(values: &RwLock<HashMap<Key, Arc<V>>>, read: impl Fn(&V) -> T) -> Families<T> {
    let mut families: Families<T> = BTreeMap::new();
    for (key, value) in values.read().iter() {
        families.entry(key.name().to_owned()).or_default().insert(labels_of(key), read(value));
    }
    families
}

fn labels_of(key: &Key) -> String {
    let labels = key.labels().map(|label| {
        let value = label.value().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{}=\"{value}\"", label.key())
    });
    labels.collect::<Vec<_>>().join(",")
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn find_or_make<V: Default>(values: &RwLock<HashMap<Key, Arc<V>>>, key: &Key) -> Arc<V> {
    if let Some(value) = values.read().get(key) {
        return Arc::clone(value);
    }
    Arc::clone(values.write().entry(key.clone()).or_default())
}

impl Metrics {
    fn describe(&self, name: &KeyName, description: SharedString) {
        self.0.descriptions.write().insert(name.as_str().to_owned(), description);
    }
}

impl Recorder for Metrics {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, description);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, description);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&name, description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(find_or_make(&self.0.counters, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(find_or_make(&self.0.gauges, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(find_or_make(&self.0.histograms, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(record: impl FnOnce()) -> String {
        let metrics = Metrics::default();
        metrics::with_local_recorder(&metrics, record);
        metrics.render()
    }

    #[test]
    fn counters_and_gauges_have_a_line_per_label_set() {
        let text = rendered(|| {
            metrics::describe_counter!("hits_total", "How often.");
            metrics::counter!("hits_total", "route" => "/b").increment(2);
            metrics::counter!("hits_total", "route" => "/a\"").increment(1);
            metrics::counter!("hits_total", "route" => "/b").increment(1);
            metrics::gauge!("size").set(1.5);
        });

        assert_eq!(
            text,
            "# HELP hits_total How often.\n# TYPE hits_total counter\nhits_total{route=\"/a\\\"\"} 1\n\
             hits_total{route=\"/b\"} 3\n# TYPE size gauge\nsize 1.5\n"
        );
    }

    #[test]
    fn histogram_counts_upwards() {
        let text = rendered(|| {
            for value in [0.002, 0.3, 99.0] {
                metrics::histogram!("took_seconds", "route" => "/a").record(value);
            }
        });

        assert!(text.contains("took_seconds_bucket{route=\"/a\",le=\"0.001\"} 0\n"), "{text}");
        assert!(text.contains("took_seconds_bucket{route=\"/a\",le=\"0.0025\"} 1\n"), "{text}");
        assert!(text.contains("took_seconds_bucket{route=\"/a\",le=\"30\"} 2\n"), "{text}");
        assert!(text.contains("took_seconds_bucket{route=\"/a\",le=\"+Inf\"} 3\n"), "{text}");
        assert!(text.contains("took_seconds_sum{route=\"/a\"} 99.302\n"), "{text}");
        assert!(text.contains("took_seconds_count{route=\"/a\"} 3\n"), "{text}");
    }

    #[test]
    fn looked_up_figures_are_fresh() {
        let metrics = Metrics::default();
        let inner = metrics.clone();
        metrics.on_scrape(move || metrics::with_local_recorder(&inner, || metrics::gauge!("now").set(7.0)));

        assert!(metrics.render().contains("now 7\n"));
    }
}
