//! `cargo xtask autobahn`: the Autobahn suite's fuzzing client asks a session that says what it hears. That one exists in
//! a test build only; how it gets its connection, reads, writes and leaves is what every session does.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{cargo, root, succeed};

const SUITE: &str = "autobahntestsuite==25.10.1";

/// As many cases as there are in it: one that did not run has not passed.
const CASES: usize = 517;

const AGENT: &str = "StreamIt";

const GROUPS: [(u32, &str); 10] = [
    (1, "framing"),
    (2, "pings and pongs"),
    (3, "reserved bits"),
    (4, "opcodes"),
    (5, "fragmentation"),
    (6, "UTF-8"),
    (7, "closing"),
    (9, "limits"),
    (10, "the rest"),
    (COMPRESSION, "compression"),
];
const COMPRESSION: u32 = 12;

const VERDICTS: [&str; 5] = ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED"];

/// Runs it, prints a table, and fails if a case did. Everything it found is in `target/autobahn/report`.
pub(crate) fn run() -> anyhow::Result<()> {
    let folder = root().join("target/autobahn");
    let python =
        python2().context("the suite runs in Python 2.7 only, and there is none here: neither in PATH nor of pyenv")?;
    install(&python, &folder)?;
    succeed(&mut cargo(["test", "--package", "streamit-host", "--lib", "--no-run"]))?;

    let mut echo = cargo(["test", "--quiet", "--package", "streamit-host", "--lib", "--"])
        .args(["--ignored", "--exact", "http::socket::tests::echo", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(echo.stdout.take().context("it is piped")?).lines();
    let url = loop {
        let line = lines.next().context("the echo did not start")??;
        if let Some(at) = line.find("ws://") {
            break line[at..].to_owned();
        }
    };
    let report = folder.join("report");
    let _ = fs::remove_dir_all(&report);
    let order = json!({ "outdir": report, "servers": [{ "agent": AGENT, "url": url }], "cases": ["*"] });
    fs::write(folder.join("order.json"), order.to_string())?;
    println!("Running {CASES} cases (some minutes; which is next is in target/autobahn/log) …");
    let log = fs::File::create(folder.join("log"))?;
    let ran = succeed(
        suite(&python, &folder).args(["-m", "fuzzingclient", "-s", "order.json"]).stderr(log.try_clone()?).stdout(log),
    );
    // The end of its input is the end of the echo.
    drop(echo.stdin.take());
    ensure!(echo.wait()?.success(), "the echo failed");
    ran?;
    judge(&report)
}

/// Whatever it is called: the suite will never run in another one.
fn python2() -> Option<PathBuf> {
    let pyenv = env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".pyenv")));
    let versions = pyenv.and_then(|pyenv| fs::read_dir(pyenv.join("versions")).ok()).into_iter().flatten().flatten();
    let of_pyenv = versions.map(|version| version.path().join("bin/python"));
    let is_two = |python: &PathBuf| {
        let question = "import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))";
        let answer = Command::new(python).args(["-c", question]).stderr(Stdio::null()).status();
        answer.is_ok_and(|status| status.success())
    };
    ["python2.7", "python2", "pypy"].map(PathBuf::from).into_iter().chain(of_pyenv).find(is_two)
}

fn install(python: &Path, folder: &Path) -> anyhow::Result<()> {
    let installed = folder.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|suite| suite == SUITE) {
        return Ok(());
    }
    println!("Installing {SUITE} into target/autobahn …");
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    // What a user installs lies in one folder, which we name.
    succeed(
        Command::new(python)
            .args(["-m", "pip", "install", "--user", "--quiet", "--no-warn-script-location", SUITE])
            .env("PYTHONUSERBASE", folder),
    )?;
    fs::write(installed, SUITE)?;
    Ok(())
}

fn suite(python: &Path, folder: &Path) -> Command {
    let mut suite = Command::new(python);
    suite.arg("bin/wstest").current_dir(folder).env("PYTHONUSERBASE", folder);
    suite
}

fn judge(report: &Path) -> anyhow::Result<()> {
    let index: Value = serde_json::from_str(&fs::read_to_string(report.join("index.json"))?)?;
    let cases = index[AGENT].as_object().context("the suite reports nothing about us")?;
    let mut table: BTreeMap<u32, [usize; VERDICTS.len()]> = BTreeMap::new();
    let mut notes = BTreeMap::new();
    let mut failures = 0;
    for (id, case) in cases {
        let number: Vec<u32> = id.split('.').map(str::parse).collect::<Result<_, _>>()?;
        // 13 is compression with other settings.
        let group = number[0].min(COMPRESSION);
        let (behavior, close) = (case["behavior"].as_str(), case["behaviorClose"].as_str());
        let is_closed_well = close.is_some_and(|close| ["OK", "INFORMATIONAL", "UNIMPLEMENTED"].contains(&close));
        let verdict = match VERDICTS.iter().position(|verdict| Some(*verdict) == behavior) {
            Some(3) if group != COMPRESSION => 4,
            Some(verdict) if is_closed_well => verdict,
            _ => 4,
        };
        table.entry(group).or_default()[verdict] += 1;
        failures += usize::from(verdict == 4);
        if [1, 2, 4].contains(&verdict) {
            let file = report.join(case["reportfile"].as_str().unwrap_or_default());
            let told: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
            let said = |key: &str| {
                let text = told[key].as_str().unwrap_or_default().replace("<br>", " ");
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            };
            let (behavior, close) = (behavior.unwrap_or_default(), close.unwrap_or_default());
            let told = ["description", "result", "resultClose"].map(said).join("\n    ");
            let note = format!("{id}: {behavior}, closing {close}\n    {told}");
            notes.insert(number, note);
        }
    }
    println!("\n{:<20}{}", "", VERDICTS.map(|verdict| format!("{verdict:>15}")).concat());
    for (group, name) in GROUPS {
        let counts = table.get(&group).copied().unwrap_or_default();
        println!("{:<20}{}", format!("{group} {name}"), counts.map(|count| format!("{count:>15}")).concat());
    }
    println!();
    for note in notes.values() {
        println!("{note}");
    }
    ensure!(failures == 0, "{failures} cases failed; target/autobahn/report has what was said");
    ensure!(cases.len() == CASES, "{} cases ran of {CASES}", cases.len());
    Ok(())
}
