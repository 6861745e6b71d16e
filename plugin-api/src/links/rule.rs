//! A rule about addresses, as it is looked for in one.

use super::{
    Link,
    address::{Address, Base},
    pattern::{Captures, Path, Template, placeholder},
    time::millis,
};
use crate::{Media, MediaType, manifest::config_key};

/// What every rule takes beside what it names: the host that the address is on. Of several that is part of the identity.
const HOST: &str = "host";

/// A refusal is a sentence.
const MAX_REFUSAL_BYTES: usize = 200;

/// A rule that can be asked.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    site: Site,
    paths: Vec<Path>,
    route: Option<Path>,
    query: Vec<(String, Wanted)>,
    start: Vec<Parameter>,
    pub(super) meaning: Meaning,
}

#[derive(Clone, Debug)]
enum Site {
    Hosts(Vec<Host>),
    Under(String),
    Below(Vec<Base>),
}

#[derive(Clone, Debug)]
enum Host {
    One(String),
    /// With the dot before it.
    AnyBelow(String),
}

#[derive(Clone, Debug)]
enum Wanted {
    Anything,
    This(String),
    Taken(String),
}

/// A place in an address where a value may be.
#[derive(Clone, Debug)]
enum Parameter {
    Query(String),
    Fragment(String),
}

/// What an address means that fits.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    Media(Identity),
    Follow(Followed),
    Refused(String),
}

#[derive(Clone, Debug)]
pub(super) struct Followed(Parameter);

#[derive(Clone, Debug)]
pub(super) struct Identity {
    media_type: MediaType,
    external_id: Template,
    season: Option<u32>,
    episode: Option<u32>,
    pub(super) exact: bool,
}

impl Rule {
    /// Reads a rule, or says everything that is wrong with it; each problem begins with its key.
    pub(super) fn parse(link: &Link) -> Result<Rule, Vec<String>> {
        let mut problems = Vec::new();
        let site = site(link).map_err(|problem| problems.push(problem)).ok();
        let mut read_paths = Vec::new();
        for path in &link.path {
            match Path::parse(path) {
                Ok(path) => read_paths.push(path),
                Err(problem) => problems.push(format!("path: {problem}")),
            }
        }
        if link.path.is_empty() {
            problems.push("path: name at least one, like \"/watch\"".into());
        }
        let route = link.route.as_deref().and_then(|route| match Path::parse(route) {
            Ok(route) => Some(route),
            Err(problem) => {
                problems.push(format!("route: {problem}"));
                None
            }
        });
        let query: Vec<_> = link.query.iter().map(|(name, value)| (name.clone(), wanted(value))).collect();
        let start = link.start.iter().filter_map(|text| {
            let read = parameter(text);
            if read.is_none() {
                problems.push(format!("start: `{text}`: expected query.NAME or fragment.NAME"));
            }
            read
        });
        let start = start.collect();
        let taken: Vec<Vec<&str>> = read_paths.iter().map(|path| taken(path, route.as_ref(), &query)).collect();
        for names in &taken {
            if let Some(twice) = names.iter().enumerate().find(|(n, name)| names[..*n].contains(name)) {
                problems.push(format!("path: {{{}}} is taken twice", twice.1));
            }
        }
        let meaning = meaning(link, &taken, &mut problems);
        match (site, meaning) {
            (Some(site), Some(meaning)) if problems.is_empty() => {
                Ok(Rule { site, paths: read_paths, route, query, start, meaning })
            }
            _ => Err(problems),
        }
    }

    /// The same rule under a configuration: where that says its addresses are.
    pub(super) fn configured(self, config: &toml::Table) -> Result<Rule, String> {
        let Site::Under(key) = &self.site else { return Ok(self) };
        let places = match config.get(key) {
            None => Vec::new(),
            Some(toml::Value::Array(list)) => list.iter().collect(),
            Some(one) => vec![one],
        };
        let base = |place: &toml::Value| {
            let expected =
                || format!("config.{key}: {place}: expected \"/path/\" on this host or \"https://host/path/\"");
            place.as_str().and_then(Base::parse).ok_or_else(expected)
        };
        let bases = places.into_iter().map(base).collect::<Result<_, _>>()?;
        Ok(Rule { site: Site::Below(bases), ..self })
    }

