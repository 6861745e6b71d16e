//! Running plugins: calls into them, the threads and processes that make the calls, and what they do to whoever calls.
//! Below this are only words.

pub(super) mod breaker;
#[cfg(unix)]
pub(super) mod child;
#[cfg(unix)]
pub(super) mod crash;
#[cfg(unix)]
pub(super) mod isolated;
pub(super) mod library;
pub(super) mod prepare;
#[cfg(unix)]
pub(super) mod serve;
pub(super) mod worker;
