//! Links: what an address that somebody has in their hands means to a provider. Pure: no I/O, no configuration but what is
//! handed in, and no code of a provider's; whether an identity is one, the caller asks the provider.
//!
//! The rules are the manifest's ([`Link`]), and one matcher reads them for the API, the page and `streamit plugin try`.
//! An address is taken apart by a parser of URLs, as browsers do it, never searched as text: hosts are compared by whole
//! labels, in lower case and ASCII (IDNA), without a user's name, at the usual port. The rules are asked in their order, and
//! the first whose identity the provider accepts wins; a refusal counts if no other rule does.

mod address;
mod pattern;
mod rule;
mod time;

use std::fmt;

use self::rule::{Meaning as OfRule, Rule};
pub use self::{
    address::{Address, Base, MAX_LINK_BYTES, NotAnAddress},
    rule::{Link, LinkExample, MAX_LINKS},
};
use crate::{Media, Rejection};

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
                    if into.claims.iter().all(|known| known.media != media) {
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

/// Everything that is wrong with a manifest's rules and their examples, each with its number and key.
pub(crate) fn problems(links: &[Link], examples: &[LinkExample]) -> Vec<String> {
    let mut problems = Vec::new();
    if links.len() > MAX_LINKS {
        problems.push(format!("links: {} rules; at most {MAX_LINKS} are read", links.len()));
    }
    for (n, link) in links.iter().enumerate() {
        let of_rule = Rule::parse(link).err().unwrap_or_default();
        problems.extend(of_rule.into_iter().map(|problem| format!("links[{n}].{problem}")));
    }
    for (n, example) in examples.iter().enumerate() {
        if example.media.is_some() && example.refuse.is_some() {
            problems.push(format!("link_examples[{n}].refuse: what is refused has no media"));
        }
        if example.start_s < 0.0 || !example.start_s.is_finite() || (example.start_s > 0.0 && example.media.is_none()) {
            problems.push(format!("link_examples[{n}].start_s: a number of seconds, beside media"));
        }
    }
    let has_identity = links.iter().any(|link| link.refuse.is_none());
    if has_identity && examples.iter().all(|example| example.media.is_none()) {
        problems.push("link_examples: give at least one address with its identity".into());
    }
    problems
}

impl LinkExample {
    /// Holds the example against a provider, which `ask` asks.
    ///
    /// # Errors
    /// Says what was expected, and what came.
    pub fn check(
        &self,
        links: &Links,
        ask: impl FnMut(&Media<'_>) -> Result<Result<String, Rejection>, String>,
    ) -> Result<(), String> {
        let came = match Address::parse(&self.link) {
            Ok(address) => links.meaning(&address, ask),
            Err(_) => Ok(Meaning::Nothing(None)),
        };
        let is_so = match (&came, &self.media, &self.refuse) {
            (Ok(Meaning::Media(claim, _)), Some(media), _) => {
                claim.media == *media && claim.start_ms == self.start_ms()
            }
            (Ok(Meaning::Refused(reason)), None, Some(words)) => reason.contains(words),
            (Ok(Meaning::Nothing(_)), None, None) => true,
            _ => false,
        };
        let came = came.map_or_else(|error| format!("asking it failed: {error}"), |meaning| meaning.to_string());
        if is_so {
            Ok(())
        } else {
            Err(format!("its link example {} should be {}; {came}", self.link, self.expected()))
        }
    }

    fn start_ms(&self) -> u64 {
        // Never negative: the manifest was checked.
        (self.start_s * 1000.0).round() as u64
    }

    fn expected(&self) -> String {
        match (&self.media, &self.refuse) {
            (Some(media), _) => format!("{media} from {} s", self.start_s),
            (None, Some(words)) => format!("refused with \"{words}\""),
            (None, None) => "nobody's".into(),
        }
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
