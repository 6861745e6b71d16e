//! An address as people type and paste it, taken apart as browsers do it.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

/// No address that people pass on is longer.
pub const MAX_LINK_BYTES: usize = 4096;

/// What addresses on the host itself are resolved against: no name on earth ends like this (RFC 6761).
const HERE: &str = "https://here.invalid/";

/// What comes along when one copies, and nobody sees: zero-width spaces and joiners, directions, a byte order mark.
const INVISIBLE: [char; 7] = ['\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{2060}', '\u{feff}'];

/// Sites that put another address into their own, with the path and the parameter it is in. They belong to no provider,
/// and what they lead to may be anybody's: so they are known here, and not to each provider.
const REDIRECTORS: [(&str, &str, &str); 8] = [
    ("www.google.com", "url", "q"),
    ("www.google.com", "url", "url"),
    ("google.com", "url", "q"),
    ("google.com", "url", "url"),
    ("l.facebook.com", "l.php", "u"),
    ("lm.facebook.com", "l.php", "u"),
    ("l.instagram.com", "", "u"),
    ("l.messenger.com", "l.php", "u"),
];

/// The address of something in the web: scheme, host, port, path, query and fragment, each decoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    site: Site,
    /// Of the path; the last one is empty if the path ends with a slash.
    segments: Vec<String>,
    query: Vec<(String, String)>,
    fragment: Vec<(String, String)>,
    route: Option<Route>,
    /// As a browser would open it.
    url: Url,
}

/// Where a site that is one page says it is: `#/details?id=1`, or `#!/details?id=1`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    segments: Vec<String>,
    query: Vec<(String, String)>,
}

/// Whose an address is. http and https are one: people's links are older than certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Site {
    /// The host itself.
    Here,
    /// A name in lower case and in ASCII, or a number; and the port, unless it is the scheme's own.
    Elsewhere(String, Option<u16>),
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnAddress {
    /// There is none.
    Empty,
    /// It has more than [`MAX_LINK_BYTES`].
    TooLong,
    /// It is not written like one of the web's, or has a user's name in it.
    Malformed,
}

impl fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAnAddress::Empty => f.write_str("paste the address of what you want to watch"),
            NotAnAddress::TooLong => write!(f, "an address has at most {MAX_LINK_BYTES} bytes"),
            NotAnAddress::Malformed => f.write_str("this is no address of the web, like https://example.org/watch/1"),
        }
    }
}

impl std::error::Error for NotAnAddress {}

