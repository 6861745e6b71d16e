use super::*;

/// The rules in TOML, under a configuration.
fn under(rules: &str, config: &str) -> Links {
    #[derive(serde::Deserialize)]
    struct Rules {
        links: Vec<Link>,
    }
    let Rules { links } = toml::from_str(rules).expect("rules");
    assert_eq!(problems(&links, &[]), ["link_examples: give at least one address with its identity"]);
    Links::new(&links, &toml::from_str(config).expect("a configuration")).expect("good")
}

fn links(rules: &str) -> Links {
    under(rules, "")
}

/// The ids that a text may mean, in order.
fn ids(links: &Links, text: &str) -> Vec<String> {
    let Ok(address) = Address::parse(text) else { return Vec::new() };
    links.claims(&address).claims.into_iter().map(|claim| claim.media.to_string()).collect()
}

const WATCH: &str = r#"
    [[links]]
    hosts = ["acme.example", "*.acme.example"]
    path = "/watch"
    query = { v = "{external_id}" }
    start = ["query.t", "fragment.t"]
"#;

#[test]
fn a_host_is_compared_by_whole_labels_without_user_at_the_usual_port() {
    let links = links(WATCH);
    for good in [
        "https://acme.example/watch?v=7",
        "http://acme.example/watch?v=7",
        "HTTPS://ACME.EXAMPLE/watch?v=7",
        "acme.example/watch?v=7",
        "//acme.example/watch?v=7",
        "  https://acme.example/watch?v=7\n",
        "https://acme.example:443/watch?v=7",
        "http://acme.example:80/watch?v=7",
        "https://acme.example./watch?v=7",
        "https://www.acme.example/watch?v=7",
        "https://a.b.acme.example/watch/?x=1&v=7&y=2",
        "https://ａcme.example/watch?v=7", // what a browser takes for the same letter
        "https://acme.example/w%61tch?v=%37",
        "https:\\\\acme.example\\watch?v=7",
        "https://acme.example/a/../watch?v=7",
        "https://acme.example/watch?v=7&v=8",
        "\u{feff}https://acme.example/watch?v=7\u{200b} ",
    ] {
        assert_eq!(ids(&links, good), ["movie `7`"], "{good}");
    }
    for bad in [
        "",
        "   ",
        "7",
        "acme",
        "https://evilacme.example/watch?v=7",
        "https://acme.example.evil/watch?v=7",
        "https://acme.example@evil.example/watch?v=7",
        "https://acme.example:x@evil.example/watch?v=7",
        "https://somebody@acme.example/watch?v=7",
        "https://acme.example:8443/watch?v=7",
        "https://acme.example:80/watch?v=7",
        "acme.example:80/watch?v=7",
        "https://acme.example../watch?v=7",
        "https://.acme.example/watch?v=7",
        "https://асme.example/watch?v=7", // two letters are Cyrillic
        "https://acme.example/Watch?v=7",
        "https://acme.example//watch?v=7",
        "https://acme.example/watch?v=",
        "https://acme.example/watch?V=7",
        "https://acme.example/watch?v=%ff",
        "https://acme.example/watch?v=a%00b",
        "https://acme.example/watch?v=a%0ab",
        "https://acme.example/%ff?v=7",
        "https://acme.example/wat\nch?v=7",
        "https://evil.example/?u=https://acme.example/watch?v=7",
        "https://evil.example/#https://acme.example/watch?v=7",
        "https://evil.example\\@acme.example/watch?v=7",
        "https://[::1]/watch?v=7",
        "https://127.0.0.1/watch?v=7",
        "ftp://acme.example/watch?v=7",
        "file:///acme.example/watch?v=7",
        "javascript:alert(1)//acme.example/watch?v=7",
        "data:text/html,acme.example/watch?v=7",
        "view-source:https://acme.example/watch?v=7",
        "/watch?v=7",
    ] {
        assert_eq!(ids(&links, bad), [""; 0], "{bad}");
    }
    let long = |n: usize| format!("https://acme.example/watch?v=7&x={}", "x".repeat(n));
    assert_eq!(ids(&links, &long(4_000)), ["movie `7`"]);
    assert_eq!(Address::parse(&long(8_000)), Err(NotAnAddress::TooLong));
    assert_eq!(ids(&links, &format!("https://acme.example/watch?v={}", "7".repeat(513))), [""; 0]);
}

