//! What a window noted (`recorder.js`), and what can be told from two of them. Moments are epoch milliseconds.

use std::collections::BTreeMap;

use crate::it::harness::browser::Window;

/// A position is the median of the samples of so long.
const SPAN_MS: f64 = 500.0;
/// At 50 ms there are ten; a browser that was held up has fewer.
const LEAST_SAMPLES: usize = 5;
/// Positions are compared so often.
const COMPARE_EVERY_MS: f64 = 250.0;

/// From the first moment to before the second.
#[derive(Clone, Copy)]
pub(crate) struct Span(pub(crate) f64, pub(crate) f64);

impl Span {
    fn has(self, at: f64) -> bool {
        self.0 <= at && at < self.1
    }

    pub(crate) fn secs(self) -> f64 {
        (self.1 - self.0) / 1000.0
    }
}

pub(crate) struct Recording {
    pub(crate) who: &'static str,
    samples: Vec<Sample>,
    seeks: Vec<(f64, f64)>,
    rates: Vec<(f64, f64)>,
    sent: Vec<(f64, String)>,
}

struct Sample {
    at: f64,
    seconds: f64,
    rate: f64,
    is_paused: bool,
    is_seeking: bool,
    is_hidden: bool,
    /// The machine's clock at that moment, in whole milliseconds.
    date_ms: f64,
}

/// Where a player is, if it is anywhere.
struct Place {
    seconds: f64,
    is_paused: bool,
}

/// How far a viewer was from the host, in milliseconds, at each moment of some spans.
#[derive(Default)]
pub(crate) struct Differences {
    pub(crate) ms: Vec<f64>,
    /// Moments at which one of the two was seeking, was not there, or stood while the other played.
    pub(crate) apart: usize,
}

impl Recording {
    pub(crate) async fn of(who: &'static str, window: &Window) -> Recording {
        let notes = window.eval("notes").await;
        let list = |name: &str| notes[name].clone();
        let samples: Vec<(f64, f64, f64, bool, bool, bool, f64)> = serde_json::from_value(list("samples")).unwrap();
        let samples = samples.into_iter().map(|(at, seconds, rate, is_paused, is_seeking, is_hidden, date_ms)| {
            Sample { at, seconds, rate, is_paused, is_seeking, is_hidden, date_ms }
        });
        Recording {
            who,
            samples: samples.collect(),
            seeks: serde_json::from_value(list("seeks")).unwrap(),
            rates: serde_json::from_value(list("rates")).unwrap(),
            sent: serde_json::from_value(list("sent")).unwrap(),
        }
    }

    pub(crate) fn seeks_in(&self, span: Span) -> usize {
        self.seeks.iter().filter(|(at, _)| span.has(*at)).count()
    }

    pub(crate) fn rates_in(&self, span: Span) -> usize {
        self.rates.iter().filter(|(at, _)| span.has(*at)).count()
    }

    pub(crate) fn sent_in(&self, span: Span) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for (_, kind) in self.sent.iter().filter(|(at, _)| span.has(*at)) {
            *counts.entry(kind.as_str()).or_default() += 1;
        }
        counts
    }

    /// The furthest that the picture went back at once, in milliseconds.
    pub(crate) fn jumped_back_in(&self, span: Span) -> f64 {
        let samples: Vec<_> = self.samples.iter().filter(|sample| span.has(sample.at)).collect();
        samples.windows(2).map(|pair| (pair[0].seconds - pair[1].seconds) * 1000.0).fold(0.0, f64::max)
    }

    pub(crate) fn was_hidden_in(&self, span: Span) -> bool {
        self.samples.iter().any(|sample| span.has(sample.at) && sample.is_hidden)
    }

    /// How far the machine's clock is from the page's. A page keeps the clock it began with; between windows this shows
    /// what that costs the comparison.
    pub(crate) fn clock_ms(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.date_ms - sample.at).collect())
    }

    fn place(&self, at: f64) -> Option<Place> {
        let near = self.samples.partition_point(|sample| sample.at < at - SPAN_MS / 2.0);
        let samples: Vec<_> = self.samples[near..].iter().take_while(|s| s.at <= at + SPAN_MS / 2.0).collect();
        let is_paused = samples.first()?.is_paused;
        let is_steady = samples.iter().all(|sample| !sample.is_seeking && sample.is_paused == is_paused);
        if !is_steady || samples.len() < LEAST_SAMPLES {
            return None;
        }
        let carried = |sample: &Sample| sample.seconds + sample.rate * (at - sample.at) / 1000.0;
        let seconds = samples.into_iter().map(|sample| if is_paused { sample.seconds } else { carried(sample) });
        Some(Place { seconds: median(seconds.collect()), is_paused })
    }
}

impl Differences {
    /// Compares within the span: no sample is from outside of it.
    pub(crate) fn add(&mut self, host: &Recording, viewer: &Recording, span: Span) {
        let mut at = span.0 + SPAN_MS / 2.0;
        while at <= span.1 - SPAN_MS / 2.0 {
            match (host.place(at), viewer.place(at)) {
                (Some(host), Some(viewer)) if host.is_paused == viewer.is_paused => {
                    self.ms.push((viewer.seconds - host.seconds) * 1000.0);
                }
                _ => self.apart += 1,
            }
            at += COMPARE_EVERY_MS;
        }
    }
}

fn median(values: Vec<f64>) -> f64 {
    percentile(values, 0.5)
}

/// The value that this share of all is not above; NaN if there are none.
pub(crate) fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
