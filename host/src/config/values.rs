//! Single values: what each may be, and in which words it is refused.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::Path,
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};
use url::Url;

use super::{PublicUrl, RedisUrls, without_password};

pub(super) fn between<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<u64, D::Error> {
    let number = i64::deserialize(deserializer)?;
    match u64::try_from(number) {
        Ok(number) if (MIN..=MAX).contains(&number) => Ok(number),
        _ => Err(D::Error::custom(format!("{number} is out of range; expected {MIN} to {MAX}"))),
    }
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!("`{text}` is not an address; expected IP:port, like 127.0.0.1:8080 or [::]:8080"))
    })
}

pub(super) fn optional_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let expected = "expected IP:port, like 127.0.0.1:9090, or \"\" to turn it off";
    text.parse().map(Some).map_err(|_| D::Error::custom(format!("`{text}` is not an address; {expected}")))
}

pub(super) fn origin(text: &str) -> Result<String, String> {
    let expected = "expected scheme and host, like https://watch.example";
    let url = Url::parse(text).map_err(|error| format!("`{text}`: {error}; {expected}"))?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty();
    if plain { Ok(url.origin().ascii_serialization()) } else { Err(format!("`{text}`: {expected}")) }
}

/// Where the server's own paths begin. Below one of these a proxy that takes the public path off and one that leaves it on
/// could not be told apart.
pub(super) const OWN_FOLDERS: [&str; 7] = ["api", "assets", "bridge", "client", "media", "r", "ws"];

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host = text.find("://").map_or(0, |scheme| scheme + 3);
        let (site, path) = text.split_at(text[host..].find('/').map_or(text.len(), |slash| host + slash));
        let origin = origin(site)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        // A parser would tidy dots and escapes away, and the proxy may not.
        let is_plain = |segment: &str| {
            let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            !matches!(segment, "" | "." | "..") && segment.bytes().all(is_unreserved)
        };
        let mut segments = path.split('/').skip(1).peekable();
        if let Some(first) = segments.peek().filter(|first| OWN_FOLDERS.contains(first)) {
            return Err(format!("`{text}`: the server has a /{first}/ of its own; choose another path"));
        }
        if !segments.all(is_plain) {
            let expected = "expected a path of letters, digits and - . _ ~, like https://example.org/watch";
            return Err(format!("`{text}`: {expected}"));
        }
        Ok(PublicUrl { origin, path: path.to_owned() })
    }
}

pub(super) fn public_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PublicUrl>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
}

pub(super) fn origins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| origin(text).map_err(D::Error::custom)).collect()
}

pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parse = |text: &String| {
        let one = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        let network = one.or_else(|_| text.parse::<IpNet>()).map(canonical);
        let expected = "is neither an IP address, like 10.0.0.2, nor a network, like 10.0.0.0/8";
        network.map_err(|_| D::Error::custom(format!("`{text}` {expected}")))
    };
    texts.iter().map(parse).collect()
}

/// Addresses are compared in their own version: a network of version 4 that is written in version 6 is one of version 4.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match (network.addr(), network.prefix_len().checked_sub(96)) {
        (IpAddr::V6(address), Some(prefix)) => address.to_ipv4_mapped().zip(Some(prefix)),
        _ => None,
    };
    mapped.and_then(|(address, prefix)| IpNet::new(address.into(), prefix).ok()).unwrap_or(network)
}

impl<'de> Deserialize<'de> for RedisUrls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected \"redis://host:port\", or a list of such for a cluster")]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        let urls = match OneOrMany::deserialize(deserializer)? {
            OneOrMany::One(url) => RedisUrls::One(url),
            OneOrMany::Many(urls) => RedisUrls::Cluster(urls),
        };
        let is_redis = |url: &String| Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "redis" | "rediss"));
        match urls.list().iter().find(|url| !is_redis(url)) {
            None if !urls.list().is_empty() => Ok(urls),
            None => Err(D::Error::custom("the list is empty; name at least one server")),
            Some(url) => Err(D::Error::custom(format!(
                "`{}`: expected redis://host:port or rediss://host:port",
                without_password(url)
            ))),
        }
    }
}

pub(super) fn key_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_:".contains(&b)) {
        Ok(text)
    } else {
        Err(D::Error::custom(format!("`{text}`: expected letters, digits, -, _ or :")))
    }
}

pub(super) fn database_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_file = text.strip_prefix("sqlite:").is_some_and(|path| !path.trim_start_matches('/').is_empty());
    let is_server = Url::parse(&text)
        .is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql") && url.host_str().is_some());
    if is_file || is_server {
        return Ok(text);
    }
    let expected = "expected sqlite://path/to/file.db or postgres://user:password@host/database";
    Err(D::Error::custom(format!("`{}`: {expected}", without_password(&text))))
}

/// A library is named by its file in `plugins.dir`, so that TOML cannot reach elsewhere.
pub(super) fn file_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if Path::new(&text).file_name().is_some_and(|name| name == text.as_str()) {
        Ok(Some(text))
    } else {
        Err(D::Error::custom(format!("`{text}`: expected a file name in plugins.dir, like libacme.so")))
    }
}

pub(super) fn sha256_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?.to_ascii_lowercase();
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(Some(text))
    } else {
        Err(D::Error::custom("expected 64 hexadecimal digits, as `sha256sum` prints them"))
    }
}

pub(super) fn or_empty<T: fmt::Display, S: serde::Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_str(""),
    }
}