#[test]
fn the_first_place_that_names_a_start_counts() {
    let links = links(WATCH);
    for (text, start_ms) in [
        ("acme.example/watch?v=7", 0),
        ("acme.example/watch?v=7&t=1m5s", 65_000),
        ("acme.example/watch?v=7#t=10,20", 10_000),
        ("acme.example/watch?v=7&t=5#t=10", 5_000),
        ("acme.example/watch?v=7&t=soon#t=10", 0),
        ("acme.example/watch?v=7&t=-5", 0),
    ] {
        let address = Address::parse(text).expect("an address");
        assert_eq!(links.claims(&address).claims[0].start_ms, start_ms, "{text}");
    }
}

#[test]
fn the_first_rule_whose_identity_the_provider_accepts_wins_and_a_refusal_only_where_none_does() {
    let links = links(
        r#"
        links = [
            { hosts = ["acme.example"], path = "/*", refuse = "this is a person" },
            { hosts = ["acme.example"], path = "/{id}", query = { h = "{hash}" }, external_id = "{id}/{hash}" },
            { hosts = ["acme.example"], path = ["/{external_id}", "/all/{external_id}"] },
        ]
        "#,
    );
    let meaning = |text: &str| {
        let is_id = |media: &Media<'_>| media.external_id.bytes().all(|b| b.is_ascii_digit() || b == b'/');
        let ask = |media: &Media<'_>| -> Result<_, ()> {
            Ok(if is_id(media) {
                Ok(format!("https://acme.example/{}", media.external_id))
            } else {
                Err(Rejection::format(crate::Field::ExternalId, "digits"))
            })
        };
        links.meaning(&Address::parse(text).expect("an address"), ask).expect("asked")
    };
    let id = |text: &str| match meaning(text) {
        Meaning::Media(claim, _) => claim.media.external_id.into_owned(),
        other => other.to_string(),
    };
    assert_eq!(id("acme.example/7?h=8"), "7/8");
    assert_eq!(id("acme.example/7?h=x"), "7");
    assert_eq!(id("acme.example/7"), "7");
    assert_eq!(id("acme.example/all/7"), "7");
    assert_eq!(meaning("acme.example/ann"), Meaning::Refused("this is a person".into()));
    assert!(matches!(meaning("acme.example/all/ann"), Meaning::Nothing(Some(_))), "with the provider's reason");
    assert_eq!(meaning("acme.example/a/b/c"), Meaning::Nothing(None));
}

#[test]
fn an_episode_has_numbers_and_one_that_is_not_named_is_a_guess() {
    let links = links(
        r#"
        [[links]]
        hosts = ["acme.example"]
        path = "/tv/{external_id}-*/season/{season}/episode/{episode}"
        media_type = "tv"
        [[links]]
        hosts = ["acme.example"]
        path = "/tv/{external_id}-*/season/{season}"
        media_type = "tv"
        episode = 1
        "#,
    );
    let claims = |text: &str| links.claims(&Address::parse(text).expect("an address")).claims;
    let named = &claims("acme.example/tv/7-x/season/0/episode/5")[0];
    assert_eq!((named.media.to_string().as_str(), named.is_guess), ("tv `7` season 0 episode 5", false));
    let guessed = &claims("acme.example/tv/7/season/2/")[0];
    assert_eq!((guessed.media.to_string().as_str(), guessed.is_guess), ("tv `7` season 2 episode 1", true));
    for odd in ["-1", "x", "4294967296", "%31x", "１"] {
        assert!(claims(&format!("acme.example/tv/7/season/{odd}")).is_empty(), "{odd}");
    }
}

