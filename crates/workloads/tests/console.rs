//! Tests a console as its clients use it: over real sockets, from cold start to shutdown.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use slotkeeper_workloads::console::{Config, Console};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(config: Config) -> Running {
        let console = Console::bind(Config { listen: ([127, 0, 0, 1], 0).into(), ..config }).expect("a port");
        let address = console.address();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(console.run(async {
            let _ = stopped.await;
        }));
        let running = Running { address, stop, task };
        while running.get("/healthz").await.0 != 200 {}
        running
    }

    async fn ready(config: Config) -> Running {
        let running = Running::start(config).await;
        while running.get("/readyz").await.0 != 200 {
            sleep(Duration::from_millis(5)).await;
        }
        running
    }

    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        timeout(Duration::from_secs(3), self.task).await.expect("in time").expect("no panic");
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask(path, "").await
    }

    /// Returns the status and the whole answer with its headers.
    async fn ask(&self, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}\r\n", self.address);
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        (answer[9..12].parse().expect("a status"), answer)
    }

    async fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect(name).to_owned();
        line.rsplit(' ').next().expect("a value").parse().expect("a number")
    }

    async fn play(&self, session: Option<&str>) -> Result<Player, Error> {
        let mut request = format!("ws://{}/some/path/play", self.address).into_client_request()?;
        if let Some(session) = session {
            request.headers_mut().insert("x-session-id", session.parse().expect("a header"));
        }
        Ok(Player { socket: connect_async(request).await?.0 })
    }

    async fn refused(&self, session: Option<&str>) -> (u16, String) {
        let Some(Error::Http(response)) = self.play(session).await.err() else {
            panic!("not refused by an answer");
        };
        let body = response.body().as_deref().unwrap_or_default();
        (response.status().as_u16(), String::from_utf8_lossy(body).into())
    }
}

struct Player {
    socket: Socket,
}

impl Player {
    async fn next(&mut self) -> Message {
        timeout(Duration::from_secs(5), self.socket.next()).await.expect("in time").expect("open").expect("a message")
    }

    async fn say(&mut self, command: Value) {
        self.socket.send(Message::text(command.to_string())).await.expect("sent");
    }