    /// What is taken from an address that fits.
    pub(super) fn take(&self, address: &Address) -> Option<Captures> {
        match &self.site {
            Site::Hosts(hosts) => {
                let host = address.host()?;
                hosts.iter().any(|known| known.is(host)).then_some(())?;
                self.take_path(address, address.path())
            }
            Site::Below(bases) => bases.iter().find_map(|base| self.take_path(address, base.rest(address)?)),
            Site::Under(_) => None,
        }
    }

    fn take_path(&self, address: &Address, path: &[String]) -> Option<Captures> {
        let mut captures = Captures::default();
        for (name, wanted) in &self.query {
            let value = if self.route.is_some() { address.route_query(name) } else { address.query(name) }?;
            match wanted {
                Wanted::Anything => {}
                Wanted::This(known) => (known == value).then_some(())?,
                Wanted::Taken(name) => captures.take(name, value)?,
            }
        }
        if let Some(route) = &self.route {
            route.take(address.route()?, &mut captures)?;
        }
        self.paths.iter().find_map(|pattern| {
            let mut captures = captures.clone();
            pattern.take(path, &mut captures)?;
            // Last: what a rule takes by that name itself comes first.
            if let Some(host) = address.authority() {
                captures.take(HOST, &host)?;
            }
            Some(captures)
        })
    }

    /// Where the address wants to start, if it says so.
    pub(super) fn start_ms(&self, address: &Address) -> Option<u64> {
        self.start.iter().find_map(|parameter| parameter.of(address)).map(millis)
    }
}

impl Host {
    fn parse(text: &str) -> Result<Host, String> {
        let (name, is_below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        let read = match url::Host::parse(name) {
            Ok(url::Host::Domain(read)) if !name.contains('*') => read,
            _ => return Err(format!("`{text}` is not the name of a host, like www.example.org or *.example.org")),
        };
        if read != name || name.ends_with('.') {
            return Err(format!("`{text}`: write it as `{}`", read.trim_end_matches('.')));
        }
        if is_below && !name.contains('.') {
            return Err(format!("`{text}`: everybody's names are below that; name a site"));
        }
        Ok(if is_below { Host::AnyBelow(format!(".{name}")) } else { Host::One(read) })
    }

    fn is(&self, host: &str) -> bool {
        match self {
            Host::One(name) => name == host,
            Host::AnyBelow(end) => host.len() > end.len() && host.ends_with(end.as_str()),
        }
    }
}

impl Parameter {
    fn of<'a>(&self, address: &'a Address) -> Option<&'a str> {
        match self {
            Parameter::Query(name) => address.query(name),
            Parameter::Fragment(name) => address.fragment(name),
        }
    }
}

impl Followed {
    /// The address inside.
    pub(super) fn address(&self, address: &Address) -> Option<Address> {
        address.join(self.0.of(address)?)
    }
}

impl Identity {
    /// The identity in what was taken; and whether a part of it was not there.
    pub(super) fn media(&self, captures: &Captures) -> Option<(Media<'static>, bool)> {
        let number = |name: &str, otherwise: Option<u32>| match captures.get(name) {
            Some(text) => text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten(),
            None => otherwise,
        };
        let external_id = self.external_id.fill(captures)?;
        Some(match self.media_type {
            MediaType::Movie => (Media::movie(external_id), false),
            MediaType::Tv => {
                let media = Media::tv(external_id, number("season", self.season)?, number("episode", self.episode)?);
                (media, self.season.or(self.episode).is_some())
            }
        })
    }
}

fn site(link: &Link) -> Result<Site, String> {
    match (&link.under, link.hosts.as_slice()) {
        (None, hosts @ [_, ..]) => {
            let hosts = hosts.iter().map(|host| Host::parse(host)).collect::<Result<_, _>>();
            hosts.map(Site::Hosts).map_err(|problem| format!("hosts: {problem}"))
        }
        (Some(under), []) => match config_key(under) {
            Some(key) => Ok(Site::Under(key.to_owned())),
            None => Err(format!("under: `{under}`: expected \"{{config.key}}\"")),
        },
        _ => Err("hosts: name hosts, or say what they are `under`".into()),
    }
}

fn wanted(value: &str) -> Wanted {
    match (value, placeholder(value)) {
        ("*", _) => Wanted::Anything,
        (_, Some(name)) => Wanted::Taken(name.to_owned()),
        _ => Wanted::This(value.to_owned()),
    }
}