impl Address {
    /// Reads what somebody typed or pasted. The scheme may be missing; a text that begins with one slash is a path on the
    /// host itself. If it is an address of a site that only leads to another (a search engine's results, a messenger's
    /// warning), it is that other one; once.
    ///
    /// # Errors
    /// Says why it is no address.
    pub fn parse(text: &str) -> Result<Address, NotAnAddress> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || INVISIBLE.contains(&c));
        if text.is_empty() {
            return Err(NotAnAddress::Empty);
        }
        if text.len() > MAX_LINK_BYTES {
            return Err(NotAnAddress::TooLong);
        }
        let address = Address::read(text).ok_or(NotAnAddress::Malformed)?;
        Ok(address.redirected().unwrap_or(address))
    }

    /// As [`Address::parse`], without going where the address only leads.
    fn read(text: &str) -> Option<Address> {
        // A parser of URLs would drop those in silence.
        if text.chars().any(char::is_control) {
            return None;
        }
        let has_scheme = || {
            let (scheme, rest) = text.split_once(':')?;
            let is_one = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
            (is_one && rest.starts_with(['/', '\\'])).then_some(())
        };
        match text.as_bytes() {
            [b'/', b'/' | b'\\', ..] => Address::of(Url::parse(&format!("https:{text}")).ok()?, false),
            [b'/', ..] => Address::of(Url::parse(HERE).ok()?.join(text).ok()?, true),
            _ if has_scheme().is_some() => Address::of(Url::parse(text).ok()?, false),
            // `data:…` and `javascript:…` have no port that is one.
            _ => Address::of(Url::parse(&format!("https://{text}")).ok()?, false),
        }
    }

    fn of(url: Url, is_here: bool) -> Option<Address> {
        let is_plain =
            matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
        if !is_plain {
            return None;
        }
        let site = match is_here {
            true => Site::Here,
            false => {
                let host = url.host_str()?;
                // A dot at the end means the same name.
                Site::Elsewhere(host.strip_suffix('.').unwrap_or(host).to_owned(), url.port())
            }
        };
        let segments = url.path_segments()?.map(decoded).collect::<Option<_>>()?;
        let (query, fragment) = (pairs(url.query()), pairs(url.fragment()));
        let route = url.fragment().and_then(Route::parse);
        Some(Address { site, segments, query, fragment, route, url })
    }

    /// What an address leads to that is inside this one, relative to this one.
    pub(super) fn join(&self, text: &str) -> Option<Address> {
        if text.chars().any(char::is_control) {
            return None;
        }
        let url = self.url.join(text.trim()).ok()?;
        let is_here = self.site == Site::Here && url.origin() == self.url.origin();
        Address::of(url, is_here)
    }

    fn redirected(&self) -> Option<Address> {
        let Site::Elsewhere(host, None) = &self.site else { return None };
        let path = self.path().join("/");
        let is_it = |(site, place, _): &&(&str, &str, &str)| site == host && *place == path;
        // What is searched for may stand in a parameter of the same name.
        let whole = |text: &str| text.contains("://").then(|| Address::read(text)).flatten();
        REDIRECTORS.iter().filter(is_it).find_map(|(_, _, name)| whole(self.query(name)?))
    }

    /// The same address as seen by the host whose own is `own`: one below that is a path on the host itself.
    #[must_use]
    pub fn seen_from(self, own: &Base) -> Address {
        match own.rest(&self) {
            Some(rest) => Address { site: Site::Here, segments: rest.to_owned(), ..self },
            None => self,
        }
    }

    /// Whether `url`, of a player, is this very address; what follows its path says nothing.
    pub fn is(&self, url: &str) -> bool {
        Address::read(url).is_some_and(|url| url.site == self.site && url.segments == self.segments)
    }

    /// The name of a host, if it is one of the web's, and at the port that is usual there.
    pub(super) fn host(&self) -> Option<&str> {
        match &self.site {
            Site::Elsewhere(host, None) => Some(host),
            _ => None,
        }
    }

    /// The name of its host, with the port if that is not the usual one; nothing on the host itself.
    pub(super) fn authority(&self) -> Option<String> {
        match &self.site {
            Site::Here => None,
            Site::Elsewhere(host, None) => Some(host.clone()),
            Site::Elsewhere(host, Some(port)) => Some(format!("{host}:{port}")),
        }
    }

    /// The segments of the path; one slash at its end says nothing.
    pub(super) fn path(&self) -> &[String] {
        without_end(&self.segments)
    }

    /// The first parameter of that name.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        first(&self.query, name)
    }

    /// The segments of the path behind `#`, if there is one.
    pub(super) fn route(&self) -> Option<&[String]> {
        self.route.as_ref().map(|route| without_end(&route.segments))
    }

    /// The first parameter of that name behind that path.
    pub(super) fn route_query(&self, name: &str) -> Option<&str> {
        first(&self.route.as_ref()?.query, name)
    }

    /// The same in what follows `#`.
    pub(super) fn fragment(&self, name: &str) -> Option<&str> {
        first(&self.fragment, name)
    }
}

impl Route {
    fn parse(fragment: &str) -> Option<Route> {
        let rest = fragment.strip_prefix('!').unwrap_or(fragment).strip_prefix('/')?;
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        Some(Route { segments: path.split('/').map(decoded).collect::<Option<_>>()?, query: pairs(query) })
    }
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(String::from)
}

pub(super) fn without_end(segments: &[String]) -> &[String] {
    match segments {
        [path @ .., last] if last.is_empty() => path,
        path => path,
    }
}

fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

/// `a=b&c=d`, decoded as forms are written. What is not UTF-8 is not there.
fn pairs(text: Option<&str>) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8().ok().map(String::from);
    let pairs = text.unwrap_or_default().split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, decoded(value)?))
    });
    pairs.collect()
}

/// A place that addresses can lie below: `https://host[:port]/path/`, or `/path/` on the host itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    site: Site,
    segments: Vec<String>,
}

impl Base {
    /// Reads a place; `None` if it is none, or does not end with a slash.
    pub fn parse(text: &str) -> Option<Base> {
        let is_whole = text.starts_with('/') || text.contains("://");
        let address = Address::read(text)?;
        let is_one = is_whole
            && address.url.path().ends_with('/')
            && address.url.query().is_none()
            && address.url.fragment().is_none();
        let segments = without_end(&address.segments).to_owned();
        is_one.then_some(Base { site: address.site, segments })
    }

    /// What is left of the path of an address that lies below.
    pub(super) fn rest<'a>(&self, address: &'a Address) -> Option<&'a [String]> {
        let rest = address.segments.strip_prefix(self.segments.as_slice())?;
        (self.site == address.site && !rest.is_empty()).then_some(rest)
    }
}