    async fn state_that(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Message::Text(text) = self.next().await {
                let state: Value = serde_json::from_str(&text).expect("JSON");
                if fits(&state) {
                    return state;
                }
            }
        }
    }

    async fn frame(&mut self) -> Vec<u8> {
        loop {
            if let Message::Binary(frame) = self.next().await {
                return frame.into();
            }
        }
    }

    async fn closed(&mut self) -> Option<(CloseCode, String)> {
        loop {
            match timeout(Duration::from_secs(5), self.socket.next()).await.expect("in time") {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| (frame.code, frame.reason.to_string())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

fn on(folder: &Path) -> Config {
    Config { name: "console-3".into(), data: Some(folder.join("data")), ..Config::default() }
}

#[tokio::test]
async fn a_cold_start_takes_its_time() {
    let started = Instant::now();
    let config = Config { cold_start: Duration::from_millis(400), ..Config::default() };
    let console = Running::start(config).await;
    assert_eq!(console.get("/readyz").await.0, 503);
    assert_eq!(console.get("/").await.0, 503);
    assert_eq!(console.get("/healthz").await.0, 200);
    assert_eq!(console.refused(Some("ana")).await.0, 503);
    assert_eq!(console.metric("console_ready").await, 0);
    while console.get("/readyz").await.0 != 200 {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert_eq!(console.get("/").await.0, 200);
    assert_eq!(console.metric("console_ready").await, 1);
    console.stop().await;
}

#[tokio::test]
async fn the_page_and_its_parts_are_served_below_any_path() {
    let console = Running::ready(Config { name: "<console>".into(), ..Config::default() }).await;
    for (path, kind) in [("/", "text/html"), ("/pod/style.css", "text/css"), ("/a/b/console.js", "text/javascript")] {
        let (status, answer) = console.get(path).await;
        assert_eq!(status, 200, "{path}");
        assert!(answer.contains(&format!("content-type: {kind}")), "{path}");
        assert!(answer.contains("content-security-policy: default-src 'none'"), "{path}");
    }
    for part in ["screen.js", "input.js", "connection.js", "client.js", "icon.svg"] {
        assert_eq!(console.get(&format!("/{part}")).await.0, 200, "{part}");
    }
    let alone = console.get("/").await.1;
    assert!(alone.contains("data-dispatcher=\"\"") && alone.contains("&lt;console&gt;"));
    assert!(
        console
            .ask("/", "x-slotkeeper-path: /a/.slotkeeper/\r\n")
            .await
            .1
            .contains("data-dispatcher=\"/a/.slotkeeper/\"")
    );
    assert_eq!(console.get("/nothing").await.0, 404);
    assert_eq!(console.get("/play").await.0, 426);
    console.stop().await;
}

#[tokio::test]
async fn a_player_sees_frames_and_presses_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let console = Running::ready(on(folder.path())).await;
    let mut ana = console.play(Some("ana")).await.expect("a seat");
    let state = ana.state_that(|_| true).await;
    assert_eq!((state["type"].as_str(), state["pod"].as_str()), (Some("state"), Some("console-3")));
    assert_eq!((state["playing"].is_null(), state["games"].as_array().map(Vec::len)), (true, Some(3)));
    let title = ana.frame().await;
    assert_eq!((title[0], title[1] & 1, title.len()), (1, 0, 6 + 256));

    ana.say(json!({"type": "choose", "game": "bricks"})).await;
    ana.state_that(|state| state["playing"] == "bricks").await;
    let mut before = ana.frame().await;
    while before.len() != 6 + 1024 || before[6..].iter().all(|byte| *byte == 0) {
        before = ana.frame().await;
    }
    ana.say(json!({"type": "key", "key": 7, "down": true})).await;
    let paddle = |frame: &[u8]| frame[6 + 61 * 16..6 + 62 * 16].iter().take_while(|byte| **byte == 0).count();
    let mut after = ana.frame().await;
    while paddle(&after) > 2 {
        after = ana.frame().await;
    }
    ana.say(json!({"type": "key", "key": 7, "down": false})).await;
    // A tap counts even if it is over at once: the ball is served.
    let ball = |frame: &[u8]| frame[6 + 58 * 16..6 + 60 * 16].iter().any(|byte| *byte != 0);
    assert!(ball(&after));
    ana.say(json!({"type": "key", "key": 6, "down": true})).await;
    ana.say(json!({"type": "key", "key": 6, "down": false})).await;
    while ball(&ana.frame().await) {}
    // Nothing moves now; frames still arrive once a second.
    ana.say(json!({"type": "pause", "on": true})).await;
    ana.state_that(|state| state["paused"] == true).await;
    let numbers = |frame: &[u8]| u32::from_be_bytes([frame[2], frame[3], frame[4], frame[5]]);
    let (first, since) = (ana.frame().await, Instant::now());
    let second = loop {
        let next = ana.frame().await;
        if next[6..] == first[6..] && since.elapsed() > Duration::from_millis(500) {
            break next;
        }
    };
    assert!(numbers(&second) > numbers(&first));
    assert!(since.elapsed() < Duration::from_millis(2500));

    assert!(console.metric("console_frames_sent_total").await > 2);
    assert!(console.metric("console_instructions_total").await > 100);
    assert_eq!(console.metric("console_inputs_total").await, 6);
    console.stop().await;
}

#[tokio::test]
async fn a_second_player_is_refused_and_a_second_tab_is_not() {
    let console = Running::ready(Config { name: "console-3".into(), ..Config::default() }).await;
    let mut ana = console.play(Some("ana")).await.expect("a seat");
    ana.say(json!({"type": "choose", "game": "snake"})).await;
    ana.state_that(|state| state["playing"] == "snake").await;

    let (status, body) = console.refused(Some("ben")).await;
    assert_eq!(status, 409);
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((body["error"].as_str(), body["pod"].as_str()), (Some("taken"), Some("console-3")));
    assert_eq!(console.refused(None).await.0, 409);
    assert_eq!(console.ask("/play", "x-session-id: ben\r\n").await.0, 409);
    assert_eq!(console.ask("/play", "x-session-id: ana\r\n").await.0, 426);

    let mut tab = console.play(Some("ana")).await.expect("a second tab");
    tab.state_that(|state| state["playing"] == "snake" && state["sockets"] == 2).await;
    assert_eq!(console.metric("console_refused_players_total").await, 2);
    assert_eq!(console.metric("console_sockets").await, 2);
    assert_eq!(console.metric("console_sessions_total").await, 1);

    // After one tab has closed, the seat is still hers. After both, she finds her game, and Ben the menu.
    drop(tab);
    ana.state_that(|state| state["sockets"] == 1).await;
    assert_eq!(console.refused(Some("ben")).await.0, 409);
    drop(ana);
    while console.metric("console_sockets").await > 0 {}
    let mut again = console.play(Some("ana")).await.expect("her seat");
    again.state_that(|state| state["playing"] == "snake").await;
    drop(again);
    while console.metric("console_sockets").await > 0 {}
    let mut ben = console.play(Some("ben")).await.expect("a free seat");
    assert!(ben.state_that(|_| true).await["playing"].is_null());
    assert_eq!(ben.frame().await.len(), 6 + 256);
    console.stop().await;
}

#[tokio::test]
async fn every_socket_without_a_session_is_another_player() {
    let console = Running::ready(Config::default()).await;
    let mut one = console.play(None).await.expect("a seat");
    assert_eq!(console.refused(None).await.0, 409);
    one.socket.close(None).await.expect("closed");
    while console.metric("console_players").await > 0 {}
    console.play(None).await.expect("a free seat");
    assert_eq!(console.metric("console_sessions_total").await, 2);
    console.stop().await;
}

#[tokio::test]
async fn pages_of_other_sites_may_not_play() {
    let console = Running::ready(Config::default()).await;
    let handshake = |origin: &str| {
        format!(
            "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\norigin: {origin}\r\n"
        )
    };
    assert_eq!(console.ask("/play", &handshake("http://elsewhere.example")).await.0, 403);
    assert_eq!(console.ask("/play", "x-session-id: \r\n").await.0, 400);
    console.stop().await;
}

#[tokio::test]
async fn saves_survive_a_restart_and_damaged_ones_are_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let console = Running::ready(on(folder.path())).await;
    let mut ana = console.play(Some("ana")).await.expect("a seat");
    ana.say(json!({"type": "save", "slot": 2})).await;
    ana.state_that(|state| state["notice"]["text"] == "Pick a game first.").await;
    ana.say(json!({"type": "choose", "game": "bricks"})).await;
    ana.say(json!({"type": "key", "key": 9, "down": true})).await;
    sleep(Duration::from_millis(300)).await;
    ana.say(json!({"type": "pause", "on": true})).await;
    ana.say(json!({"type": "save", "slot": 2})).await;
    let state = ana.state_that(|state| state["notice"]["text"] == "Saved in slot 2.").await;
    assert_eq!(state["saves"][0]["slot"], 2);
    let mut saved = ana.frame().await;
    while let Ok(frame) = timeout(Duration::from_millis(300), ana.frame()).await {
        saved = frame;
    }
    console.stop().await;

    let console = Running::ready(on(folder.path())).await;
    let mut ana = console.play(Some("ana")).await.expect("a seat");
    ana.say(json!({"type": "choose", "game": "bricks"})).await;
    let state = ana.state_that(|state| state["playing"] == "bricks").await;
    assert_eq!(state["saves"].as_array().map(Vec::len), Some(1));
    ana.say(json!({"type": "pause", "on": true})).await;
    ana.say(json!({"type": "load", "slot": 2})).await;
    ana.state_that(|state| state["notice"]["text"] == "Loaded slot 2.").await;
    while ana.frame().await[6..] != saved[6..] {}

    let file = folder.path().join("data/saves/bricks/2.json");
    let text = std::fs::read_to_string(&file).expect("a save");
    let says =
        |state: &Value, words: &str| state["notice"]["text"].as_str().is_some_and(|text| text.starts_with(words));
    for (contents, words) in [
        (text[..text.len() / 2].to_owned(), "The save in slot 2 is damaged: "),
        (
            text.replace("\"stack\":", "\"stack\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],\"_\":"),
            "The save in slot 2 is damaged: ",
        ),
        (text.replace("\"format\":1", "\"format\":9"), "The save in slot 2 has format 9"),
        (text.replace("\"rom\":\"", "\"rom\":\"0"), "The save in slot 2 belongs to another version"),
    ] {
        std::fs::write(&file, contents).expect("written");
        ana.say(json!({"type": "load", "slot": 2})).await;
        ana.state_that(|state| says(state, words) && state["notice"]["bad"] == true).await;
    }
    ana.say(json!({"type": "load", "slot": 3})).await;
    ana.state_that(|state| says(state, "Slot 3 is empty.")).await;
    ana.say(json!({"type": "save", "slot": 9})).await;
    ana.state_that(|state| says(state, "There is no save slot 9.")).await;
    assert_eq!(console.metric("console_save_errors_total").await, 6);
    console.stop().await;
}

#[tokio::test]
async fn without_a_data_folder_saving_is_off() {
    let console = Running::ready(Config::default()).await;
    let mut ana = console.play(Some("ana")).await.expect("a seat");
    ana.say(json!({"type": "choose", "game": "snake"})).await;
    ana.say(json!({"type": "save", "slot": 1})).await;
    let state = ana.state_that(|state| !state["notice"].is_null()).await;
    assert_eq!(state["saving"], false);
    assert_eq!(state["notice"]["text"], "Saving is off: this console has no data folder.");
    console.stop().await;
}

#[tokio::test]
async fn a_games_folder_may_contain_invalid_files() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("good.ch8"), [0x12, 0x00]).expect("a file");
    std::fs::write(folder.path().join("crash.ch8"), [0xFF, 0xFF]).expect("a file");
    std::fs::write(folder.path().join("huge.ch8"), vec![0; 1 << 20]).expect("a file");
    let console = Running::ready(Config { games: Some(folder.path().into()), ..Config::default() }).await;
    let mut ana = console.play(Some("ana")).await.expect("a seat");
    let state = ana.state_that(|_| true).await;
    let titles: Vec<_> = state["games"].as_array().expect("games").iter().map(|game| game["title"].as_str()).collect();
    assert_eq!(titles, [Some("crash"), Some("good"), Some("huge.ch8")]);
    assert_eq!(state["games"][2]["unusable"], "too large: 1048576 bytes, the limit is 3584");
    ana.say(json!({"type": "choose", "game": "huge"})).await;
    ana.state_that(|state| state["notice"]["text"] == "There is no such game.").await;
    ana.say(json!({"type": "choose", "game": "crash"})).await;
    ana.state_that(|state| state["halted"] == "invalid instruction 0xffff at 0x200").await;
    // A ROM that was added meanwhile is in the menu.
    std::fs::write(folder.path().join("late.sc8"), [0x12, 0x00]).expect("a file");
    ana.say(json!({"type": "menu"})).await;
    ana.state_that(|state| state["games"].as_array().is_some_and(|games| games.len() == 4)).await;
    console.stop().await;
}

