//! Where visitors connect: PROXY protocol, Unix sockets, sockets of the service manager, and a process that takes over.

use crate::http::SHARED;
use rustix::process::Signal;
use slotkeeper_tests::dispatcher::binary;
use slotkeeper_tests::{Dispatcher, Pod, Setup, Visitor, Wire, eventually, patiently};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]\n";

/// Writes the configuration with other listeners than the usual one.
fn file(folder: &TempDir, setup: &Setup, listen: &str) -> PathBuf {
    let text = setup.text().replace("listen = \"127.0.0.1:0\"", listen);
    let file = folder.path().join("slotkeeper.toml");
    std::fs::write(&file, text).unwrap();
    file
}

async fn listening(setup: Setup, listen: &str) -> Dispatcher {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder, &setup, listen);
    Dispatcher::serve(folder, &file, &[]).await
}

/// Sends bytes and a request after them. Returns whether there was an answer.
async fn asks(at: SocketAddr, before: &[u8]) -> bool {
    let mut wire = Wire::to(at).await;
    wire.send([before, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"].concat()).await;
    wire.head().await.is_some_and(|head| head.status() == 200)
}

async fn metric(dispatcher: &Dispatcher, series: &str) -> Option<u64> {
    let text = Visitor::at(dispatcher.admin).get("/metrics").await.text();
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[tokio::test]
async fn the_source_of_a_proxy_header_is_the_visitors_address() {
    let pod = Pod::named("x").await;
    let setup = Setup::fixed(&[&pod], SHARED).top(TRUSTED);
    let dispatcher = listening(setup, "listen = \"127.0.0.1:0 proxy\"").await;
    let v2 =
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24"[..], &[0x20, 1, 0xd, 0xb8], &[0; 11], &[7], &[0; 16], &[1, 2, 3, 4]];
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    for (header, address) in [
        (&b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n"[..], "192.0.2.7"),
        (&v2.concat(), "2001:db8::7"),
        (local, "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "unknown"),
    ] {
        assert!(asks(dispatcher.visitors, header).await, "{address}");
        assert_eq!(pod.seen.last().head.get("x-forwarded-for"), Some(address));
    }
    // The client is no trusted proxy, although the load balancer is one.
    let lie = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\nGET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n";
    let mut wire = Wire::to(dispatcher.visitors).await;
    wire.send(lie).await;
    assert_eq!(wire.head().await.unwrap().status(), 200);
    assert_eq!(pod.seen.last().head.get("x-forwarded-for"), Some("192.0.2.7"));
    for refused in [&b""[..], b"PROXY TCP4 192.0.2.7\r\n", b"PROXY TCP9 1.1.1.1 2.2.2.2 1 2\r\n"] {
        assert!(!asks(dispatcher.visitors, refused).await, "{refused:?}");
    }
    for (outcome, count) in [("addresses", 3), ("local", 1), ("unknown", 1), ("malformed", 3), ("untrusted", 0)] {
        let series = format!("slotkeeper_proxy_headers_total{{outcome=\"{outcome}\"}} ");
        assert_eq!(metric(&dispatcher, &series).await, Some(count), "{outcome}");
    }
}

#[tokio::test]
async fn a_peer_that_is_no_trusted_proxy_may_not_send_a_proxy_header() {
    let pod = Pod::named("x").await;
    let setup = Setup::fixed(&[&pod], SHARED).top("trusted_proxies = [\"10.0.0.0/8\"]");
    let dispatcher = listening(setup, "listen = \"127.0.0.1:0 proxy\"").await;
    assert!(!asks(dispatcher.visitors, b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n").await);
    assert_eq!(pod.seen.count(), 0);
    let series = "slotkeeper_proxy_headers_total{outcome=\"untrusted\"} ";
    assert_eq!(metric(&dispatcher, series).await, Some(1));
    let what = "the peer is not in trusted_proxies";
    eventually("a line in the log", async || dispatcher.log().contains(what)).await;
}

/// A pod that expects a PROXY header of version 1, and answers with it.
async fn expecting() -> Pod {
    Pod::start(|mut wire, seen| async move {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            match wire.bytes(1).await.as_slice() {
                [byte] => line.push(*byte),
                _ => return,
            }
        }
        let line = String::from_utf8(line).unwrap();
        while let Some(head) = wire.head().await {
            let request = slotkeeper_tests::pod::read(&mut wire, head, 0).await;
            seen.note(request);
            wire.send(slotkeeper_tests::pod::ok(&line)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_pod_gets_the_address_of_each_client_on_a_connection_of_its_own() {
    let pod = expecting().await;
    let settings =
        format!("{SHARED}\n[pools.pool.connections]\nproxy_protocol = \"v1\"\nshare = true\nidle_seconds = 600");
    let mut setup = Setup::fixed(&[&pod], &settings).top(TRUSTED);
    // The health probe is a request, so it also needs the header.
    setup.pools.push_str("kind = \"http\"\npath = \"/\"\n");
    let dispatcher = listening(setup, "listen = \"127.0.0.1:0\"").await;
    let mut ana = Visitor::of(&dispatcher);
    let mut ask =
        async |address: &str| ana.request("GET", "/", &format!("X-Forwarded-For: {address}\r\n"), b"").await.text();
    for address in ["192.0.2.7", "198.51.100.9", "192.0.2.7", "2001:db8::1"] {
        let line = ask(address).await;
        let words: Vec<&str> = line.split_whitespace().collect();
        let family = if address.contains(':') { "TCP6" } else { "TCP4" };
        assert_eq!((words[0], words[1], words[2], words[4]), ("PROXY", family, address, "0"), "{line}");
    }
    assert!(pod.seen.all().iter().any(|request| request.head.get("user-agent") == Some("slotkeeper-probe")));
}

#[tokio::test]
async fn a_unix_socket_serves_visitors_until_the_dispatcher_ends() {
    let pod = Pod::named("x").await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("http.sock");
    let setup = Setup::fixed(&[&pod], SHARED).top(TRUSTED);
    let listen = format!("listen = [\"127.0.0.1:0\", \"unix:{} mode=0600\"]", socket.display());
    let file = file(&folder, &setup, &listen);
    let mut dispatcher = Dispatcher::serve(folder, &file, &[]).await;
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    patiently("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    // The process at the other end counts as 127.0.0.1, a trusted proxy here.
    assert_eq!(pod.seen.last().head.get("x-forwarded-for"), Some("192.0.2.7, 127.0.0.1"));
    assert!(dispatcher.stop().await.success());
    assert!(!socket.exists());
}

/// `slotkeeper serve` with its standard input as a socket that the service manager has opened.
fn activated(file: &Path, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new("sh");
    let script = "LISTEN_PID=$$; export LISTEN_PID; exec \"$0\" serve --config \"$1\" 3<&0 </dev/null";
    command.args(["-c", script]).arg(binary("slotkeeper")).arg(file);
    command.env("LISTEN_FDS", "1").envs(environment.iter().copied());
    command.env("XDG_STATE_HOME", file.parent().unwrap());
    command
}

#[tokio::test]
async fn the_service_manager_passes_sockets_and_gets_reports() {
    let pod = Pod::named("x").await;
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::fixed(&[&pod], SHARED);
    let file = file(&folder, &setup, "listen = \"systemd:http\"");
    let notify = folder.path().join("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_nonblocking(true).unwrap();
    let reports = || {
        let mut reports = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(n) = manager.recv(&mut buffer) {
            reports.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
        }
        reports
    };
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let notify = notify.to_str().unwrap();
    let environment = [("LISTEN_FDNAMES", "http"), ("NOTIFY_SOCKET", notify), ("WATCHDOG_USEC", "200000")];
    let command = activated(&file, &environment);
    let mut dispatcher =
        Dispatcher::run_with(folder, command, Stdio::from(OwnedFd::from(socket.try_clone().unwrap()))).await;
    assert_eq!(dispatcher.visitors, address);
    eventually("the pod", async || Visitor::of(&dispatcher).get("/").await.text() == "x").await;
    let mut seen = VecDeque::new();
    let mut until = async |wanted: &str| {
        eventually(wanted, async || {
            seen.extend(reports().iter().flat_map(|report| report.lines().map(str::to_owned).collect::<Vec<_>>()));
            let found = seen.iter().position(|line| line.starts_with(wanted));
            found.inspect(|at| drop(seen.drain(..=*at))).is_some()
        })
        .await;
    };
    until("READY=1").await;
    until("WATCHDOG=1").await;
    until("WATCHDOG=1").await;
    dispatcher.signal(Signal::HUP);
    for report in ["RELOADING=1", "MONOTONIC_USEC=", "READY=1"] {
        until(report).await;
    }
    assert!(dispatcher.stop().await.success());
    until("STOPPING=1").await;
    // The socket is still there: a client waits for the next process.
    let waiting = tokio::spawn(async move { Visitor::at(address).get("/").await.status() });
    let folder = tempfile::tempdir().unwrap();
    let file = crate::listeners::file(&folder, &setup, "listen = \"systemd:http\"");
    let command = activated(&file, &[("LISTEN_FDNAMES", "http")]);
    let _next = Dispatcher::run_with(folder, command, Stdio::from(OwnedFd::from(socket))).await;
    let status = waiting.await.unwrap();
    // The new process may not have probed its pod yet.
    assert!([200, 503].contains(&status), "{status}");
}

#[tokio::test]
async fn a_socket_that_was_not_passed_is_an_error_that_names_those_that_were() {
    let pod = Pod::named("x").await;
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder, &Setup::fixed(&[&pod], SHARED), "listen = \"systemd:https\"");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = activated(&file, &[("LISTEN_FDNAMES", "http")]);
    let output = command.stdin(Stdio::from(OwnedFd::from(socket))).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains(
            "cannot listen on systemd:https: the service manager has passed no socket of this name; passed: http"
        ),
        "{said}"
    );
}

/// The number of sockets that listen on this port of IPv4.
fn sockets_on(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_one = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next().unwrap_or_default(), words.nth(1));
        local.ends_with(&format!(":{port:04X}")) && state == Some("0A")
    };
    table.lines().filter(is_one).count()
}

/// Clients that send one request after the other, each on a new connection.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Result<(), String>>>,
}

impl Load {
    fn start(at: SocketAddr, clients: usize) -> Load {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = || {
            let (stop, answered) = (stop.clone(), answered.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = TcpStream::connect(at).await.map_err(|error| format!("connect: {error}"))?;
                    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
                    stream.write_all(request).await.map_err(|error| format!("write: {error}"))?;
                    let mut answer = String::new();
                    let read = patiently("the answer", stream.read_to_string(&mut answer)).await;
                    read.map_err(|error| format!("read: {error}"))?;
                    if !answer.starts_with("HTTP/1.1 200 ") {
                        return Err(format!("answer: {:?}", answer.lines().next()));
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        };
        let clients = (0..clients).map(|_| client()).collect();
        Load { stop, answered, clients }
    }

    async fn goes_on(&self, requests: usize) {
        let from = self.answered.load(Ordering::Relaxed);
        eventually("more answers", async || self.answered.load(Ordering::Relaxed) >= from + requests).await;
    }

    /// Ends the clients. Returns what went wrong.
    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut wrong = Vec::new();
        for client in self.clients {
            wrong.extend(client.await.unwrap().err());
        }
        wrong
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_takes_over_under_load_refuses_no_connection() {
    let pod = Pod::named("x").await;
    let state = tempfile::tempdir().unwrap();
    // A port that is free now.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let setup = Setup::fixed(&[&pod], SHARED).top("takeover_seconds = 60\ndrain_seconds = 1");
    let environment = [("XDG_STATE_HOME".to_owned(), state.path().display().to_string())];
    let start = async || {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder, &setup, &format!("listen = \"{address}\""));
        Dispatcher::serve(folder, &file, &environment).await
    };
    let mut former = start().await;
    let load = Load::start(address, 16);
    load.goes_on(100).await;
    for _ in 0..2 {
        // The journal is in a folder: the next process serves when the former one has ended.
        let (next, ended) = tokio::join!(start(), async {
            eventually("the next process to listen", async || sockets_on(address.port()) == 2).await;
            load.goes_on(100).await;
            former.stop().await
        });
        assert!(ended.success());
        let what = "waiting for the former process to end";
        eventually("a line in the log", async || next.log().contains(what)).await;
        former = next;
        load.goes_on(100).await;
    }
    assert_eq!(load.end().await, Vec::<String>::new());
    tokio::time::timeout(Duration::from_secs(60), former.stop()).await.unwrap();
}
