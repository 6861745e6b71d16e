//! An author's way: begin a plugin, build it, check it, drop it into a host that runs, watch with it, take it out again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use streamit_zoo::{CALLS, build};

use crate::harness::{App, BUNDLED, PATIENCE, streams};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command of the program, which must succeed, and answers what it printed.
fn succeeds(app: &App, arguments: &[&str]) -> String {
    let output = app.streamit(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    output
}

/// Nobody looks into what these scenes build.
const QUICK: [(&str, &str); 2] = [("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")];

/// Builds a generated crate as it is, and without a network: what this repository was built with is all it needs.
fn cargo_build(folder: &Path, toolchain: Option<&str>, rustc: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(toolchain.unwrap_or("authors"));
    let mut cargo = match toolchain {
        Some(toolchain) => {
            let mut rustup = Command::new("rustup");
            rustup.args(["run", toolchain, "cargo"]);
            // What the cargo that runs this test set for itself is not meant for another one.
            for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
                rustup.env_remove(name);
            }
            rustup
        }
        None => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
    };
    cargo.args(["rustc", "-q", "--offline", "--target-dir"]).arg(&target).arg("--").args(rustc);
    run(cargo.current_dir(folder).envs(QUICK));
    let name = folder.file_name().unwrap().to_str().unwrap().replace('-', "_");
    let library = format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    target.join("debug").join(library)
}

fn passes_the_suite(app: &App, library: &Path) {
    let checked = succeeds(app, &["plugin", "check", library.to_str().unwrap()]);
    assert!(checked.contains(" passed, 0 not, "), "{checked}");
}

fn new_in_rust(app: &App, name: &str) -> PathBuf {
    let said = succeeds(app, &["plugin", "new", name]);
    assert!(said.contains("cargo build --release") && said.contains("streamit plugin check"), "{said}");
    app.path(name)
}

/// Drops a library into a host that is running, plays with it, and takes it out again.
async fn lives_in_a_running_host(app: &App, id: &str, library: &Path) {
    let (room, mut ann, mut ben) = app.room_of_two().await;
    fs::copy(library, app.library(id)).unwrap();
    app.write_config(&format!("{BUNDLED}[providers.{id}]\n"));
    let reloaded = app.reload().await;
    let added = reloaded["providers"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&added["id"], &added["change"], &added["state"]),
        (&json!(id), &json!("added"), &json!("ready")),
        "{added}"
    );

    let episode = json!({ "provider": id, "media_type": "tv", "external_id": "4711", "season": 2, "episode": 3 });
    let other = app.room_playing(episode.clone()).await;
    let url = format!("https://play.{id}.example/tv/4711/2/3");
    assert_eq!(app.view(&other).await["embed_url"], url);
    let put = app.put_source(&room, episode.clone()).await;
    assert_eq!(put.status, 200, "{put:?}");
    for member in [&mut ann, &mut ben] {
        member.sees(|state| state["room"]["source"]["provider"] == id).await;
    }
    let wrong = json!({ "provider": id, "media_type": "tv", "external_id": "x" });
    let refused = app.post("/api/v1/rooms", json!({ "source": wrong })).await;
    let fields: Vec<String> = refused.fields().into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["external_id", "season", "episode"]);
    let bridge = app.provider(id).await["bridge_url"].as_str().unwrap().to_owned();
    assert!(app.get(&bridge).await.body.as_str().unwrap().contains("export default"));

    app.write_config(BUNDLED);
    fs::remove_file(app.library(id)).unwrap();
    let reloaded = app.reload().await;
    assert_eq!(reloaded["providers"].as_array().unwrap().last().unwrap()["change"], "removed");
    let view = app.view(&room).await;
    assert_eq!(view["embed_url"], Value::Null);
    ann.seek(9_000).await;
    ben.sees_position(9_000).await;
}

#[tokio::test]
async fn a_new_plugin_in_rust_is_built_checked_dropped_in_and_taken_out() {
    let app = App::start().await;
    let folder = new_in_rust(&app, "my-films");
    let library = cargo_build(&folder, None, &[]);
    passes_the_suite(&app, &library);
    lives_in_a_running_host(&app, "my-films", &library).await;

    // Its own unit test, the manifest's examples, is there from the beginning.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("authors");
    let mut test = Command::new("cargo");
    let tested = run(test.args(["test", "-q", "--target-dir"]).arg(target).current_dir(&folder).envs(QUICK));
    assert!(text(&tested.stdout).contains("1 passed"), "{}", text(&tested.stdout));

    // Built so that a panic ends the process, it is not let in.
    let library = cargo_build(&folder, None, &["-C", "panic=abort"]);
    fs::copy(library, app.library("my-films")).unwrap();
    app.write_config(&format!("{BUNDLED}[providers.my-films]\n"));
    app.reload().await;
    let refused = app.provider("my-films").await;
    assert!(refused["reason"].as_str().unwrap().contains("built with panic = \"abort\""), "{refused}");
}

