//! Browsers: headless Chromium, driven over the WebDriver protocol (W3C WebDriver 2), which is JSON over HTTP. One
//! `chromedriver` per test; every browser has its own profile, and so is a separate visitor.

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use slotkeeper_tests::patience::PATIENCE;
use slotkeeper_tests::{Visitor, patiently};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// No requests to other machines, and no use of hardware that a test machine may not have.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--force-prefers-reduced-motion",
    "--window-size=800,600",
];

pub(crate) const ARROW_LEFT: &str = "\u{e012}";

/// A running `chromedriver`. It and its browsers end when it is dropped.
pub(crate) struct Driver {
    child: Child,
    address: SocketAddr,
    chromium: PathBuf,
    /// Profiles and other temporary files.
    folder: TempDir,
}

/// One browser.
pub(crate) struct Browser {
    driver: Visitor,
    path: String,
}

impl Driver {
    pub(crate) async fn start() -> Driver {
        let (program, chromium) = (installed("chromedriver"), installed("chromium"));
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(program)
            .arg("--port=0")
            .env("TMPDIR", folder.path())
            .env("HOME", folder.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (found, port) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut found = Some(found);
            // Read to the end: a full pipe would block chromedriver.
            for line in out.lines().map_while(Result::ok) {
                let port = line
                    .split_once("started successfully on port ")
                    .and_then(|(_, port)| port.trim_end_matches('.').parse().ok());
                if let Some((found, port)) = port.and_then(|port: u16| Some((found.take()?, port))) {
                    let _ = found.send(port);
                }
            }
        });
        // Created before anything can fail: dropping it ends the child.
        let mut driver = Driver { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), chromium, folder };
        driver.address.set_port(patiently("chromedriver", port).await.expect("chromedriver prints its port"));
        driver
    }

    /// A new browser with an empty profile.
    pub(crate) async fn browser(&self) -> Browser {
        let profile = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let arguments: Vec<String> = ARGUMENTS
            .iter()
            .map(|&argument| argument.to_owned())
            .chain([format!("--user-data-dir={}", profile.display())])
            .collect();
        let options = json!({ "binary": self.chromium, "args": arguments });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "acceptInsecureCerts": true, "goog:chromeOptions": options } } });
        let mut driver = Visitor::at(self.address);
        let session = call(&mut driver, "POST", "/session", &wanted).await;
        Browser { driver, path: format!("/session/{}", session["sessionId"].as_str().unwrap()) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The browsers are in its process group.
        if let Some(group) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

impl Browser {
    pub(crate) async fn go(&mut self, url: &str) {
        self.tell("/url", &json!({ "url": url })).await;
    }

    pub(crate) async fn reload(&mut self) {
        self.tell("/refresh", &json!({})).await;
    }

    /// The value of an expression in the page; null while one page replaces another.
    pub(crate) async fn eval(&mut self, expression: &str) -> Value {
        let script = json!({ "script": format!("return {expression}"), "args": [] });
        self.driver
            .request("POST", &format!("{}/execute/sync", self.path), JSON, script.to_string().as_bytes())
            .await
            .json()["value"]
            .take()
    }

    /// Waits until the expression is true.
    pub(crate) async fn sees(&mut self, what: &str, expression: &str) {
        let seen = tokio::time::timeout(PATIENCE, async {
            while self.eval(expression).await != true {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        if seen.await.is_err() {
            let page = self.eval("document.title + '\\n' + document.body.innerText").await;
            panic!("{what} does not appear. The text of the page: {}", page.as_str().unwrap_or_default());
        }
    }

    /// Clicks the element as a visitor does, which needs it to be visible.
    pub(crate) async fn click(&mut self, selector: &str) {
        let found = self.tell("/element", &json!({ "using": "css selector", "value": selector })).await;
        let id = found.as_object().and_then(|found| found.values().next()?.as_str()).unwrap().to_owned();
        self.tell(&format!("/element/{id}/click"), &json!({})).await;
    }

    /// Holds a key for a while.
    pub(crate) async fn hold(&mut self, key: &str, ms: u64) {
        let actions = json!([
            { "type": "keyDown", "value": key }, { "type": "pause", "duration": ms }, { "type": "keyUp", "value": key },
        ]);
        self.tell("/actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] })).await;
    }

    /// Opens a tab and switches to it. The handle identifies the tab.
    pub(crate) async fn tab(&mut self) -> String {
        let opened = self.tell("/window/new", &json!({ "type": "tab" })).await;
        let handle = opened["handle"].as_str().unwrap().to_owned();
        self.look_at(&handle).await;
        handle
    }

    pub(crate) async fn look_at(&mut self, handle: &str) {
        self.tell("/window", &json!({ "handle": handle })).await;
    }

    pub(crate) async fn here(&mut self) -> String {
        call(&mut self.driver, "GET", &format!("{}/window", self.path), &Value::Null).await.as_str().unwrap().to_owned()
    }

    /// Closes the browser, with all its tabs.
    pub(crate) async fn quit(mut self) {
        call(&mut self.driver, "DELETE", &self.path.clone(), &Value::Null).await;
    }

    async fn tell(&mut self, path: &str, body: &Value) -> Value {
        call(&mut self.driver, "POST", &format!("{}{path}", self.path), body).await
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

async fn call(driver: &mut Visitor, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = patiently(path, driver.request(method, path, JSON, body.as_bytes())).await;
    assert_eq!(answer.status(), 200, "{method} {path} {body}: {}", answer.text());
    answer.json()["value"].take()
}

/// A program in `PATH`.
fn installed(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{name} is not installed, and this test drives a real browser: install Debian's packages chromium and \
             chromium-driver (tests/run does), or put programs of these names into PATH"
        )
    })
}