#[test]
fn an_address_inside_another_is_followed_once() {
    let links = links(
        r#"
        links = [
            { hosts = ["acme.example"], path = "/out", follow = "query.u", start = ["query.t"] },
            { hosts = ["acme.example"], path = "/watch", query = { v = "{external_id}" }, start = ["query.t"] },
        ]
        "#,
    );
    let out = |inner: &str| ids(&links, &format!("https://acme.example/out?u={inner}"));
    for inner in ["%2Fwatch%3Fv%3D7", "/watch?v=7&x=1", "https%3A%2F%2Facme.example%2Fwatch%3Fv%3D7"] {
        assert_eq!(out(inner), ["movie `7`"], "{inner}");
    }
    for inner in ["", "https%3A%2F%2Fevil.example%2Fwatch%3Fv%3D7", "%2F%2Fevil.example%2Fwatch%3Fv%3D7"] {
        assert_eq!(out(inner), [""; 0], "{inner}");
    }
    assert_eq!(out("%2Fout%3Fu%3D%252Fwatch%253Fv%253D7"), [""; 0], "not twice");
    let start = |text: &str| links.claims(&Address::parse(text).expect("an address")).claims[0].start_ms;
    assert_eq!(start("acme.example/out?u=%2Fwatch%3Fv%3D7%26t%3D5&t=9"), 5_000);
    assert_eq!(start("acme.example/out?u=%2Fwatch%3Fv%3D7&t=9"), 9_000);

    // What belongs to nobody leads anybody there.
    for redirector in [
        "www.google.com/url?q=",
        "google.com/url?sa=t&url=",
        "www.google.com/url?q=&url=",
        "www.google.com/url?q=some+words&url=",
        "l.facebook.com/l.php?u=",
    ] {
        let led = |inner: &str| ids(&links, &format!("https://{redirector}{inner}"));
        assert_eq!(led("https%3A%2F%2Facme.example%2Fwatch%3Fv%3D7"), ["movie `7`"], "{redirector}");
        assert_eq!(led("https%3A%2F%2Fsomebody%40acme.example%2Fwatch%3Fv%3D7"), [""; 0], "{redirector}");
        assert_eq!(
            led("https%3A%2F%2Fwww.google.com%2Furl%3Fq%3Dhttps%253A%252F%252Facme.example%252Fwatch%253Fv%253D7"),
            [""; 0]
        );
    }
    assert_eq!(ids(&links, "https://www.google.evil/url?q=https%3A%2F%2Facme.example%2Fwatch%3Fv%3D7"), [""; 0]);
}

const FILES: &str = r#"
    [[links]]
    under = "{config.base_url}"
    path = "/{external_id...}"
    exact = true
"#;

#[test]
fn a_file_lies_below_the_place_that_the_operator_names() {
    let links = under(FILES, "base_url = \"https://cdn.example:8443/v/\"");
    for (text, id) in [
        ("https://cdn.example:8443/v/a.webm", "a.webm"),
        ("http://CDN.example:8443/v/b/a%20b.webm?token=x#t=5", "b/a b.webm"),
        ("cdn.example:8443/v/%252e%252e/a", "%2e%2e/a"),
    ] {
        assert_eq!(ids(&links, text), [format!("movie `{id}`")], "{text}");
    }
    for bad in [
        "https://cdn.example/v/a.webm",
        "https://cdn.example:8444/v/a.webm",
        "https://cdn.example.evil:8443/v/a.webm",
        "https://u@cdn.example:8443/v/a.webm",
        "https://cdn.example:8443/a.webm",
        "https://cdn.example:8443/va.webm",
        "https://cdn.example:8443/v/",
        "https://cdn.example:8443/v",
        "https://cdn.example:8443/v/../a.webm",
        "https://cdn.example:8443/v/%2e%2e/a.webm",
        "https://cdn.example:8443/v/a%2Fb.webm",
        "https://cdn.example:8443/v/a%00b.webm",
        "/v/a.webm",
    ] {
        assert_eq!(ids(&links, bad), [""; 0], "{bad}");
    }
    for odd in ["https://cdn.example/v/a//b", "https://cdn.example/v/a/"] {
        let odd = odd.replace("example/", "example:8443/");
        assert_eq!(ids(&links, &odd).len(), 1, "{odd}: for the provider to say what is wrong");
    }

    for base in ["http://[::1]:8080/v/", "http://localhost:8080/v/", "http://127.0.0.1/my%20films/"] {
        let links = under(FILES, &format!("base_url = \"{base}\""));
        assert_eq!(ids(&links, &format!("{base}a.webm")), ["movie `a.webm`"], "{base}");
        assert_eq!(ids(&links, &format!("{}a.webm", base.replace("http://", ""))), ["movie `a.webm`"], "{base}");
    }
    let two = under(FILES, "base_url = [\"https://a.example/\", \"/media/\"]");
    assert_eq!(ids(&two, "a.example/x"), ["movie `x`"]);
    assert_eq!(ids(&two, "/media/x"), ["movie `x`"]);
    assert_eq!(ids(&under(FILES, ""), "/media/x"), [""; 0]);
    let rule = toml::from_str::<Link>("under = \"{config.b}\"\npath = \"/{external_id...}\"").expect("a rule");
    let error = Links::new(&[rule], &toml::from_str("b = \"media\"").expect("TOML")).expect_err("no place");
    assert!(error.starts_with("config.b: "), "{error}");
}