#[tokio::test]
async fn a_new_plugin_in_c_is_built_checked_dropped_in_and_taken_out() {
    let app = App::start().await;
    let said = succeeds(&app, &["plugin", "new", "c-films", "--c"]);
    assert!(said.contains("  make\n"), "{said}");
    let folder = app.path("c-films");
    run(Command::new("make").arg("CFLAGS=-O2 -Werror").current_dir(&folder));
    let library = folder.join("libc_films.so");
    passes_the_suite(&app, &library);
    lives_in_a_running_host(&app, "c-films", &library).await;

    // The example it is made from can be built where it lies.
    let copy = app.path("plugin-api");
    run(Command::new("cp").arg("-r").arg(format!("{REPOSITORY}/plugin-api")).arg(&copy));
    let example = copy.join("examples/acme");
    run(Command::new("make").arg("CFLAGS=-O2 -Werror").current_dir(&example));
    passes_the_suite(&app, &example.join("libacme.so"));
}

#[tokio::test]
async fn any_legal_id_makes_a_plugin_that_builds() {
    let app = App::prepare("");
    // What a compiler, cargo or the API itself has a meaning for.
    for id in ["self", "core", "streamit-plugin-api"] {
        passes_the_suite(&app, &cargo_build(&new_in_rust(&app, id), None, &[]));
    }
    fs::create_dir(app.path("in-c")).unwrap();
    for id in ["acme-tv", "acme2", "media", "self", "type", "a-1", "a-", "std", "test", "streamit-provider", "xn--a"] {
        let written = app.streamit(&["plugin", "new", id, "--c"]).current_dir(app.path("in-c")).output().unwrap();
        assert!(written.status.success(), "{}", text(&written.stderr));
        let folder = app.path("in-c").join(id);
        run(Command::new("make").args(["-s", "CFLAGS=-O2 -Werror"]).current_dir(&folder));
        passes_the_suite(&app, &folder.join(format!("lib{}.so", id.replace('-', "_"))));
    }
}

/// The blocks of a language that a guide shows.
fn blocks(guide: &str, language: &str) -> Vec<String> {
    let guide = fs::read_to_string(format!("{REPOSITORY}/{guide}")).unwrap();
    let begin = format!("\n```{language}\n");
    guide.split(&begin).skip(1).map(|rest| rest.split_once("\n```").unwrap().0.to_owned()).collect()
}

#[test]
fn the_guides_show_the_very_files_that_are_written() {
    let app = App::prepare("");
    succeeds(&app, &["plugin", "new", "acme"]);
    let written = |file: &str| fs::read_to_string(app.path("acme").join(file)).unwrap();
    let code = written("src/lib.rs");
    // An author's tests are not shown.
    let code = code.split("\n\n#[cfg(test)]").next().unwrap();
    let data = written("provider.toml");
    assert_eq!(blocks("README.md", "rust"), [code]);
    assert_eq!(blocks("README.md", "toml"), [""; 0]);
    assert_eq!(blocks("plugins/README.md", "rust"), [""; 0]);
    assert_eq!(blocks("plugins/README.md", "toml"), [data.trim_end()]);
}

#[test]
fn the_header_is_c99_and_cpp() {
    let folder = tempfile::tempdir().unwrap();
    for (compiler, standard, file) in [("cc", "c99", "x.c"), ("c++", "c++11", "x.cpp")] {
        let source = folder.path().join(file);
        fs::write(&source, "#include \"streamit_provider.h\"\n#include \"streamit_provider.h\"\nint nothing;\n")
            .unwrap();
        let found = Command::new(compiler).arg("--version").output().is_ok();
        if !found && compiler == "c++" {
            println!("skipped for C++: there is no {compiler} here");
            continue;
        }
        let flags = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-c", "-o", "/dev/null"];
        run(Command::new(compiler)
            .arg(format!("-std={standard}"))
            .args(flags)
            .arg(format!("-I{REPOSITORY}/plugin-api/include"))
            .arg(&source));
    }
}

