//! How fast is too fast: a token bucket, and one for each address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Addresses remembered at once; beyond it those that have been quiet are forgotten.
const MAX_ADDRESSES: usize = 65_536;

/// With so many, and while they all count, they are looked through this often.
const LOOK_THROUGH_EVERY: Duration = Duration::from_secs(1);

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
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    of: HashMap<IpAddr, Bucket>,
    /// Those who find no place of their own share one.
    of_others: Option<Bucket>,
    looked_through_at: Option<Instant>,
}

impl PerAddress {
    /// `per_minute` of 0 means no limit.
    pub fn new(per_minute: u64) -> Self {
        PerAddress { per_minute, buckets: Mutex::default() }
    }

    /// Takes a token of `address`, or says how long to wait for one.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        self.with(address, now, |bucket| if bucket.take(now) { Ok(()) } else { Err(bucket.wait()) })
    }

    /// Says how long to wait if there is no token of `address`; takes none.
    pub fn check(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        self.with(address, now, |bucket| {
            bucket.fill(now);
            if bucket.tokens >= 1.0 { Ok(()) } else { Err(bucket.wait()) }
        })
    }

    /// Answers a guess: whether it was right, or how long to wait. A wrong one costs a token, and without one nothing is told.
    /// Seen and taken at once: of guesses that are made side by side no more are answered than one after another, and
    /// those that are right cost nothing.
    pub fn judge(&self, address: IpAddr, is_right: bool, now: Instant) -> Result<bool, Duration> {
        if is_right { self.check(address, now) } else { self.take(address, now) }.map(|()| is_right)
    }

    fn with(
        &self,
        address: IpAddr,
        now: Instant,
        run: impl FnOnce(&mut Bucket) -> Result<(), Duration>,
    ) -> Result<(), Duration> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let burst = self.per_minute as f64;
        let new = || Bucket::new(burst / 60.0, burst, now);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = buckets.of.len() >= MAX_ADDRESSES;
        if is_full && buckets.looked_through_at.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_THROUGH_EVERY)
        {
            buckets.looked_through_at = Some(now);
            // A full bucket is as good as none.
            buckets.of.retain(|_, bucket| {
                bucket.fill(now);
                bucket.tokens < burst
            });
        }
        let key = household(address);
        if buckets.of.len() >= MAX_ADDRESSES && !buckets.of.contains_key(&key) {
            return run(buckets.of_others.get_or_insert_with(new));
        }
        run(buckets.of.entry(key).or_insert_with(new))
    }
}

/// Whoever has one address of version 6 has all of its /64.
pub(crate) fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
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

    #[test]
    fn a_look_takes_nothing() {
        let limit = PerAddress::new(1);
        let now = Instant::now();
        let a = IpAddr::from([10, 0, 0, 1]);
        assert!(limit.check(a, now).is_ok() && limit.check(a, now).is_ok() && limit.take(a, now).is_ok());
        assert_eq!(limit.check(a, now), Err(Duration::from_secs(60)));
    }

    #[test]
    fn of_guesses_as_many_are_answered_as_there_are_tokens_and_right_ones_cost_nothing() {
        let limit = PerAddress::new(2);
        let now = Instant::now();
        let judge = |is_right| limit.judge(IpAddr::from([10, 0, 0, 1]), is_right, now);
        assert!((0..100).all(|_| judge(true) == Ok(true)));
        assert_eq!([judge(false), judge(true), judge(false)], [Ok(false), Ok(true), Ok(false)]);
        for is_right in [false, true] {
            assert_eq!(judge(is_right), Err(Duration::from_secs(30)), "whether it is right is not told");
        }
    }

    #[test]
    fn a_household_of_version_6_has_one_bucket_and_mapped_addresses_are_what_they_are() {
        let limit = PerAddress::new(1);
        let now = Instant::now();
        let take = |address: &str| limit.take(address.parse().expect("an address"), now).is_ok();
        assert!(take("2001:db8:1:2::7") && !take("2001:db8:1:2:ffff::8") && take("2001:db8:1:3::7"));
        assert!(take("10.0.0.1") && !take("::ffff:10.0.0.1"));
    }

    #[test]
    fn strangers_from_everywhere_are_remembered_up_to_a_bound_and_then_share_a_bucket() {
        let limit = PerAddress::new(1);
        let now = Instant::now();
        let take = |n: u32| limit.take(IpAddr::from(n.to_be_bytes()), now).is_ok();
        assert!((0..MAX_ADDRESSES as u32).all(take));
        assert!(take(4_000_000_001) && !take(4_000_000_002));
        let later = now + Duration::from_secs(61);
        assert!(limit.take(IpAddr::from([1, 2, 3, 4]), later).is_ok(), "the quiet are forgotten");
    }
}
