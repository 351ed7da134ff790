//! A dispatcher with TLS on a network in memory (so that time can be paused), one pod whose answers contain the request, and
//! clients.

use crate::memory_dispatcher::{ADMIN, MemoryDispatcher};
use crate::memory_net::MemoryNet;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use slotkeeper::config::parse;
use slotkeeper::io::{Listener, Net, Socket};
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tokio_rustls::{TlsConnector, rustls};

const POD: &str = "10.0.0.9:80";

/// Answers every request with its head as the body; after an upgrade, it sends back what it receives.
async fn pod(mut listener: Box<dyn Listener>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            while let Some(head) = head(&mut stream).await {
                if head.contains("upgrade: echo") {
                    let switch = "HTTP/1.1 101 Switching\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n";
                    stream.write_all(switch.as_bytes()).await.unwrap();
                    let (mut read, mut write) = tokio::io::split(stream);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                    return;
                }
                let own = "strict-transport-security: max-age=1";
                let answer = format!("HTTP/1.1 200 OK\r\n{own}\r\ncontent-length: {}\r\n\r\n{head}", head.len());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// A head up to its empty line, in lower case.
async fn head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut head = String::new();
    loop {
        match stream.read_line(&mut head).await {
            Ok(0) | Err(_) => return None,
            Ok(_) if head.ends_with("\r\n\r\n") => return Some(head.to_ascii_lowercase()),
            Ok(_) => {}
        }
    }
}

pub(super) struct Rig {
    pub(super) folder: TempDir,
    dispatcher: MemoryDispatcher,
}

impl Deref for Rig {
    type Target = MemoryDispatcher;

    fn deref(&self) -> &MemoryDispatcher {
        &self.dispatcher
    }
}

pub(super) const TLS: &str = "10.0.0.1:443";
pub(super) const REDIRECT: &str = "10.0.0.1:80";

/// A configuration with one pool and one certificate, whose files are `tls.crt` and `tls.key`.
pub(super) fn file(tls: &str, more: &str) -> String {
    format!(
        "[tls]\nlisten = '{TLS}'\nredirect_listen = '{REDIRECT}'\n{tls}\n\
         [[tls.certificates]]\ncert_file = 'tls.crt'\nkey_file = 'tls.key'\n\
         {more}\n[admin]\nlisten = '{ADMIN}'\n[journal]\nat = 'memory'\n\
         [pools.a]\nadmission = 'immediate'\nslots_per_pod = 9\n[pools.a.fixed]\npods = ['{POD}']\n"
    )
}

/// A new certificate for these names, and its key, in these files of the folder.
pub(crate) fn issue(folder: &Path, name: &str, hosts: &[&str]) -> CertificateDer<'static> {
    issue_until(folder, name, hosts, 2100)
}

pub(crate) fn issue_until(folder: &Path, name: &str, hosts: &[&str], year: i32) -> CertificateDer<'static> {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(year, 1, 1));
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

impl Rig {
    pub(super) async fn start(folder: TempDir, text: &str) -> Rig {
        let config = parse(text, "file", folder.path()).unwrap_or_else(|error| panic!("{error}"));
        let memory = MemoryNet::default();
        tokio::spawn(pod(memory.listen(POD.parse().unwrap()).await.unwrap()));
        Rig { folder, dispatcher: MemoryDispatcher::start(config, &memory).await }
    }

    pub(super) fn stop(&mut self) {
        self.dispatcher.stop();
    }

    pub(super) async fn ended(self) {
        self.dispatcher.ended().await;
    }

    /// Waits until a counter has this value. (A client's handshake may end before the dispatcher's.)
    pub(super) async fn counts(&self, series: &str, expected: f64) {
        let mut value = self.metric(series).await;
        for _ in 0..1000 {
            if value.is_some_and(|value| value >= expected) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            value = self.metric(series).await;
        }
        assert_eq!(value, Some(expected), "{series}");
    }

    pub(super) async fn handshakes(&self, result: &str, expected: f64) {
        let series = format!("slotkeeper_tls_handshakes_total{{listener=\"visitors\",result=\"{result}\"}}");
        self.counts(&series, expected).await;
    }

    /// Applies another file, as SIGHUP does.
    pub(super) fn reload(&self, text: &str) {
        self.dispatcher.reload(parse(text, "file", self.folder.path()));
    }

    /// As [`Rig::connect`], on a connection that is open already.
    pub(super) async fn shake(&self, client: &Client, host: &str, socket: Socket) -> io::Result<TlsStream<Socket>> {
        client.0.connect(ServerName::try_from(host.to_owned()).unwrap(), socket).await
    }

    /// Performs a handshake in which the client asks for this host.
    pub(super) async fn connect(&self, client: &Client, host: &str) -> io::Result<TlsStream<Socket>> {
        client.0.connect(ServerName::try_from(host.to_owned()).unwrap(), self.dial(TLS).await).await
    }
}

pub(super) struct Client(TlsConnector);

/// A client's certificate and its key.
pub(super) type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Client {
    pub(super) fn trusting(roots: &[&CertificateDer<'static>]) -> Client {
        Client::new(roots, &[&version::TLS13, &version::TLS12], &["http/1.1"])
    }

    pub(super) fn new(
        trusted: &[&CertificateDer<'static>],
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Client {
        Client::identified(trusted, versions, protocols, None)
    }

    /// A client that has a certificate.
    pub(super) fn identified(
        trusted: &[&CertificateDer<'static>],
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
        identity: Option<&Identity>,
    ) -> Client {
        let mut roots = RootCertStore::empty();
        for root in trusted {
            roots.add((*root).clone()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        let mut config = match identity {
            Some((certificate, key)) => {
                config.with_client_auth_cert(vec![certificate.clone()], key.clone_key()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Client(TlsConnector::from(Arc::new(config)))
    }
}

/// The alert with which the other side ended a handshake.
pub(super) fn alert(error: &io::Error) -> Option<rustls::AlertDescription> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    if let rustls::Error::AlertReceived(alert) = error { Some(*alert) } else { None }
}

/// Sends a request, and returns the head of the response and its body.
pub(super) async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> (String, String) {
    try_exchange(stream, request).await.unwrap()
}

pub(super) async fn try_exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &str,
) -> io::Result<(String, String)> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((head, String::from_utf8(body).unwrap()))
}