#[tokio::test]
async fn a_plugin_of_another_compiler_loads() {
    let toolchain = "nightly";
    let version = Command::new("rustup").args(["run", toolchain, "rustc", "--version"]).output();
    let Some(version) = version.ok().filter(|output| output.status.success()).map(|output| text(&output.stdout)) else {
        println!("skipped: no {toolchain} toolchain here");
        return;
    };
    let app = App::start().await;
    let folder = new_in_rust(&app, "nightly-films");
    let library = cargo_build(&folder, Some(toolchain), &[]);
    let inspected: Value =
        serde_json::from_str(&succeeds(&app, &["plugin", "inspect", library.to_str().unwrap(), "--json"])).unwrap();
    assert_eq!(inspected["toolchain"], version.trim(), "{inspected}");
    lives_in_a_running_host(&app, "nightly-films", &library).await;
    println!("built by {}, loaded", version.trim());
}

#[tokio::test]
async fn the_bundled_plugins_pass_the_conformance_suite() {
    let app = App::prepare("");
    for id in ["adaptive", "mp4", "vidking", "vimeo", "youtube"] {
        if id == "adaptive" && !streams::can_play() {
            continue;
        }
        let library = app.library(id);
        let checked = succeeds(&app, &["plugin", "check", library.to_str().unwrap(), "--json"]);
        let checked: Value = serde_json::from_str(&checked).unwrap();
        assert_eq!(checked["id"], id);
        let results: Vec<&str> =
            checked["cases"].as_array().unwrap().iter().map(|c| c["result"].as_str().unwrap()).collect();
        assert!(results.len() > 20 && results.iter().all(|r| ["passed", "skipped"].contains(r)), "{checked}");
    }
}

