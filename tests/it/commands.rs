//! The command line: what an operator types, and what comes back.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::SystemTime,
};

use sha2::{Digest, Sha256};

use crate::harness::{App, BUNDLED, repository};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_is_worth_reading() {
    let app = App::prepare(BUNDLED);
    let help = app.streamit(&["--help"]).output().unwrap();
    assert!(help.status.success());
    for word in
        ["serve", "migrate", "backup", "config", "plugin", "Exit codes: 0 done, 1 failed, 2 bad usage or configuration"]
    {
        assert!(stdout(&help).contains(word), "{word}");
    }
    assert_eq!(app.streamit(&["nonsense"]).output().unwrap().status.code(), Some(2));
    assert_eq!(app.streamit(&[]).output().unwrap().status.code(), Some(2));
}

#[test]
fn config_check_prints_the_effective_settings() {
    // Of the one key the name says what it is, of the other the plugin's manifest.
    let app = App::prepare(
        "[providers.mp4]\nconfig = { base_url = \"/media/\", api_token = \"hunter2\" }\n\
         [providers.stranger]\nconfig = { passphrase = \"hunter2\" }",
    );
    let output = app.streamit(&["config", "check", "config/streamit.toml"]).output().unwrap();
    assert!(output.status.success());
    let text = stdout(&output);
    assert!(text.starts_with("# config/streamit.toml: ok."), "{text}");
    assert!(text.contains("host_grace_secs = 300") && text.contains("silence_secs = 60"), "{text}");
    assert!(!text.contains("hunter2") && text.contains("passphrase"), "{text}");
}