fn parameter(text: &str) -> Option<Parameter> {
    match text.split_once('.') {
        Some((_, "")) => None,
        Some(("query", name)) => Some(Parameter::Query(name.to_owned())),
        Some(("fragment", name)) => Some(Parameter::Fragment(name.to_owned())),
        _ => None,
    }
}

/// Everything that is taken of an address with that path.
fn taken<'a>(path: &'a Path, route: Option<&'a Path>, query: &'a [(String, Wanted)]) -> Vec<&'a str> {
    let of_query = query.iter().filter_map(|(_, wanted)| match wanted {
        Wanted::Taken(name) => Some(name.as_str()),
        _ => None,
    });
    let of_route = route.into_iter().flat_map(Path::names);
    path.names().into_iter().chain(of_route).chain(of_query).collect()
}

/// What the rule says an address means, if it says that once; `taken` is what each of its paths takes.
fn meaning(link: &Link, taken: &[Vec<&str>], problems: &mut Vec<String>) -> Option<Meaning> {
    let identity = [
        ("external_id", link.external_id.is_some()),
        ("media_type", link.media_type.is_some()),
        ("season", link.season.is_some()),
        ("episode", link.episode.is_some()),
        ("exact", link.exact),
    ];
    match (&link.refuse, &link.follow) {
        (None, None) => media(link, taken, problems),
        (Some(_), Some(_)) => {
            problems.push("follow: a rule that refuses follows nothing".into());
            None
        }
        (refuse, follow) => {
            let key = if refuse.is_some() { "refuse" } else { "follow" };
            if let Some((other, _)) = identity.iter().find(|(_, is_there)| *is_there) {
                problems.push(format!("{other}: has no meaning beside `{key}`"));
            }
            if let Some(name) = taken.iter().flatten().next() {
                problems.push(format!("path: {{{name}}} is taken for nothing beside `{key}`; `*` is anything"));
            }
            if let Some(text) = refuse {
                let is_sentence =
                    (1..=MAX_REFUSAL_BYTES).contains(&text.trim().len()) && !text.chars().any(char::is_control);
                if !is_sentence || !link.start.is_empty() {
                    problems.push(format!("refuse: a sentence of 1 to {MAX_REFUSAL_BYTES} bytes, without a start"));
                }
                return Some(Meaning::Refused(text.clone()));
            }
            let followed = follow.as_deref().and_then(parameter);
            if followed.is_none() {
                problems.push("follow: expected query.NAME or fragment.NAME".into());
            }
            followed.map(|parameter| Meaning::Follow(Followed(parameter)))
        }
    }
}

fn media(link: &Link, taken: &[Vec<&str>], problems: &mut Vec<String>) -> Option<Meaning> {
    let media_type = link.media_type.unwrap_or(MediaType::Movie);
    let template = link.external_id.as_deref().unwrap_or("{external_id}");
    let external_id = match Template::parse(template) {
        Ok(template) => template,
        Err(problem) => {
            problems.push(format!("external_id: {problem}"));
            return None;
        }
    };
    let numbers = [("season", link.season), ("episode", link.episode)];
    for names in taken {
        for name in external_id.names().filter(|name| !names.contains(name) && *name != HOST) {
            problems.push(format!("external_id: {{{name}}} is not taken from the path or the query"));
        }
        for name in names {
            let is_number = numbers.iter().any(|(number, _)| number == name) && media_type == MediaType::Tv;
            if !is_number && external_id.names().all(|used| used != *name) {
                problems.push(format!("path: {{{name}}} is taken for nothing; `*` is anything"));
            }
        }
        for (name, otherwise) in numbers {
            match (media_type, names.contains(&name), otherwise) {
                (MediaType::Tv, true, None) | (MediaType::Tv, false, Some(_)) | (MediaType::Movie, _, None) => {}
                (MediaType::Tv, true, Some(_)) => {
                    problems.push(format!("{name}: it is taken from the address already"))
                }
                (MediaType::Tv, false, None) => problems.push(format!("{name}: an episode needs one: take {{{name}}}")),
                (MediaType::Movie, ..) => problems.push(format!("{name}: a movie has none; set media_type = \"tv\"")),
            }
        }
    }
    let Link { season, episode, exact, .. } = *link;
    Some(Meaning::Media(Identity { media_type, external_id, season, episode, exact }))
}
