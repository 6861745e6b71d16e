//! A real browser, driven by WebDriver. Each window has a profile of its own, as on two people's machines.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fantoccini::{Client, ClientBuilder, Locator, wd::WindowHandle};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use tempfile::TempDir;

use super::{PATIENCE, repository};

/// Nobody presses a button that has said something else until so short a time ago (`host/web/seen.js`).
const SEEN: Duration = Duration::from_millis(350);

/// A browser as people have it, with tabs and all that is around a page; without a screen.
const WHOLE: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Its engine alone, which starts with a sixth of the work. Where it is missing the whole one does as well. Debian's program
/// in the path is a script that does not end it.
const ENGINE: [&str; 2] = ["/usr/lib/chromium/chromium-headless-shell", "chrome-headless-shell"];

/// The WebDriver of one scene; dropping it ends its browsers.
pub(crate) struct Browser {
    driver: Child,
    program: PathBuf,
    /// What it and its browsers leave behind.
    _leavings: TempDir,
    url: String,
    flags: Vec<String>,
}

/// People see what a button says before they press it, and the page counts on that.
pub(crate) async fn reads_the_button() {
    tokio::time::sleep(SEEN).await;
}

/// One window.
pub(crate) struct Window(pub(crate) Client, String);

impl Browser {
    pub(crate) fn start() -> Browser {
        Browser::with_flags(&[])
    }

    pub(crate) fn with_flags(flags: &[&str]) -> Browser {
        Browser::of(find(&ENGINE).or_else(|| find(&WHOLE)), flags)
    }

    /// For what the engine alone has not: tabs that hide each other, a way back, …
    pub(crate) fn whole(flags: &[&str]) -> Browser {
        Browser::of(find(&WHOLE), flags)
    }

    fn of(program: Option<PathBuf>, flags: &[&str]) -> Browser {
        let program = program.expect("chromium is installed; `cargo xtask test` sees to it");
        let leavings = tempfile::tempdir().unwrap();
        // Side by side with others one may find the port it chose taken by then, and ends.
        let (driver, port) = (0..3).find_map(|_| driver(leavings.path())).expect("chromedriver says its port");
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Browser { driver, program, _leavings: leavings, url: format!("http://127.0.0.1:{port}"), flags }
    }

    pub(crate) async fn window(&self) -> Window {
        let mut arguments: Vec<Value> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--autoplay-policy=no-user-gesture-required",
            "--window-size=1280,900",
            // Without a graphics card a picture takes as long to draw as it has points.
            "--force-device-scale-factor=0.5",
        ]
        .map(Value::from)
        .into();
        arguments.extend(self.flags.iter().cloned().map(Value::from));
        let options = json!({ "args": arguments, "binary": self.program });
        let capabilities = json!({
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 10_000 },
        });
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        let client = ClientBuilder::new(connector)
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&self.url)
            .await
            .unwrap();
        Window(client, self.url.clone())
    }
}

/// A WebDriver on a port of its own, if it came to that.
fn driver(leavings: &Path) -> Option<(Child, u16)> {
    let program = find(&["chromedriver"]).expect("chromedriver is installed; `cargo xtask test` sees to it");
    let mut command = Command::new(program);
    command.arg("--port=0").env("TMPDIR", leavings).stdout(Stdio::piped()).stderr(Stdio::null());
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // A group of its own, so that its browsers end with it even if a test does not close them.
        command.process_group(0);
    }
    let mut driver = command.spawn().unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = lines
        .by_ref()
        .find_map(|line| line.unwrap().split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok());
    let Some(port) = port else {
        driver.wait().unwrap();
        return None;
    };
    // Whatever it says later must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Some((driver, port))
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.driver.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).status();
        let _ = self.driver.wait();
    }
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders: Vec<_> = env::split_paths(&path).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}

impl Window {
    pub(crate) async fn goto(&self, url: &str) {
        self.0.goto(url).await.unwrap();
    }

    /// Waits until a script's expression is true, and answers it.
    pub(crate) async fn until(&self, expression: &str) -> Value {
        self.until_within(PATIENCE, expression).await
    }

