//! The command line: what an operator types, and what comes back.

use std::{fs, process::Output};

use crate::harness::{App, BUNDLED};

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
    for word in ["serve", "config", "plugin", "Exit codes: 0 done, 1 failed, 2 bad usage or configuration"] {
        assert!(stdout(&help).contains(word), "{word}");
    }
    assert_eq!(app.streamit(&["nonsense"]).output().unwrap().status.code(), Some(2));
    assert_eq!(app.streamit(&[]).output().unwrap().status.code(), Some(2));
}

#[test]
fn config_check_prints_the_effective_settings() {
    let app = App::prepare("[providers.mp4]\nconfig = { base_url = \"/media/\", api_token = \"hunter2\" }");
    let output = app.streamit(&["config", "check", "config/streamit.toml"]).output().unwrap();
    assert!(output.status.success());
    let text = stdout(&output);
    assert!(text.starts_with("# config/streamit.toml: ok."), "{text}");
    assert!(text.contains("host_grace_secs = 300") && text.contains("silence_secs = 60"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
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
    let leak = log.lines().find(|line| line.contains(&room.key));
    assert_eq!(leak, None, "the host key is in the log");
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
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/cluster.toml");
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