#[tokio::test]
async fn bad_messages_are_counted_and_large_ones_close() {
    let console = Running::ready(Config::default()).await;
    let mut ana = console.play(Some("ana")).await.expect("a seat");
    for nonsense in ["", "{", "[]", "{\"type\":\"fly\"}", "{\"type\":\"key\",\"key\":999,\"down\":true}"] {
        ana.socket.send(Message::text(nonsense)).await.expect("sent");
    }
    ana.socket.send(Message::binary(vec![1, 2, 3])).await.expect("sent");
    // Out of range, but harmless.
    ana.say(json!({"type": "key", "key": 200, "down": true})).await;
    ana.say(json!({"type": "speed", "percent": 65535})).await;
    assert_eq!(ana.state_that(|state| state["speed_percent"] != 100).await["speed_percent"], 400);
    assert_eq!(console.metric("console_bad_messages_total").await, 6);
    ana.socket.send(Message::text("x".repeat(5000))).await.expect("sent");
    assert_eq!(ana.closed().await, Some((CloseCode::Policy, "message too large".into())));
    console.stop().await;
}

#[tokio::test]
async fn a_stopping_console_closes_its_sockets_with_a_reason() {
    let console = Running::ready(Config::default()).await;
    let mut ana = console.play(Some("ana")).await.expect("a seat");
    ana.frame().await;
    let address = console.address;
    let stopping = Instant::now();
    let (said, ()) = tokio::join!(ana.closed(), console.stop());
    assert_eq!(said, Some((CloseCode::Away, "the console is stopping".into())));
    assert!(stopping.elapsed() < Duration::from_secs(2));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_slow_reader_misses_frames_and_nothing_piles_up() {
    let folder = tempfile::tempdir().expect("a folder");
    // The large screen, and every frame is different.
    let rom = [0x00, 0xFF, 0x60, 0x00, 0x70, 0x01, 0xF0, 0x29, 0xD0, 0x05, 0x12, 0x04];
    std::fs::write(folder.path().join("busy.sc8"), rom).expect("a file");
    let console = Running::ready(Config { games: Some(folder.path().into()), ..Config::default() }).await;
    // A client with a small window that selects the game and then stops reading.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = socket.connect(console.address).await.expect("a connection");
    let mut request = format!("ws://{}/play", console.address).into_client_request().expect("a request");
    request.headers_mut().insert("x-session-id", "ana".parse().expect("a header"));
    let (mut slow, _) = tokio_tungstenite::client_async(request, stream).await.expect("a seat");
    let choose = Message::Text(Utf8Bytes::from_static("{\"type\":\"choose\",\"game\":\"busy\"}"));
    slow.send(choose).await.expect("sent");
    sleep(Duration::from_millis(300)).await;

    // Meanwhile, another tab of the same session is served.
    let mut quick = console.play(Some("ana")).await.expect("a second tab");
    let mut last = 0;
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(4) {
        let frame = quick.frame().await;
        last = u32::from_be_bytes([frame[2], frame[3], frame[4], frame[5]]);
    }
    drop(quick);

    // The slow client now gets some old frames that were in transit, then the latest.
    let mut numbers = Vec::new();
    while numbers.last().is_none_or(|number| *number < last) {
        match timeout(Duration::from_secs(2), slow.next()).await.expect("in time").expect("open").expect("a message") {
            Message::Binary(frame) => numbers.push(u32::from_be_bytes([frame[2], frame[3], frame[4], frame[5]])),
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }
    let largest_gap = numbers.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
    assert!(largest_gap > 50, "{} of {last} frames were kept, in one row at most", numbers.len());
    assert!(numbers.len() < 150, "{} frames waited", numbers.len());
    assert!(console.metric("console_frames_skipped_total").await > 50);
    console.stop().await;
}