#[test]
fn a_path_on_the_host_itself_is_seen_from_its_own_address() {
    let links = under(FILES, "base_url = \"/media/\"");
    let own = Base::parse("https://party.example/watch/").expect("a place");
    let seen = |text: &str| {
        let address = Address::parse(text).expect("an address").seen_from(&own);
        links.claims(&address).claims.into_iter().map(|claim| claim.media.external_id.into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(seen("http://party.example/watch/media/a.webm#t=5"), ["a.webm"]);
    assert_eq!(seen("/media/a.webm"), ["a.webm"]);
    for bad in [
        "https://party.example/media/a.webm",
        "https://evil.example/watch/media/a.webm",
        "//media/a.webm",
        "/\\media/a",
    ] {
        assert_eq!(seen(bad), [""; 0], "{bad}");
    }
}

#[test]
fn an_exact_rule_holds_for_the_very_address_only() {
    let links = under(FILES, "base_url = \"/media/\"");
    let meaning = |prefix: &str| {
        let ask = |media: &Media<'_>| -> Result<_, ()> { Ok(Ok(format!("/media/{prefix}{}", media.external_id))) };
        links.meaning(&Address::parse("/media/a.webm?x=1").expect("an address"), ask).expect("asked")
    };
    assert!(matches!(meaning(""), Meaning::Media(..)));
    assert_eq!(meaning("films/"), Meaning::Nothing(None));
}

#[test]
fn which_of_the_hosts_it_is_on_may_be_part_of_the_identity() {
    let rule = "[[links]]\nunder = \"{config.sites}\"\npath = \"/w/{id}\"\nexternal_id = \"{host}/{id}\"\n";
    let sites = under(rule, "sites = [\"https://a.example/\", \"https://b.example:8443/\", \"/tube/\"]");
    assert_eq!(ids(&sites, "https://a.example/w/7"), ["movie `a.example/7`"]);
    assert_eq!(ids(&sites, "b.example:8443/w/7"), ["movie `b.example:8443/7`"]);
    assert_eq!(ids(&sites, "https://b.example/w/7"), [""; 0]);
    assert_eq!(ids(&sites, "/tube/w/7"), [""; 0], "the host itself has no name");
    let own = "[[links]]\nhosts = [\"*.acme.example\"]\npath = \"/{host}/{id}\"\nexternal_id = \"{host}/{id}\"\n";
    assert_eq!(ids(&links(own), "www.acme.example/x/7"), ["movie `x/7`"], "what a rule takes by that name itself");
}

#[test]
fn a_site_that_is_one_page_has_its_path_behind_the_hash() {
    let rule = "[[links]]\nhosts = [\"acme.example\"]\npath = [\"/web\", \"/web/index.html\"]\nroute = \"/details/*\"\n\
        query = { id = \"{external_id}\" }\n";
    let links = links(rule);
    for good in [
        "acme.example/web/#/details/film?id=7&server=1",
        "acme.example/web/index.html#!/details/film/?server=1&id=7",
        "acme.example/web?x=1#/details/film?id=%37",
    ] {
        assert_eq!(ids(&links, good), ["movie `7`"], "{good}");
    }
    for bad in [
        "acme.example/web/details/film?id=7",
        "acme.example/web/?id=7#/details/film",
        "acme.example/web/#details/film?id=7",
        "acme.example/web/#/details?id=7",
        "acme.example/#/details/film?id=7",
    ] {
        assert_eq!(ids(&links, bad), [""; 0], "{bad}");
    }
}
