use super::*;

const GOOD: &str = r#"
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
    drift_ms = 1000
    cooldown_ms = 3000
"#;

#[test]
fn a_good_manifest_parses() {
    assert_eq!(Manifest::parse(GOOD).expect("good").id, "acme");
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error = Manifest::parse(&GOOD.replace("name =", "nmae =")).expect_err("misspelt");
    assert!(error.to_string().starts_with("line 4: unknown field `nmae`"), "{error}");
}

#[test]
fn every_broken_rule_is_reported_at_once() {
    let text = GOOD
        .replace("schema = 1", "schema = 2")
        .replace("\"acme\"", "\"Acme\"")
        .replace("https://acme.example\"]", "http://acme.example/path\", \"{config.base}\"]");
    let problems = Manifest::parse(&text).expect_err("three mistakes");
    let keys: Vec<_> = problems.problems().iter().map(|p| p.split(':').next().expect("a key")).collect();
    assert_eq!(keys, ["schema", "id", "player.embed_origins[0]"]);
}

#[test]
fn a_wrong_rule_about_links_is_named_by_its_number_and_key() {
    let example = r#"
        [[link_examples]]
        link = "https://acme.example/1"
        media = { media_type = "movie", external_id = "1" }
    "#;
    let rule = |rule: &str| format!("{GOOD}[[links]]\n{rule}\n{example}");
    assert!(Manifest::parse(&rule("hosts = [\"acme.example\"]\npath = \"/{external_id}\"")).is_ok());
    for (text, problem) in [
        ("path = \"/{external_id}\"", "links[0].hosts: name hosts, or"),
        (
            "hosts = [\"a.example\"]\nunder = \"{config.x}\"\npath = \"/{external_id}\"",
            "links[0].hosts: name hosts, or",
        ),
        ("hosts = [\"A.example\"]\npath = \"/{external_id}\"", "links[0].hosts: `A.example`: write it as `a.example`"),
        ("hosts = [\"münchen.example\"]\npath = \"/{external_id}\"", "write it as `xn--mnchen-3ya.example`"),
        ("hosts = [\"1.2.3.4\"]\npath = \"/{external_id}\"", "is not the name of a host"),
        ("hosts = [\"a.example:81\"]\npath = \"/{external_id}\"", "is not the name of a host"),
        ("hosts = [\"*.example\"]\npath = \"/{external_id}\"", "everybody's names"),
        ("hosts = [\"*\"]\npath = \"/{external_id}\"", "is not the name of a host"),
        ("hosts = [\"*.*.example.org\"]\npath = \"/{external_id}\"", "is not the name of a host"),
        ("under = \"base_url\"\npath = \"/{external_id}\"", "links[0].under: `base_url`: expected \"{config.key}\""),
        ("hosts = [\"a.example\"]\npath = \"{external_id}\"", "links[0].path: `{external_id}` does not begin"),
        ("hosts = [\"a.example\"]\npath = []", "links[0].path: name at least one"),
        ("hosts = [\"a.example\"]\npath = \"/{id}\"", "links[0].external_id: {external_id} is not taken"),
        (
            "hosts = [\"a.example\"]\npath = [\"/{external_id}\", \"/x\"]",
            "links[0].external_id: {external_id} is not taken",
        ),
        ("hosts = [\"a.example\"]\npath = \"/{external_id}/{slug}\"", "links[0].path: {slug} is taken for nothing"),
        ("hosts = [\"a.example\"]\npath = \"/{external_id}/{external_id}\"", "{external_id} is taken twice"),
        (
            "hosts = [\"a.example\"]\npath = \"/{external_id}\"\nmedia_type = \"tv\"",
            "links[0].season: an episode needs one",
        ),
        ("hosts = [\"a.example\"]\npath = \"/{external_id}\"\nseason = 1", "links[0].season: a movie has none"),
        (
            "hosts = [\"a.example\"]\npath = \"/{external_id}\"\nstart = [\"t\"]",
            "links[0].start: `t`: expected query.NAME",
        ),
        ("hosts = [\"a.example\"]\npath = \"/x\"\nfollow = \"u\"", "links[0].follow: expected query.NAME"),
        (
            "hosts = [\"a.example\"]\npath = \"/{id}\"\nrefuse = \"no\"",
            "links[0].path: {id} is taken for nothing beside `refuse`",
        ),
        ("hosts = [\"a.example\"]\npath = \"/x\"\nrefuse = \"\"", "links[0].refuse: a sentence"),
        ("hosts = [\"a.example\"]\npath = \"/{external_id}\"\nhots = 1", "unknown field `hots`"),
    ] {
        let error = Manifest::parse(&rule(text)).expect_err(text).to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
    let no_example = format!("{GOOD}[[links]]\nhosts = [\"acme.example\"]\npath = \"/{{external_id}}\"\n");
    let error = Manifest::parse(&no_example).expect_err("untried").to_string();
    assert!(error.contains("link_examples: give at least one"), "{error}");
}

#[test]
fn what_a_page_may_do_and_is_told_is_written_below_the_player() {
    let player = |more: &str| Manifest::parse(&format!("{GOOD}{more}"));
    let plain = player("").expect("good").player;
    assert_eq!((plain.worker, plain.live, plain.rate), (false, false, None));
    let all = "connect_origins = ['https://*.cdn.example', '{config.licence}']\nworker = true\nrate = 'steps'\nlive = true\n\
               [player.settings]\ntitle = '{config.title}'\nmode = 'dash'\n";
    let all = player(all).expect("good").player;
    assert_eq!((all.worker, all.live, all.rate, all.settings.len()), (true, true, Some(Rate::Steps), 2));

    for (more, problem) in [
        (
            "connect_origins = ['https://a.example/path']",
            "player.connect_origins[0]: `https://a.example/path`: expected",
        ),
        ("connect_origins = ['https://*']", "player.connect_origins[0]: `https://*`: expected"),
        ("connect_origins = ['http://a.example']", "player.connect_origins[0]: `http://a.example`: expected"),
        ("rate = 'fast'", "unknown variant `fast`"),
        ("settings = { a = '{config.}' }", "player.settings.a: `{config.}`: expected {config.key}"),
        ("settings = { a = 'x {config.b' }", "player.settings.a: `x {config.b`: expected {config.key}"),
        ("settings = { a = '{config.api_key}' }", "player.settings.a: config.api_key is secret by its name"),
    ] {
        let error = player(more).expect_err(more).to_string();
        assert!(error.contains(problem), "{more}: {error}");
    }
    let secret = GOOD.replace("name =", "secrets = ['pin']\n        name =");
    let error = Manifest::parse(&format!("{secret}settings = {{ a = ['the {{config.pin}}'] }}")).expect_err("secret");
    assert!(error.to_string().contains("player.settings.a: config.pin is secret by `secrets`"), "{error}");
}

#[test]
fn a_permission_may_say_with_whom_it_is_shared() {
    for good in ["autoplay", "autoplay *", "encrypted-media 'self' https://cdn.example", "fullscreen 'none'"] {
        assert!(is_permission(good), "{good}");
    }
    for bad in [
        "",
        "*",
        "Autoplay",
        "autoplay;",
        "autoplay  *",
        "autoplay; camera",
        "autoplay self",
        "autoplay \"x\"",
        "autoplay https://cdn.example/x",
    ] {
        assert!(!is_permission(bad), "{bad}");
    }
}

#[test]
fn a_choice_has_choices_and_nothing_else_has() {
    let with =
        |param: &str| Manifest::parse(&GOOD.replace("[player]", &format!("render_params = [{param}]\n[player]")));
    let size = r#"name = "size", about = "Size""#;
    let good = with(&format!(r#"{{ {size}, kind = "choice", choices = ["small", "large"] }}"#)).expect("good");
    assert_eq!(good.render_params[0].choices, ["small", "large"]);
    for bad in [
        r#"kind = "choice""#,
        r#"kind = "choice", choices = []"#,
        r#"kind = "choice", choices = ["a", "a"]"#,
        r#"kind = "choice", choices = ["a", ""]"#,
        r#"kind = "text", choices = ["a"]"#,
    ] {
        let problem = with(&format!("{{ {size}, {bad} }}")).expect_err(bad).to_string();
        assert!(problem.contains("render_params: `size`: choices: "), "{bad}: {problem}");
    }
}
