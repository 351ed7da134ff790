//! The demo in a real browser: waiting room, console, and the transitions between them, as a visitor sees them.

pub(crate) mod chromium;
mod client;

use chromium::{ARROW_LEFT, Browser, Driver};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use slotkeeper_api::{PoolStatus, Session};
use slotkeeper_tests::dispatcher::binary;
use slotkeeper_tests::{Dispatcher, Visitor, eventually};
use std::path::Path;
use std::process::Command;

/// A demo with two consoles, which sleep.
async fn demo() -> Dispatcher {
    demo_with(&[]).await
}

async fn demo_with(arguments: &[&str]) -> Dispatcher {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary("slotkeeper"));
    command.args(["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pods", "2"]);
    command.args(["--cold-start-seconds", "0.5", "--grace-seconds", "1", "--cooldown-seconds", "1"]);
    command.args(arguments).arg("--data").arg(folder.path()).env("RUST_LOG", "info");
    Dispatcher::run(folder, command).await
}

async fn pool(demo: &Dispatcher) -> PoolStatus {
    demo.pool_of("consoles").await
}

async fn sessions(demo: &Dispatcher) -> Vec<Session> {
    demo.sessions_of("consoles").await
}

/// The running consoles, as processes of this machine.
fn consoles(demo: &Dispatcher) -> Vec<i32> {
    let of_this_demo = |id: i32| {
        let command = std::fs::read(Path::new("/proc").join(id.to_string()).join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        command.contains("console-pod") && command.contains(&demo.folder.path().display().to_string())
    };
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|&id| of_this_demo(id)).collect()
}

fn url(demo: &Dispatcher) -> String {
    format!("http://{}/", demo.visitors)
}

// Expressions for the content of a page. They must be valid on every page.
const PLAYS: &str = "document.getElementById('link')?.dataset.state === 'connected'";
const HEADLINE: &str = "document.getElementById('headline')?.textContent";
const POSITION: &str = "document.getElementById('position')?.textContent";
const PICTURE: &str = "document.getElementById('screen')?.toDataURL()";

/// The name of the console that the page shows.
async fn console(browser: &mut Browser) -> String {
    browser.sees("a console", PLAYS).await;
    browser.eval("document.getElementById('pod').textContent").await.as_str().unwrap().to_owned()
}

async fn reads(browser: &mut Browser, headline: &str) {
    browser.sees(headline, &format!("{HEADLINE} === '{headline}'")).await;
}

/// The picture, once it stands still.
async fn still_picture(browser: &mut Browser) -> Value {
    let mut last = Value::Null;
    eventually("the picture to stand still", async || {
        let now = browser.eval(PICTURE).await;
        std::mem::replace(&mut last, now.clone()) == now && now.is_string()
    })
    .await;
    last
}

#[tokio::test]
async fn consoles_are_played_over_tls_with_a_self_signed_certificate() {
    let mut demo = demo_with(&["--tls"]).await;
    let driver = Driver::start().await;
    let mut ana = driver.browser().await;
    // The waiting room appears first, and leads to the console by itself.
    ana.go(&format!("https://{}/", demo.visitors)).await;
    let pod = console(&mut ana).await;
    let cookie = "document.cookie.length === 0 && location.protocol === 'https:'";
    ana.sees("a page over TLS whose cookie no script sees", cookie).await;
    ana.reload().await;
    assert_eq!(console(&mut ana).await, pod);
    assert_eq!(pool(&demo).await.sessions.taken, 1);
    let metrics = demo.metrics().await;
    let handshakes = "slotkeeper_tls_handshakes_total{listener=\"visitors\",result=\"full\"}";
    assert!(metrics.get(handshakes).is_some_and(|count| count >= 1.0));
    assert!(demo.stop().await.success());
    assert!(consoles(&demo).is_empty());
}

