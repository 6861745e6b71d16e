use std::collections::HashSet;

use super::{
    read::{expand, joined},
    values::OWN_FOLDERS,
    *,
};

/// Every key written in a table, as a path.
fn keys(table: &toml::Table, path: &str) -> HashSet<String> {
    let mut found = HashSet::new();
    for (key, value) in table {
        let path = joined(path, key);
        match value {
            toml::Value::Table(inner) if path != "providers" => found.extend(keys(inner, &path)),
            _ => {
                found.insert(path);
            }
        }
    }
    found
}

const SHIPPED: &str = include_str!("../../../config/streamit.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    let lookup = |name: &str| (name == "SET").then(|| "10.1.2.3:80".to_owned());
    Config::parse(text, lookup).map_err(|problems| ConfigError { path: "x.toml".into(), problems })
}

fn refused(text: &str) -> String {
    parse(text).expect_err("refused").to_string()
}

#[test]
fn the_shipped_file_states_every_key_with_its_default() {
    let shipped = parse(SHIPPED).expect("valid");
    assert_eq!(Config { providers: IndexMap::new(), ..shipped.clone() }, Config::default());
    assert_eq!(shipped.providers.len(), 4);

    let written = keys(&toml::from_str(SHIPPED).expect("valid"), "");
    let defaults = keys(&toml::from_str(&Config::default().explain(|_| Vec::new())).expect("valid"), "");
    assert_eq!(defaults.difference(&written).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_problem_is_reported_at_once_with_line_and_key() {
    let text = r#"
stat_dir = "x"
[server]
bind = "nowhere"
allowed_origins = ["https://ok.example", "https://no.example/path"]
[rooms]
host_grace_secs = 0
max_viewers = "many"
[limits]
silence_secs = 20
[nonsense]
a = 1
[providers.Bad]
[providers.acme]
sha256 = "abc"
library = "../x.so"
"#;
    let refused = refused(text);
    let lines: Vec<_> = refused.lines().collect();
    let expected = [
        "x.toml:2: stat_dir: unknown field `stat_dir`",
        "x.toml:4: server.bind: `nowhere` is not an address",
        "x.toml:5: server.allowed_origins: `https://no.example/path`: expected scheme and host",
        "x.toml:7: rooms.host_grace_secs: 0 is out of range; expected 1 to 604800",
        "x.toml:8: rooms.max_viewers: invalid type: string \"many\", expected i64",
        "x.toml:10: limits.silence_secs: 20 is not above ping_secs (25)",
        "x.toml:11: nonsense: unknown field `nonsense`",
        "x.toml:13: providers.Bad: a provider's id has",
        "x.toml:15: providers.acme.sha256: expected 64 hexadecimal digits",
        "x.toml:16: providers.acme.library: `../x.so`: expected a file name",
    ];
    assert_eq!(lines.len(), expected.len(), "{refused}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}\nshould begin with\n{expected}");
    }
}

#[test]
fn a_text_that_is_not_toml_is_refused_with_its_line() {
    let refused = refused("[server]\nbind = \n");
    assert!(refused.starts_with("x.toml:2: "), "{refused}");
}

#[test]
fn values_come_from_the_environment() {
    let config = parse("[server]\nbind = \"${SET}\"\n[admin]\nbind = \"${UNSET:-127.0.0.1:1}\"").expect("valid");
    assert_eq!(config.server.bind.to_string(), "10.1.2.3:80");
    assert_eq!(config.admin.bind.map(|a| a.to_string()).as_deref(), Some("127.0.0.1:1"));
    assert!(
        refused("[database]\nurl = \"${UNSET}\"").contains("x.toml:2: database.url: the environment has no `UNSET`")
    );
    assert_eq!(expand("a$${b}", |_| None).as_deref(), Ok("a${b}"));
}

#[test]
fn secrets_are_masked_in_the_effective_settings() {
    let config = parse("[providers.acme]\nconfig = { api_key = \"hunter2\", url = \"https://u:hunter2@x.example/\" }");
    let shown = config.expect("valid").explain(|_| Vec::new());
    assert!(!shown.contains("hunter2"), "{shown}");
    let config = parse(
        "[providers.acme]\nconfig = { urls = [\"https://u:hunter2@x.example/\"], more = [{ token = \"hunter2\" }], \
         q = \"https://x.example/?password=hunter2&page=7\", hosts = \"pg://u:hunter2@a:1,b:2/db\" }",
    );
    let shown = config.expect("valid").explain(|_| Vec::new());
    assert!(!shown.contains("hunter2") && shown.contains("page=7") && shown.contains("pg://…"), "{shown}");
}

#[test]
fn a_trusted_network_may_be_written_in_version_6() {
    let text = "[server]\ntrusted_proxies = [\"::ffff:10.0.0.0/104\", \"::ffff:192.0.2.7\", \"2001:db8::/32\"]";
    let config = Config::parse(text, |_| None).expect("settings");
    let proxies: Vec<String> = config.server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
}

#[test]
fn a_password_in_the_wrong_place_is_not_in_the_complaint() {
    for text in [
        "database = \"postgres://ann:hunter2@db/x\"",
        "[database]\nurl = \"postgres//ann:hunter2@db/x\"",
        "[database]\nurl = \"postgres:ann:hunter2@db/x\"",
        "[live]\nredis = \"redis://:hunter2@cache\"",
        "[live.redis]\nurl = \"redis//:hunter2@cache\"",
        "[providers]\nfiles = \"https://ann:hunter2@files/\"",
    ] {
        let problems = Config::parse(text, |_| None).expect_err(text);
        let said = ConfigError { path: "streamit.toml".into(), problems }.to_string();
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn of_a_url_that_cannot_be_read_only_the_scheme_is_shown() {
    assert_eq!(without_password("postgres://ann:hunter2@[bad/db"), "postgres://…");
    assert_eq!(without_password("postgres://db/x?sslpassword=hunter2"), "postgres://db/x?sslpassword=********");
    assert_eq!(without_password("just a text"), "just a text");
    // What was meant as one is no text either.
    assert_eq!(without_password("postgres//ann:hunter2@db/x"), "…@db/x");
    assert_eq!(without_password("postgres:ann:hunter2@db/x"), "…@db/x");
    assert_eq!(without_password("mailto:ann"), "mailto:ann");
}

#[test]
fn a_public_address_may_have_a_path() {
    let server = |url: &str| parse(&format!("[server]\npublic_url = \"{url}\"")).map(|config| config.server);
    for (url, origin, path) in [
        ("https://watch.example", "https://watch.example", ""),
        ("https://watch.example/", "https://watch.example", ""),
        ("https://example.org/watch", "https://example.org", "/watch"),
        ("https://Example.org:443/watch/", "https://example.org", "/watch"),
        ("http://10.0.0.7:8080/a/b-1.2_3~/", "http://10.0.0.7:8080", "/a/b-1.2_3~"),
        ("https://example.org/rooms/r", "https://example.org", "/rooms/r"),
    ] {
        let server = server(url).expect(url);
        assert_eq!(server.public_path(), path);
        assert_eq!(server.public_url.expect("there is one").origin, origin);
    }
    assert_eq!(server("").expect("none").public_path(), "");
    let shown = parse("[server]\npublic_url = \"https://example.org/watch/\"").expect("valid").explain(|_| Vec::new());
    assert!(shown.contains("public_url = \"https://example.org/watch\""), "{shown}");
}

#[test]
fn a_public_address_that_nobody_could_reach_is_refused() {
    for url in [
        "example.org/watch",
        "/watch",
        "ftp://example.org/watch",
        "https:///watch",
        "https://ann@example.org/watch",
        "https://example.org/watch?a=b",
        "https://example.org?a=b/watch",
        "https://example.org/watch#there",
        "https://example.org/..",
        "https://example.org/a/../b",
        "https://example.org/./a",
        "https://example.org/%2e%2e/a",
        "https://example.org//",
        "https://example.org/a//b",
        "https://example.org\\\\watch",
        "https://example.org/ein raum",
    ] {
        let refused = refused(&format!("[server]\npublic_url = \"{url}\""));
        assert!(refused.starts_with("x.toml:2: server.public_url: `") && refused.contains("expected"), "{refused}");
    }
    let refused = refused("[server]\npublic_url = \"https://example.org/media/\"");
    assert!(refused.contains("the server has a /media/ of its own"), "{refused}");
}

#[test]
fn every_folder_of_the_servers_own_is_known() {
    let routes = include_str!("../http.rs").split("route(\"/").skip(1);
    let folders = routes.filter_map(|route| route.split(['/', '"']).next()).filter(|folder| !folder.is_empty());
    assert_eq!(folders.collect::<HashSet<_>>(), HashSet::from(OWN_FOLDERS));
}

#[test]
fn a_pin_can_be_made_mandatory() {
    let refused = refused("[plugins]\nallow_unpinned = false\n[providers.acme]");
    assert!(refused.starts_with("x.toml:3: providers.acme: has no sha256"), "{refused}");
}
