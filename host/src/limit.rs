//! How fast is too fast: a token bucket, and one for each address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Addresses remembered at once; beyond it those that have been quiet are forgotten.
const MAX_ADDRESSES: usize = 65_536;

/// Gives out `per_sec` tokens a second, up to `burst` at once.
#[derive(Debug)]
pub struct Bucket {
    tokens: f64,
    per_sec: f64,
    burst: f64,
    filled_at: Instant,
}

impl Bucket {
    pub fn new(per_sec: f64, burst: f64, now: Instant) -> Self {
        Bucket { tokens: burst, per_sec, burst, filled_at: now }
    }

    /// Takes a token, or says no.
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }

    /// How long until there is a token.
    pub fn wait(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.tokens) / self.per_sec).max(0.0))
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_sec).min(self.burst);
        self.filled_at = now;
    }
}

/// A bucket for each address: so many a minute, a minute's worth at once.
#[derive(Debug)]
pub struct PerAddress {
    per_minute: u64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

impl PerAddress {
    /// `per_minute` of 0 means no limit.
    pub fn new(per_minute: u64) -> Self {
        PerAddress { per_minute, buckets: Mutex::default() }
    }

    /// Takes a token of `address`, or says how long to wait for one.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let burst = self.per_minute as f64;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_ADDRESSES {
            // A full bucket is as good as none.
            buckets.retain(|_, bucket| {
                bucket.fill(now);
                bucket.tokens < burst
            });
        }
        let bucket = buckets.entry(address).or_insert_with(|| Bucket::new(burst / 60.0, burst, now));
        if bucket.take(now) { Ok(()) } else { Err(bucket.wait()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_sustained_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(20.0, 40.0, start);
        assert_eq!((0..50).filter(|_| bucket.take(start)).count(), 40);
        assert_eq!(bucket.wait(), Duration::from_millis(50));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..50).filter(|_| bucket.take(later)).count(), 20);
    }

    #[test]
    fn each_address_has_its_own_bucket() {
        let limit = PerAddress::new(2);
        let now = Instant::now();
        let [a, b] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        assert!(limit.take(a, now).is_ok() && limit.take(a, now).is_ok());
        assert_eq!(limit.take(a, now), Err(Duration::from_secs(30)));
        assert!(limit.take(b, now).is_ok());
        assert!(PerAddress::new(0).take(a, now).is_ok());
    }
}
