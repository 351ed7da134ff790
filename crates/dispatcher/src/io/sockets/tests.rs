#![expect(clippy::disallowed_methods, reason = "these tests are clients of real sockets")]

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

fn at_path(path: &Path, mode: u32, reuse_port: bool) -> Endpoint {
    let socket = UnixSocket { path: path.to_owned(), mode, owner: None, group: None };
    Endpoint { at: At::Unix(socket), proxy: false, reuse_port, only_v6: false }
}

fn at(address: &str, reuse_port: bool) -> Endpoint {
    Endpoint { reuse_port, ..address.parse::<SocketAddr>().unwrap().into() }
}

fn one(endpoint: &Endpoint) -> io::Result<Box<dyn Listener>> {
    open(endpoint).map(|mut opened| opened.remove(0))
}

/// Accepts a connection of `dial`, and passes a byte each way.
async fn passes(
    listener: &mut Box<dyn Listener>,
    mut client: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
) {
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_u8(7).await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), 7);
    server.write_u8(8).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), 8);
}

#[tokio::test]
async fn a_unix_socket_has_its_mode_and_is_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let mut listener = one(&at_path(&path, 0o600, false)).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(listener.path(), Some(path.clone()));
    passes(&mut listener, UnixStream::connect(&path).await.unwrap()).await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary name is left");
    drop(listener);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_socket_is_replaced_only_if_nothing_listens_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    // A process that was killed leaves its socket.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut first = one(&at_path(&path, 0o660, false)).unwrap();
    passes(&mut first, UnixStream::connect(&path).await.unwrap()).await;
    let error = one(&at_path(&path, 0o660, false)).err().unwrap();
    assert_eq!(error.to_string(), "another process listens there");
    // The connection that found that out.
    drop(first.accept().await.unwrap());
    passes(&mut first, UnixStream::connect(&path).await.unwrap()).await;
    let file = folder.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    assert_eq!(one(&at_path(&file, 0o660, false)).err().unwrap().to_string(), "there is a file that is no socket");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "kept");
}

#[tokio::test]
async fn a_unix_socket_that_was_taken_over_stays_when_its_former_process_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let mut former = one(&at_path(&path, 0o660, true)).unwrap();
    assert_eq!(former.hand_over(), None, "no other process listens");
    let waiting = UnixStream::connect(&path).await.unwrap();
    let mut next = one(&at_path(&path, 0o660, true)).unwrap();
    assert_eq!(former.hand_over(), Some(HANDOVER));
    passes(&mut former, waiting).await;
    passes(&mut next, UnixStream::connect(&path).await.unwrap()).await;
    drop(former);
    passes(&mut next, UnixStream::connect(&path).await.unwrap()).await;
}

#[tokio::test]
async fn an_unknown_owner_is_an_error_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let socket = UnixSocket {
        path: folder.path().join("http.sock"),
        mode: 0o660,
        owner: Some("no-such-user".into()),
        group: None,
    };
    let endpoint = Endpoint { at: At::Unix(socket), ..at("127.0.0.1:0", false) };
    assert_eq!(one(&endpoint).err().unwrap().to_string(), "there is no user \"no-such-user\" in /etc/passwd");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_wildcard_of_ipv6_accepts_both_families_unless_it_is_only_for_ipv6() {
    let mut both = one(&at("[::]:0", false)).unwrap();
    let port = both.address().port();
    passes(&mut both, TcpStream::connect(("127.0.0.1", port)).await.unwrap()).await;
    passes(&mut both, TcpStream::connect(("::1", port)).await.unwrap()).await;
    let only = one(&Endpoint { only_v6: true, ..at("[::]:0", false) }).unwrap();
    assert!(TcpStream::connect(("127.0.0.1", only.address().port())).await.is_err());
    let v4 = at(&format!("0.0.0.0:{}", only.address().port()), false);
    assert!(one(&v4).is_ok(), "the port is free for IPv4");
}

#[tokio::test]
async fn connections_go_to_the_oldest_process_until_it_stops_and_then_to_the_next() {
    let mut former = one(&at("127.0.0.1:0", true)).unwrap();
    let address = former.address().to_string();
    assert!(one(&at(&address, false)).is_err(), "without the setting, the address is in use");
    let mut next = one(&at(&address, true)).unwrap();
    for _ in 0..20 {
        passes(&mut former, TcpStream::connect(&address).await.unwrap()).await;
    }
    assert_eq!(former.hand_over(), Some(HANDOVER));
    for _ in 0..20 {
        passes(&mut next, TcpStream::connect(&address).await.unwrap()).await;
    }
    drop(former);
    for _ in 0..20 {
        passes(&mut next, TcpStream::connect(&address).await.unwrap()).await;
    }
    // And once more, with the roles changed.
    let mut third = one(&at(&address, true)).unwrap();
    passes(&mut next, TcpStream::connect(&address).await.unwrap()).await;
    next.hand_over();
    passes(&mut third, TcpStream::connect(&address).await.unwrap()).await;
}