    /// As `until`, for what takes longer than anything else does.
    pub(crate) async fn until_within(&self, patience: Duration, expression: &str) -> Value {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(value) = self.sees(expression).await {
                return value;
            }
            if Instant::now() > deadline {
                let page = self.eval("document.body.innerText").await;
                let line =
                    self.eval("globalThis.counted && [counted.said, counted.heard, document.visibilityState]").await;
                panic!("never true: {expression}; the page says: {page}; sent, and heard last: {line}");
            }
        }
    }

    /// Looks for a second whether an expression is true. A script ends with its page, not always with a word: so nobody
    /// looks for long.
    pub(crate) async fn sees(&self, expression: &str) -> Option<Value> {
        let script = format!(
            "const done = arguments[0];
             const until = performance.now() + 1000;
             const look = () => {{
               let value;
               try {{ value = ({expression}); }} catch {{ value = null; }}
               if (value) done(value);
               else if (performance.now() > until) done(null);
               else setTimeout(look, 20);
             }};
             look();"
        );
        self.0.execute_async(&script, vec![]).await.ok().filter(|value| !value.is_null())
    }

    pub(crate) async fn eval(&self, expression: &str) -> Value {
        self.0.execute(&format!("return ({expression});"), vec![]).await.unwrap()
    }

    /// Runs the body of an asynchronous function in the page, and answers what it returns.
    pub(crate) async fn run(&self, body: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; (async () => {{ {body} }})().then(done, (error) => done({{ error: String(error) }}));"
        );
        let value = self.0.execute_async(&script, vec![]).await.unwrap();
        assert!(value["error"].is_null(), "{}", value["error"]);
        value
    }

    /// A command of the browser's own protocol.
    pub(crate) async fn command(&self, name: &str, parameters: Value) -> Value {
        let session = self.0.session_id().await.unwrap().unwrap();
        let url = format!("{}/session/{session}/goog/cdp/execute", self.1);
        let body = json!({ "cmd": name, "params": parameters });
        let answer: Value = reqwest::Client::new().post(url).json(&body).send().await.unwrap().json().await.unwrap();
        assert!(answer["value"]["error"].is_null(), "{answer}");
        answer["value"].clone()
    }

    /// Runs a script before those of each page that this window shows from now on.
    pub(crate) async fn before_pages(&self, script: &str) {
        self.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    pub(crate) async fn click(&self, css: &str) {
        if css == "#play" {
            reads_the_button().await;
        }
        // What is not shown yet cannot be clicked.
        self.until(&format!("document.querySelector({}).checkVisibility()", json!(css))).await;
        self.0.wait().for_element(Locator::Css(css)).await.unwrap().click().await.unwrap();
    }

    pub(crate) async fn choose(&self, css: &str, value: &str) {
        self.0.wait().for_element(Locator::Css(css)).await.unwrap().select_by_value(value).await.unwrap();
    }

    pub(crate) async fn type_into(&self, css: &str, text: &str) {
        self.0.wait().for_element(Locator::Css(css)).await.unwrap().send_keys(text).await.unwrap();
    }

    /// Joins the room whose page this is.
    pub(crate) async fn join(&self) {
        self.until("!document.querySelector('#enter').hidden").await;
        // What plays in the room may have the page loaded anew before the driver has seen its click through.
        let _ = self.0.find(Locator::Css("#join")).await.unwrap().click().await;
        self.until("document.querySelector('#connection').dataset.status === 'connected'").await;
    }

    /// Puts another tab before the page. Until `show` the window is that tab: looking at the page would show it.
    pub(crate) async fn hide(&self) -> WindowHandle {
        self.run(
            "window.wasHidden = false;
             document.addEventListener('visibilitychange', () => { wasHidden ||= document.hidden; });
             return 0;",
        )
        .await;
        let tab = self.0.window().await.unwrap();
        let other = self.0.new_window(true).await.unwrap();
        self.0.switch_to_window(other.handle).await.unwrap();
        tab
    }

    /// Closes the tab that hid the page `tab`.
    pub(crate) async fn show(&self, tab: WindowHandle) {
        self.0.close_window().await.unwrap();
        self.0.switch_to_window(tab).await.unwrap();
        self.command("Page.bringToFront", json!({})).await;
        self.until("document.visibilityState === 'visible'").await;
        assert_eq!(self.eval("wasHidden").await, true, "the tab never was hidden");
    }

    /// Keeps what the window shows, for people to look at: `target/screenshots/NAME.png`.
    pub(crate) async fn screenshot(&self, name: &str) {
        let folder = repository().join("target/screenshots");
        fs::create_dir_all(&folder).unwrap();
        let is_coarse = self.eval("devicePixelRatio < 1").await == true;
        if is_coarse {
            // Of the size it has.
            self.whole_points(0, 0, false).await;
        }
        fs::write(folder.join(format!("{name}.png")), self.0.screenshot().await.unwrap()).unwrap();
        if is_coarse {
            self.command("Emulation.clearDeviceMetricsOverride", json!({})).await;
        }
    }

    /// Shows the page as a phone of so many points would: a browser's windows have a least width.
    pub(crate) async fn as_phone(&self, width: u32, height: u32) {
        self.whole_points(width, height, true).await;
    }

    async fn whole_points(&self, width: u32, height: u32, is_mobile: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_mobile });
        self.command("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    pub(crate) async fn resize(&self, width: u32, height: u32) {
        self.0.set_window_size(width, height).await.unwrap();
    }

    /// Closes the window; a page that broke its own policy or threw is a failed scene.
    pub(crate) async fn close(self) {
        let bad = self.complaints().await;
        assert!(bad.is_empty(), "{bad:#?}");
        self.0.close().await.unwrap();
    }

    /// What the browser said about the page since it was last asked.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let session = self.0.session_id().await.unwrap().unwrap();
        let url = format!("{}/session/{session}/se/log", self.1);
        let request = reqwest::Client::new().post(url).json(&json!({ "type": "browser" }));
        let log: Value = request.send().await.unwrap().json().await.unwrap();
        let lines = log["value"].as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned());
        lines.filter(|line| line.contains("Uncaught") || line.contains("Content Security Policy")).collect()
    }
}
