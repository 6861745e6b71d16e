//! Links: what an address that somebody has in their hands means to a provider. Pure: no I/O, no configuration but what is
//! handed in, and no code of a provider's; whether an identity is one, the caller asks the provider.
//!
//! The rules are the manifest's ([`Link`]), and one matcher reads them for the API, the page and `streamit plugin try`.
//! An address is taken apart by a parser of URLs, as browsers do it, never searched as text: hosts are compared by whole
//! labels, in lower case and ASCII (IDNA), without a user's name, at the usual port. The rules are asked in their order, and
//! the first whose identity the provider accepts wins; a refusal counts if no other rule does.

mod address;
mod entries;
mod pattern;
mod rule;
mod time;

use std::fmt;

pub(crate) use self::entries::problems;
use self::rule::{Meaning as OfRule, Rule};
pub use self::{
    address::{Address, Base, MAX_LINK_BYTES, NotAnAddress},
    entries::{Link, LinkExample, MAX_LINKS, untried},
};
use crate::{Media, Rejection};

/// However many rules fit, an address is not tried for more identities.
const MAX_CLAIMS: usize = 16;

/// A provider's rules, under its operator's configuration.
#[derive(Clone, Debug, Default)]
pub struct Links(Vec<Rule>);

/// What the rules make of an address, before the provider is asked.
#[derive(Clone, Debug, Default)]
pub struct Claims<'a> {
    /// The identities that it may mean, in the order in which the provider is to be asked.
    pub claims: Vec<Claim>,
    /// Why people cannot have it, if it means none of those.
    pub refusal: Option<&'a str>,
}

/// An identity that an address may mean: it does if the provider has a URL for it, and the claim holds for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The identity.
    pub media: Media<'static>,
    /// Where to start, in milliseconds.
    pub start_ms: u64,
    /// Whether the address left the season or the episode open.
    pub is_guess: bool,
    exact: bool,
}

impl Claim {
    /// Whether an address means this, whose player is at `url`.
    pub fn holds(&self, address: &Address, url: &str) -> bool {
        !self.exact || address.is(url)
    }
}

/// What an address means to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// This, and its URL.
    Media(Claim, String),
    /// It is one of the provider's, and people cannot have it, for this reason.
    Refused(String),
    /// Nothing. One of its identities may have been rejected, for this reason.
    Nothing(Option<Rejection>),
}

impl Links {
    /// The rules of a manifest under a configuration.
    ///
    /// # Errors
    /// Names the key whose value is no place that addresses can be under.
    pub fn new(links: &[Link], config: &toml::Table) -> Result<Links, String> {
        let rules = links.iter().map(|link| {
            let rule = Rule::parse(link).map_err(|problems| format!("links: {}", problems.join("; ")))?;
            rule.configured(config)
        });
        rules.collect::<Result<_, _>>().map(Links)
    }

    /// Whether any address is understood.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|rule| matches!(rule.meaning, OfRule::Refused(_)))
    }

    /// What the rules make of an address.
    pub fn claims(&self, address: &Address) -> Claims<'_> {
        let mut claims = Claims::default();
        self.collect(address, true, &mut claims);
        claims
    }

    fn collect<'a>(&'a self, address: &Address, may_follow: bool, into: &mut Claims<'a>) {
        for rule in &self.0 {
            let Some(captures) = rule.take(address) else { continue };
            match &rule.meaning {
                OfRule::Media(identity) => {
                    let Some((media, is_guess)) = identity.media(&captures) else { continue };
                    // Who has been asked once says the same again.
                    if into.claims.len() < MAX_CLAIMS && into.claims.iter().all(|known| known.media != media) {
                        let start_ms = rule.start_ms(address).unwrap_or(0);
                        into.claims.push(Claim { media, start_ms, is_guess, exact: identity.exact });
                    }
                }
                OfRule::Follow(inner) if may_follow => {
                    let Some(inner) = inner.address(address) else { continue };
                    let known = into.claims.len();
                    self.collect(&inner, false, into);
                    let outer_ms = rule.start_ms(address).unwrap_or(0);
                    for claim in into.claims[known..].iter_mut().filter(|claim| claim.start_ms == 0) {
                        claim.start_ms = outer_ms;
                    }
                }
                OfRule::Follow(_) => {}
                OfRule::Refused(reason) => into.refusal = into.refusal.or(Some(reason)),
            }
        }
    }

    /// What an address means to the provider that `ask` asks.
    ///
    /// # Errors
    /// Whatever `ask` fails with: then nobody knows.
    pub fn meaning<E>(
        &self,
        address: &Address,
        mut ask: impl FnMut(&Media<'_>) -> Result<Result<String, Rejection>, E>,
    ) -> Result<Meaning, E> {
        let Claims { claims, refusal } = self.claims(address);
        let mut rejected = None;
        for claim in claims {
            match ask(&claim.media)? {
                Ok(url) if claim.holds(address, &url) => return Ok(Meaning::Media(claim, url)),
                Ok(_) => {}
                Err(rejection) => rejected = rejected.or(Some(rejection)),
            }
        }
        Ok(refusal.map_or(Meaning::Nothing(rejected), |reason| Meaning::Refused(reason.to_owned())))
    }
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Meaning::Media(claim, _) => write!(f, "it is {} from {} s", claim.media, claim.start_ms as f64 / 1000.0),
            Meaning::Refused(reason) => write!(f, "it is refused: {reason}"),
            Meaning::Nothing(None) => f.write_str("it is none of its addresses"),
            Meaning::Nothing(Some(rejection)) => write!(f, "it is none of its addresses: {rejection}"),
        }
    }
}

#[cfg(test)]
mod tests;