#[test]
fn a_bad_configuration_is_refused_with_every_problem_and_exit_code_2() {
    let app = App::prepare("[media]\ndirectory = \"x\"\n[limits]\nping_secs = 0\n[providers.Nobody]\n");
    for command in [["config", "check", "config/streamit.toml"].as_slice(), &["serve"], &["plugin", "list"]] {
        let output = app.streamit(command).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let text = stderr(&output);
        for problem in [
            "media.directory: unknown field `directory`, expected `dir`",
            "limits.ping_secs: 0 is out of range",
            "providers.Nobody: ",
        ] {
            assert!(text.contains(problem), "{problem} in:\n{text}");
        }
        assert!(text.contains("config/streamit.toml:"), "{text}");
    }
    let missing = app.streamit(&["serve", "--config", "nowhere.toml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("nowhere.toml: cannot read it"), "{}", stderr(&missing));
}

#[test]
fn plugin_list_says_what_is_ready_and_why_others_are_not() {
    let app = App::prepare(&format!("{BUNDLED}\n[providers.acme]\n[providers.off]\nenabled = false\n"));
    let output = app.streamit(&["plugin", "list"]).output().unwrap();
    assert!(output.status.success());
    let text = stdout(&output);
    let line = |id: &str| text.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(line("vidking").contains("ready"), "{text}");
    assert!(line("acme").contains("refused") && line("acme").contains("no such file"), "{text}");
    assert!(line("off").contains("disabled"), "{text}");
    let json = app.streamit(&["plugin", "list", "--json"]).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(list["providers"][0]["id"], "mp4", "in the configuration's order");
    assert_eq!(list["providers"][4]["state"], "refused");
}

/// Everything below a folder, with the time of its last change.
fn tree(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        found.insert(entry.path(), entry.metadata().unwrap().modified().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found
}

#[test]
fn plugin_list_writes_nothing() {
    let mut app = App::prepare(BUNDLED);
    fs::create_dir(app.path("tmp")).unwrap();
    let temporary = app.path("tmp").to_str().unwrap().to_owned();
    app.set_env("TMPDIR", &temporary);
    let list = || {
        let output = app.streamit(&["plugin", "list"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let everything = || {
        let mut tree = tree(&app.path(""));
        // In it the copies were tried; it has changed, and is empty again.
        tree.remove(&app.path("tmp"));
        tree
    };
    let before = everything();
    assert_eq!(list().matches(" ready ").count(), 4);
    assert_eq!(everything(), before);

    // What a host did not survive is known all the same.
    let copies = app.path("data/plugins");
    fs::create_dir_all(&copies).unwrap();
    let mark = |id: &str, what: &str| {
        let sha256: String =
            Sha256::digest(fs::read(app.library(id)).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(copies.join(format!("{sha256}.{what}")), "").unwrap();
    };
    mark("vidking", "loading");
    mark("youtube", "crashed");
    let text = list();
    let line = |id: &str| text.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(line("vidking").contains("quarantined"), "{text}");
    assert!(line("youtube").contains("ready") && line("youtube").contains("process"), "{text}");
    assert!(line("vimeo").contains("ready") && line("vimeo").contains("none"), "{text}");

    let config = fs::read_to_string(app.path("config/streamit.toml")).unwrap();
    fs::write(app.path("config/streamit.toml"), format!("state_dir = \"/proc/nowhere\"\n{config}")).unwrap();
    assert_eq!(list().matches(" ready ").count(), 4, "where nothing can be written");
}

#[test]
fn plugin_list_fails_if_a_required_provider_is_not_ready() {
    let app = App::prepare("");
    for (config, code, said) in [
        ("[providers.vidking]\nrequired = true\n[providers.acme]\n", 0, ""),
        ("[providers.vidking]\n[providers.acme]\nrequired = true\n", 1, "the required provider `acme` is refused: "),
    ] {
        app.write_config(config);
        for arguments in [["plugin", "list"].as_slice(), &["plugin", "list", "--json"]] {
            let output = app.streamit(arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{arguments:?} {config}");
            assert!(stdout(&output).contains("vidking") && stdout(&output).contains("acme"), "{}", stdout(&output));
            assert!(stderr(&output).contains(said), "{}", stderr(&output));
        }
    }
}

#[test]
fn whoever_has_read_enough_is_no_failure() {
    let app = App::prepare(BUNDLED);
    let library = app.library("vidking");
    let library = library.to_str().unwrap();
    for (arguments, code) in [
        (["--help"].as_slice(), 0),
        (&["--version"], 0),
        (&["config", "check", "config/streamit.toml"], 0),
        (&["plugin", "list"], 0),
        (&["plugin", "list", "--json"], 0),
        (&["plugin", "new", "acme"], 0),
        (&["plugin", "inspect", library], 0),
        (&["plugin", "inspect", library, "--json"], 0),
        (&["plugin", "try", library, "--movie", "1"], 0),
        (&["plugin", "try", library, "--movie", "x"], 1),
        (&["plugin", "check", library, "--only", "exports"], 0),
        (&["plugin", "check", library, "--only", "exports", "--json"], 0),
        (&["nonsense"], 2),
    ] {
        // The other end is closed before it begins, of stdout as of stderr.
        let (closed, stdout) = std::io::pipe().unwrap();
        drop(closed);
        let mut command = app.streamit(arguments);
        let output = command.stdout(stdout.try_clone().unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("panic") && !stderr(&output).contains("pipe"), "{}", stderr(&output));
        let _ = fs::remove_dir_all(app.path("acme"));
        let mut command = app.streamit(arguments);
        let status = command.stdout(stdout.try_clone().unwrap()).stderr(stdout).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = app.streamit(&["config", "check", "config/streamit.toml"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("streamit: the answer cannot be written: "), "{}", stderr(&output));
}

#[tokio::test]
async fn an_address_in_use_is_said() {
    let app = App::start().await;
    let other = App::prepare(&format!("[server]\nbind = \"{}\"", app.url.strip_prefix("http://").unwrap()));
    let output = other.streamit(&["serve"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is it in use? server.bind in the configuration sets it"), "{}", stderr(&output));
}

#[test]
fn a_database_that_is_none_is_said() {
    let app = App::prepare(BUNDLED);
    fs::create_dir(app.path("data")).unwrap();
    fs::write(app.path("data/streamit.db"), "this is not a database, and it is long enough to be told from one")
        .unwrap();
    let output = app.streamit(&["serve"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("data/streamit.db"), "{}", stderr(&output));
}

#[tokio::test]
async fn the_log_is_json_when_asked_and_has_no_secret() {
    let app = App::with(&format!("[log]\nformat = \"json\"\nfilter = \"trace\"\n{BUNDLED}")).await;
    let (room, mut ann, mut ben) = app.room_of_two().await;
    ann.seek(1_000).await;
    ben.sees_position(1_000).await;
    let path = format!("/api/v1/rooms/{}", room.code);
    app.request(reqwest::Method::DELETE, &path, Some(&room.key), None).await;
    ben.is_closed().await;
    let log = app.log();
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
    }
    let leak = |secret: &str| log.lines().find(|line| line.contains(secret)).map(str::to_owned);
    assert_eq!(leak(&room.key), None, "the host key is in the log");
    assert_eq!(leak(&room.code), None, "who reads the log could come into the room");
    assert_eq!(log.lines().filter(|line| line.contains("room created") && line.contains("\"room\":\"")).count(), 1);
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nobody_up() {
    let mut app = App::prepare(&format!("[log]\nfilter = \"trace\"\n{BUNDLED}"));
    let log = app.launch_into(std::process::Stdio::piped()).await;
    // Many times what the pipe takes.
    for _ in 0..100 {
        futures_util::future::join_all((0..100).map(|_| app.get("/api/v1/providers/nobody"))).await;
    }
    let (_room, mut ann, mut ben) = app.room_of_two().await;
    ann.seek(1_000).await;
    ben.sees_position(1_000).await;
    assert!(app.metric("streamit_log_lines_dropped").await > 0);
    drop(log);
}

#[tokio::test]
async fn the_operators_listener_has_metrics_and_health() {
    let app = App::start().await;
    let (_room, _ann, _ben) = app.room_of_two().await;
    let get = async |path: &str| {
        let response = reqwest::get(format!("{}{path}", app.admin_url)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await, (200, "ok\n".into()));
    assert_eq!(get("/readyz").await, (200, r#"{"database":"ok","live":"ok"}"#.into()));
    let (_, metrics) = get("/metrics").await;
    for line in ["streamit_rooms 1", "streamit_members 2", "# EOF"] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    assert_eq!(app.get("/metrics").await.status.as_u16(), 404, "not on the public listener");
}

#[test]
fn the_cluster_example_is_valid_and_shows_no_password() {
    let mut app = App::prepare(BUNDLED);
    let example = repository().join("config/cluster.toml");
    fs::copy(example, app.path("config/cluster.toml")).unwrap();
    let check = ["config", "check", "config/cluster.toml"];
    let missing = app.streamit(&check).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    for name in ["DATABASE_URL", "REDIS_URL"] {
        assert!(stderr(&missing).contains(&format!("the environment has no `{name}`")), "{}", stderr(&missing));
    }
    app.set_env("DATABASE_URL", "postgres://ann:hunter2@db/streamit");
    app.set_env("REDIS_URL", "rediss://:hunter2@redis:6379");
    let output = app.streamit(&check).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("store = \"redis\"") && !stdout(&output).contains("hunter2"),
        "{}",
        stdout(&output)
    );
}