#[tokio::test]
async fn every_visitor_gets_a_console_and_unused_consoles_sleep() {
    let mut demo = demo().await;
    let driver = Driver::start().await;
    assert!(consoles(&demo).is_empty(), "no console runs before the first visitor");

    // The waiting room turns into a console by itself (and stores the time at which it does).
    let mut ana = driver.browser().await;
    ana.go(&url(&demo)).await;
    let of_ana = console(&mut ana).await;
    ana.sees("that the waiting room was there", "Number(sessionStorage.getItem('slotkeeper.went.Game console')) > 0")
        .await;
    assert_eq!(consoles(&demo).len(), 1);

    // Another browser at the same address gets another one.
    let mut ben = driver.browser().await;
    ben.go(&url(&demo)).await;
    let of_ben = console(&mut ben).await;
    assert_eq!([&*of_ana, &*of_ben], ["console-0", "console-1"]);

    // The third one waits, and the page shows that.
    let mut cem = driver.browser().await;
    cem.go(&url(&demo)).await;
    reads(&mut cem, "You are next").await;
    assert_eq!(cem.eval(POSITION).await, "1");
    cem.sees("the place in line in the tab", "document.title.startsWith('#1')").await;

    // A game can be played: nothing moves until a key is pressed.
    ana.sees("games", "document.querySelector('#games button') !== null").await;
    ana.click("#games li:first-child button").await;
    ana.sees("Bricks", "document.title.startsWith('Bricks on ')").await;
    let before = still_picture(&mut ana).await;
    ana.hold(ARROW_LEFT, 300).await;
    assert_ne!(still_picture(&mut ana).await, before);

    // Reloading and a second tab lead to the same console and game.
    ana.reload().await;
    assert_eq!(console(&mut ana).await, of_ana);
    let first = ana.here().await;
    let second = ana.tab().await;
    ana.go(&url(&demo)).await;
    assert_eq!(console(&mut ana).await, of_ana);
    ana.sees("the same game", "document.title.startsWith('Bricks on ')").await;
    assert_eq!(pool(&demo).await.sessions.taken, 2);

    // A visitor who leaves makes room for the waiting one, whose page changes without a click.
    ana.click("#leave").await;
    reads(&mut ana, "You have left").await;
    assert_eq!(console(&mut cem).await, of_ana);
    cem.sees(
        "the menu, not a stranger's game",
        "document.querySelector('#games button') !== null && !document.getElementById('menu').hidden",
    )
    .await;
    ana.look_at(&first).await;
    reads(&mut ana, "You have left").await;

    // Starting again is one click, and in the other tab it is the same session.
    ana.click("form[action$='/join'] button").await;
    reads(&mut ana, "You are next").await;
    ana.look_at(&second).await;
    ana.click("form[action$='/join'] button").await;
    reads(&mut ana, "You are next").await;
    assert_eq!(sessions(&demo).await.len(), 3);
    ben.quit().await;
    assert_eq!(console(&mut ana).await, of_ben);

    // After all visitors have left, no console runs.
    ana.quit().await;
    cem.quit().await;
    eventually("the pool to sleep", async || {
        let pool = pool(&demo).await;
        pool.desired == 0 && pool.pods.is_empty()
    })
    .await;
    assert!(sessions(&demo).await.is_empty() && consoles(&demo).is_empty());
    assert!(demo.stop().await.success());
}

#[tokio::test]
async fn a_page_shows_why_its_session_ended_and_recovers_from_failures() {
    let mut demo = demo().await;
    let driver = Driver::start().await;
    let mut ana = driver.browser().await;
    ana.go(&url(&demo)).await;
    console(&mut ana).await;

    // An operator ends the session: the page shows that, and how to continue.
    demo.kick("consoles", &sessions(&demo).await[0].session).await;
    reads(&mut ana, "Your session was ended").await;
    ana.sees("by whom", "document.getElementById('lead').textContent.includes('operator')").await;
    ana.reload().await; // changes nothing
    reads(&mut ana, "Your session was ended").await;
    ana.click("form[action$='/join'] button").await;
    console(&mut ana).await;

    // The console crashes: the visitor gets another one without doing anything.
    let lives = consoles(&demo);
    for &id in &lives {
        kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
    }
    eventually("another console", async || {
        pool(&demo).await.sessions.taken == 1 && consoles(&demo).iter().any(|id| !lives.contains(id))
    })
    .await;
    console(&mut ana).await;

    // The dispatcher stops: the page shows that, and keeps trying.
    assert!(demo.stop().await.success());
    ana.sees("what is wrong", "document.getElementById('curtain-text').textContent.startsWith('The server ')").await;
    assert!(consoles(&demo).is_empty());
    ana.quit().await;
}

#[tokio::test]
async fn without_scripts_the_waiting_room_refreshes_itself_into_a_console() {
    let mut demo = demo().await;
    let mut visitor = Visitor::of(&demo);
    let mut refreshes = 0;
    let page = loop {
        let page = visitor.page("/?from=here").await;
        assert_eq!(page.status(), 200);
        let text = page.text();
        let refresh = "<noscript><meta http-equiv=\"refresh\" content=\"";
        let Some((_, after)) = text.split_once(refresh) else { break text };
        // The refresh keeps the address. Its delay is checked instead of waited for.
        assert!(after.split_once('"').unwrap().0.parse::<u32>().unwrap() <= 5, "{after}");
        refreshes += 1;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert!(page.contains("You are on <strong id=\"pod\">console-0</strong>"), "{page}");
    assert!(refreshes >= 2, "the first answer and the cold start");
    assert!(demo.stop().await.success());
    assert!(consoles(&demo).is_empty());
}