#[tokio::test]
async fn the_suite_says_what_was_expected_what_came_and_how_to_mend_it() {
    let app = App::prepare("");
    let folder = app.path(".");
    for (flags, case, result) in [
        (&["-DCREATE=loop()"][..], "create_and_destroy", "hung"),
        (&["-DCONSTRUCTOR=abort()"], "loads", "crashed"),
        (&["-DCONSTRUCTOR=print()"], "silent", "failed"),
        (&["-DCREATE=malloc(4000)"], "create_and_destroy", "failed"),
        (&["-DURL=\"https://elsewhere.example/\""], "ids", "failed"),
        (&["-DUNDEFINED"], "loads", "failed"),
        (&[], "numbers", "failed"),
        (&[], "media_types", "failed"),
        (&[], "unknown_config_key", "failed"),
        (&["-fvisibility=default"], "exports", "failed"),
        (&["-DSHARED"], "instances", "failed"),
        (&["-DLATE"], "late_writes", "failed"),
        (&["-DFLICKER"], "same_answer", "failed"),
        (&["-DFLICKER"], "examples[0]", "failed"),
        (&["-DBRIDGE_TEXT=\"export default {\""], "bridge_syntax", "failed"),
        (&["-DBRIDGE_TEXT=\"export function mount() {}\""], "bridge", "failed"),
        (&[], "bridge_syntax", "passed"),
        (&[], "examples[0]", "passed"),
        (&[], "same_answer", "passed"),
        (&[], "late_writes", "passed"),
    ] {
        let library = build(&folder, CALLS, flags);
        let output =
            app.streamit(&["plugin", "check", library.to_str().unwrap(), "--only", case, "--json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(result != "passed")), "{case}: {}", text(&output.stdout));
        let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
        let only = &checked["cases"][0];
        assert_eq!((&only["case"], &only["result"]), (&json!(case), &json!(result)), "{only}");
        if result != "passed" {
            assert!(only["expected"].is_string() && only["came"].is_string() && only["mend"].is_string(), "{only}");
        }
    }
    for arguments in [["Cargo.toml"].as_slice(), &["libcaller.so", "--only", "examples[7]"]] {
        let output = app.streamit(&["plugin", "check"]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    }
}

/// The cases that did not pass, with what came.
fn failures(app: &App, library: &Path) -> Vec<(String, String)> {
    let output = app.streamit(&["plugin", "check", library.to_str().unwrap(), "--json"]).output().unwrap();
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let cases = checked["cases"].as_array().unwrap();
    assert!(cases.len() > 20, "the others ran on: {checked}");
    let failed = cases.iter().filter(|case| !["passed", "skipped"].contains(&case["result"].as_str().unwrap()));
    failed.map(|case| (case["case"].as_str().unwrap().into(), case["came"].as_str().unwrap().into())).collect()
}

#[tokio::test]
async fn what_is_wrong_with_a_plugin_is_one_failure() {
    let app = App::prepare("");
    succeeds(&app, &["plugin", "new", "acme", "--c"]);
    let folder = app.path("acme");
    let [data, bridge] = ["provider.toml", "bridge.js"].map(|name| fs::read_to_string(folder.join(name)).unwrap());
    let url = "\nurl = \"https://play.acme.example/movie/4711\"";
    let own_config = format!("{url}\nconfig = {{ nonsense = 1 }}");
    for (data, bridge, case, came) in [
        (data.replace(url, &url.replace("movie", "film")), bridge.clone(), "examples[0]", "/film/4711; it gave https"),
        (data.replace(url, "\nurl = \"https://elsewhere.example/1\""), bridge.clone(), "examples[0]", "should give"),
        // It cannot be made at all under what this example says it could.
        (data.replace(url, &own_config), bridge.clone(), "examples[0]", "config.nonsense: unknown key"),
        (data.replace("external_id = \"abc\"", "external_id = \"1\""), bridge.clone(), "rejects[0]", "it gave https"),
        (data.replacen("\"4711\", season = 1", "\"x\", season = 1", 1), bridge.clone(), "examples[1]", "should give"),
        (
            data.replace("start_s = 90", "start_s = 91"),
            bridge.clone(),
            "link_examples[0]",
            "it is movie `4711` from 90 s",
        ),
        (
            data.replace("4711-some-show/1/8", "4711-some-show/1/8/9").replace(
                "media = { media_type = \"tv\", external_id = \"4711\", season = 1, episode = 8 }\n\n[[link",
                "\n[[link",
            ),
            bridge.clone(),
            "links_are_tried",
            "none for links[1]",
        ),
        (
            data.replace("/notacme.", "/www.acme."),
            bridge.clone(),
            "link_examples[2]",
            "should be nobody's; it is movie",
        ),
        (data.clone(), bridge.replace("async play() {", "async play( {"), "bridge_syntax", "line 15, column 5: "),
        (
            data.clone(),
            bridge.replace("command: \"pause\"", "command: \"pause"),
            "bridge_syntax",
            "line 19, column 36: ",
        ),
        (data.clone(), bridge.replace("export default function", "export function"), "bridge", "none"),
    ] {
        fs::write(folder.join("provider.toml"), data).unwrap();
        fs::write(folder.join("bridge.js"), bridge).unwrap();
        run(Command::new("make").args(["-s", "-B", "CFLAGS=-O0"]).current_dir(&folder));
        let failures = failures(&app, &folder.join("libacme.so"));
        assert!(matches!(&*failures, [(only, said)] if only == case && said.contains(came)), "{case}: {failures:?}");
    }
}

#[tokio::test]
async fn what_is_no_file_is_refused_in_words() {
    let app = App::prepare("");
    run(Command::new("mkfifo").arg(app.path("pipe")));
    let _socket = std::os::unix::net::UnixListener::bind(app.path("socket")).unwrap();
    for (file, kind) in [("pipe", "a pipe"), ("config", "a folder"), ("/dev/zero", "a device"), ("socket", "a socket")]
    {
        for (arguments, code) in
            [(["inspect", file].as_slice(), 2), (&["check", file], 2), (&["try", file, "--movie", "1"], 1)]
        {
            let mut command = tokio::process::Command::from(app.streamit(&["plugin"]));
            let output = command.args(arguments).kill_on_drop(true).output();
            let output = tokio::time::timeout(PATIENCE, output).await.expect("it hangs").unwrap();
            assert_eq!(output.status.code(), Some(code), "{arguments:?}");
            let said = text(&output.stderr);
            assert!(said.contains(&format!("{file}: not a plugin's library, but {kind}")), "{said}");
        }
    }
}

#[tokio::test]
async fn inspect_and_try_answer_without_a_host() {
    let app = App::prepare("");
    let library = app.library("vidking");
    let library = library.to_str().unwrap();
    let inspected = succeeds(&app, &["plugin", "inspect", library]);
    for line in ["id             vidking", "embed origins  https://www.vidking.net", "abi            1.1"] {
        assert!(inspected.contains(line), "{inspected}");
    }
    let tried = succeeds(&app, &["plugin", "try", library, "--tv", "119051", "1", "8"]);
    assert_eq!(tried, "https://www.vidking.net/embed/tv/119051/1/8\n");
    let output = app.streamit(&["plugin", "try", library, "--tv", "119051"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("season (missing): ") && said.contains("episode (missing): "), "{said}");

    let links = |link: &str| app.streamit(&["plugin", "try", library, "--link", link]).output().unwrap();
    let understood = links("https://www.themoviedb.org/tv/119051-x/season/1/episode/8");
    assert!(understood.status.success());
    let lines =
        "media  tv `119051` season 1 episode 8\nstart  0 s\nurl    https://www.vidking.net/embed/tv/119051/1/8\n";
    assert_eq!(text(&understood.stdout), lines);
    let guessed = links("themoviedb.org/tv/119051");
    assert!(text(&guessed.stdout).contains("season 1 episode 1 (a guess"), "{}", text(&guessed.stdout));
    for (link, said) in [
        ("https://www.themoviedb.org/person/1", "refused: this is neither a film nor an episode"),
        ("https://www.themoviedb.org/movie/x", "a rule in [[links]] fits, and external_id: a TMDB id has"),
        ("https://example.org/", "no rule in [[links]] fits"),
        ("what was it", "this is no address of the web"),
    ] {
        let output = links(link);
        assert_eq!(output.status.code(), Some(1), "{link}");
        assert!(text(&output.stderr).contains(said), "{link}: {}", text(&output.stderr));
    }
    assert!(inspected.contains("links of       www.themoviedb.org, themoviedb.org, www.vidking.net"), "{inspected}");

    let mp4 = app.library("mp4");
    let tried = succeeds(&app, &["plugin", "try", mp4.to_str().unwrap(), "--link", "/media/a%20b.webm#t=1:30"]);
    assert_eq!(tried, "media  movie `a b.webm`\nstart  90 s\nurl    /media/a%20b.webm\n");
    let config = r#"{ "base_url": "https://cdn.example/" }"#;
    let tried = succeeds(&app, &["plugin", "try", mp4.to_str().unwrap(), "--movie", "a.mp4", "--config", config]);
    assert_eq!(tried, "https://cdn.example/a.mp4\n");

    // Nothing of a plugin runs for `inspect`.
    let crasher = build(&app.path("."), CALLS, &["-DCONSTRUCTOR=abort()"]);
    assert!(succeeds(&app, &["plugin", "inspect", crasher.to_str().unwrap()]).contains("id             caller"));
    let output = app.streamit(&["plugin", "try", crasher.to_str().unwrap(), "--movie", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("it crashed (signal 6, SIGABRT)"), "{}", text(&output.stderr));
}

#[test]
fn a_new_plugin_has_a_name_of_its_own_and_overwrites_nothing() {
    let app = App::prepare("");
    fs::create_dir(app.path("taken")).unwrap();
    for (name, reason) in [
        ("taken", "cannot create ./taken"),
        ("Bad", "cannot be a provider's id: 2 to 32 characters, a letter, then letters, digits or -, all small"),
        ("a", "cannot be a provider's id"),
        ("1a", "cannot be a provider's id"),
        ("a_b", "cannot be a provider's id"),
        ("acme.tv", "cannot be a provider's id"),
        ("../x", "cannot be a provider's id"),
    ] {
        let output = app.streamit(&["plugin", "new", name]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    }
    succeeds(&app, &["plugin", "new", "from-git", "--api-git", "https://git.example/streamit"]);
    let manifest = fs::read_to_string(app.path("from-git/Cargo.toml")).unwrap();
    assert!(manifest.contains("streamit-plugin-api = { git = \"https://git.example/streamit\" }"), "{manifest}");
    succeeds(&app, &["plugin", "new", "from-registry", "--api-version", "1.2"]);
    let manifest = fs::read_to_string(app.path("from-registry/Cargo.toml")).unwrap();
    assert!(manifest.contains("streamit-plugin-api = \"1.2\""), "{manifest}");
    assert!(!app.path("from-registry/streamit-plugin-api").exists());
    let api = fs::canonicalize(format!("{REPOSITORY}/plugin-api")).unwrap();
    succeeds(&app, &["plugin", "new", "from-folder", "--api-path", api.to_str().unwrap()]);
    let manifest = fs::read_to_string(app.path("from-folder/Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("streamit-plugin-api = {{ path = \"{}\" }}", api.display())), "{manifest}");
}

#[test]
fn a_new_plugin_is_whole_or_not_there() {
    let app = App::prepare("");
    let program = app.streamit(&[]).get_program().to_owned();
    // No file may be larger than a block, as on a disk that is full.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
    let mut limited = Command::new("sh");
    limited.args(["-c", script, "sh"]).arg(program).args(["plugin", "new", "acme"]).current_dir(app.path(""));
    let output = limited.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot write ./acme/"), "{}", text(&output.stderr));
    assert!(!app.path("acme").exists());
}
