//! What pages learn of a provider's configuration: the settings that its manifest names, and where its bridge fetches from.

use serde_json::{Map, Value};
use streamit_plugin_api::{
    Manifest,
    manifest::{config_place, is_fetch_origin, settings},
};
use url::Url;

use super::output::is_safe;

/// A manifest's `[player.settings]` and `connect_origins`, with the operator's configuration filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Published {
    pub(crate) settings: Map<String, Value>,
    /// Origins, as a Content-Security-Policy has them; this host's own is none of them.
    pub(crate) connect_origins: Vec<String>,
}

impl Published {
    /// With `allow_http` a place that the operator names may be http on another machine.
    pub(super) fn new(manifest: &Manifest, config: &toml::Table, allow_http: bool) -> Result<Published, String> {
        let settings = settings::fill(&manifest.player.settings, config)?;
        let mut connect_origins: Vec<String> = Vec::new();
        for origin in &manifest.player.connect_origins {
            // Without the key there is none, whether it may be missing or not.
            let found = match config_place(origin) {
                None => vec![origin.clone()],
                Some((key, _)) => named(key, config.get(key), allow_http)?,
            };
            for origin in found {
                if !connect_origins.contains(&origin) {
                    connect_origins.push(origin);
                }
            }
        }
        Ok(Published { settings, connect_origins })
    }
}

/// The origins in a value of the configuration: of an address, a list of them, or a table of them. None if there is no value.
fn named(key: &str, value: Option<&toml::Value>, allow_http: bool) -> Result<Vec<String>, String> {
    let expected =
        |text: &str| format!("config.{key}: `{text}`: expected \"https://host/path/\", or \"/path/\" on this host");
    let may_be = |url: &Url| is_safe(url) || (allow_http && url.scheme() == "http");
    let mut origins = Vec::new();
    let mut values: Vec<_> = value.into_iter().collect();
    while let Some(value) = values.pop() {
        match value {
            toml::Value::Array(list) => values.extend(list.iter().rev()),
            toml::Value::Table(table) => values.extend(table.values().rev()),
            // A page may ask its own host anyway.
            toml::Value::String(text) if text.starts_with('/') && !text.starts_with("//") => {}
            toml::Value::String(text) => {
                let origin = Url::parse(text).ok().filter(may_be).map(|url| url.origin().ascii_serialization());
                // Whether it is http is judged by now; what else an origin is made of is the same.
                let is_one = |origin: &String| is_fetch_origin(&origin.replacen("http://", "https://", 1));
                origins.push(origin.filter(is_one).ok_or_else(|| expected(text))?);
            }
            other => return Err(expected(&other.to_string())),
        }
    }
    Ok(origins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(config: &str) -> Result<Vec<String>, String> {
        let config: toml::Table = config.parse().expect("TOML");
        named("at", config.get("at"), false)
    }

    #[test]
    fn a_place_that_may_be_missing_is_the_operators_like_any_other() {
        let manifest = Manifest::parse(
            r#"
            schema = 1
            id = "acme"
            name = "Acme"
            media_types = ["movie"]
            supports_events = true
            supports_progress = true
            capabilities = { seek = true, pause = true, resume = true, autoplay = true }
            external_id = { label = "Id", pattern = "^[0-9]+$", example = "1" }
            examples = [{ media = { media_type = "movie", external_id = "1" }, url = "https://acme.example/1" }]
            [player]
            control = "commands"
            embed_origins = ["https://acme.example"]
            connect_origins = ["{config.cdn?}", "{config.licence}", "https://acme.example"]
            drift_ms = 1000
            cooldown_ms = 3000
            "#,
        );
        let manifest = manifest.expect("good");
        for (config, came) in [
            ("", vec!["https://acme.example"]),
            ("cdn = 'https://cdn.example/'", vec!["https://cdn.example", "https://acme.example"]),
        ] {
            let published = Published::new(&manifest, &config.parse().expect("TOML"), false).expect("filled in");
            assert_eq!(published.connect_origins, came, "{config}");
        }
    }

    #[test]
    fn where_a_bridge_fetches_from_is_what_the_operator_says() {
        for (config, came) in [
            ("", vec![]),
            ("at = '/media/'", vec![]),
            ("at = 'https://CDN.example:443/films/'", vec!["https://cdn.example"]),
            ("at = 'http://127.0.0.1:9000/x'", vec!["http://127.0.0.1:9000"]),
            ("at = 'https://*.cdn.example/'", vec!["https://*.cdn.example"]),
            (
                "at = ['https://a.example', '/here/', 'https://b.example/']",
                vec!["https://a.example", "https://b.example"],
            ),
            (
                "at = { 'org.w3.clearkey' = 'https://l.example/ck', other = 'https://m.example' }",
                vec!["https://l.example", "https://m.example"],
            ),
        ] {
            assert_eq!(origins(config), Ok(came.into_iter().map(str::to_owned).collect()), "{config}");
        }
        for config in [
            "at = 'http://cdn.example/'",
            "at = '//cdn.example/'",
            "at = 'cdn.example'",
            "at = 'https://*/'",
            "at = 'https://*.example/'",
            "at = \"https://a.example;script-src'/\"",
            "at = 'javascript:1'",
            "at = ['https://a.example', 5]",
        ] {
            assert!(origins(config).is_err_and(|error| error.starts_with("config.at: ")), "{config}");
        }
    }

    #[test]
    fn a_place_of_ones_own_network_may_be_http_where_the_operator_allows_it() {
        let config: toml::Table = "at = ['http://nas.lan:8096/films/', 'https://a.example/']".parse().expect("TOML");
        let allowed = named("at", config.get("at"), true).expect("allowed");
        assert_eq!(allowed, ["http://nas.lan:8096", "https://a.example"]);
        for odd in ["at = \"http://a.lan;script-src'/\"", "at = 'http://*/'", "at = 'ftp://a.lan/'"] {
            let config: toml::Table = odd.parse().expect("TOML");
            assert!(named("at", config.get("at"), true).is_err(), "{odd}");
        }
    }
}
