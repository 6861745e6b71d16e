//! What a manifest says about links: rules, and golden cases of them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Address, Links, Meaning, rule::Rule};
use crate::{Media, MediaType, Rejection};

/// No address is looked at by more rules of one provider.
pub const MAX_LINKS: usize = 64;

/// Which addresses are a provider's, and how the identity is written in them: an entry of `[[links]]`.
///
/// An address is one of these if its host and path are, and if it has every parameter of `query`. What it says beyond that
/// does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Whole names in lower case and in ASCII, at the usual port; `*.example.org` is any name below that one.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// In place of `hosts`: `{config.key}`, where the operator's configuration has `https://host/path/` or, on the host
    /// itself, `/path/`; or a list of those. `path` begins there. Without that key there are no such addresses.
    #[serde(default)]
    pub under: Option<String>,
    /// One path or several; the first that fits counts. `{name}` takes a segment or what is between two texts in it,
    /// `{name...}` the rest of the path, `{name}-*` what stands before the first `-`, if there is one. `*` at the end of a
    /// segment is anything, `...` as the last segment anything that may follow. Decoded, in exactly these letters.
    #[serde(deserialize_with = "one_or_several")]
    pub path: Vec<String>,
    /// Of a site that is one page: the path behind `#` or `#!`, written as `path` is. Then `query` is what follows it there.
    #[serde(default)]
    pub route: Option<String>,
    /// Parameters that have to be there: `{name}` takes the value, `*` is any, everything else is the value itself.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// The id, put together from what was taken, like `{id}/{hash}`; `{host}` is the host of the address. Absent: what was taken as `{external_id}`.
    #[serde(default)]
    pub external_id: Option<String>,
    /// Absent: a movie. An episode's season and episode are taken as `{season}` and `{episode}`.
    #[serde(default)]
    pub media_type: Option<MediaType>,
    /// The season that is meant, probably, where the address names none.
    #[serde(default)]
    pub season: Option<u32>,
    /// The episode that is meant, probably, where the address names none.
    #[serde(default)]
    pub episode: Option<u32>,
    /// The URL that plays the identity has to be the very address. For files whose place the operator decides.
    #[serde(default)]
    pub exact: bool,
    /// Where to look for the position to start at, like `query.t` or `fragment.t`. The first that is there counts:
    /// `90`, `90s`, `1m40s`, `1h2m3s`, `1:30`, `00:01:30`. One that cannot be read is the beginning.
    #[serde(default)]
    pub start: Vec<String>,
    /// In place of an identity: the parameter (`query.u`) with another address, which these rules are asked about, once.
    #[serde(default)]
    pub follow: Option<String>,
    /// In place of an identity: a sentence for people who paste such an address. It counts if no other rule fits.
    #[serde(default)]
    pub refuse: Option<String>,
}

/// A golden case: what an address means. With neither `media` nor `refuse` it is nobody's, as far as this provider goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkExample {
    /// The address, as somebody pastes it.
    pub link: String,
    /// The identity that it means.
    #[serde(default)]
    pub media: Option<Media<'static>>,
    /// Where it starts, in seconds.
    #[serde(default)]
    pub start_s: f64,
    /// What its refusal says, among other things.
    #[serde(default)]
    pub refuse: Option<String>,
    /// The configuration it holds under; absent: the operator's.
    pub config: Option<toml::Table>,
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Paths;
    impl<'de> de::Visitor<'de> for Paths {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a path or a list of paths")
        }

        fn visit_str<E>(self, path: &str) -> Result<Vec<String>, E> {
            Ok(vec![path.to_owned()])
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut paths = Vec::new();
            while let Some(path) = list.next_element()? {
                paths.push(path);
            }
            Ok(paths)
        }
    }
    deserializer.deserialize_any(Paths)
}

/// The numbers of the rules that fit none of the examples: nobody knows whether they do what they should.
///
/// # Errors
/// As [`Links::new`], with the configuration of an example or, where it has none, `config`.
pub fn untried(links: &[Link], examples: &[LinkExample], config: &toml::Table) -> Result<Vec<usize>, String> {
    let mut untried: Vec<usize> = (0..links.len()).collect();
    for example in examples {
        let Links(rules) = Links::new(links, example.config.as_ref().unwrap_or(config))?;
        let Ok(address) = Address::parse(&example.link) else { continue };
        untried.retain(|n| rules[*n].take(&address).is_none());
    }
    Ok(untried)
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
