//! The client of the API server: kube's (credentials, TLS, tokens that are renewed on disk) on our own `Net`, so that it
//! also runs in a simulation.

use crate::config::KubernetesAccess;
use crate::io::{BoxFuture, Net, Socket};
use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::util::MapErr;
use tower::{BoxError, Service};

/// The first word is also the field manager of writes that do not name one.
const USER_AGENT: &str = concat!("slotkeeper/", env!("CARGO_PKG_VERSION"));
/// The timeout of connecting to one address of the API server.
const DIAL: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(60);

/// Why there is no access to the Kubernetes API.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The kubeconfig in this file, or one of its contexts.
    #[error("the kubeconfig {0} cannot be used")]
    File(String, #[source] kube::config::KubeconfigError),
    /// Neither a service account nor a kubeconfig: both errors.
    #[error("this is not a pod with a service account ({0}), and there is no usable kubeconfig")]
    Nowhere(kube::config::InClusterError, #[source] kube::config::KubeconfigError),
    /// A file that they name, or a client certificate.
    #[error("the credentials cannot be used")]
    Credentials(#[source] kube::Error),
}

/// Reads credentials, and returns a client that connects when it is first used.
///
/// # Errors
/// When there are no credentials, or they cannot be read.
pub async fn connect(access: &KubernetesAccess, net: Arc<dyn Net>) -> Result<Client, AccessError> {
    let options = KubeConfigOptions { context: access.context.clone(), cluster: None, user: None };
    let config = match (&access.kubeconfig, &access.context) {
        (Some(path), _) => {
            let named = |e| AccessError::File(path.display().to_string(), e);
            let file = Kubeconfig::read_from(path).map_err(named)?;
            Config::from_custom_kubeconfig(file, &options).await.map_err(named)?
        }
        (None, Some(context)) => {
            let named = |e| AccessError::File(format!("with context {context}"), e);
            Config::from_kubeconfig(&options).await.map_err(named)?
        }
        (None, None) => match Config::incluster() {
            Ok(config) => config,
            Err(no_pod) => Config::from_kubeconfig(&options).await.map_err(|e| AccessError::Nowhere(no_pod, e))?,
        },
    };
    let server = config.cluster_url.host().unwrap_or_default();
    tracing::info!(server, namespace = config.default_namespace, "using the Kubernetes API");
    if config.proxy_url.is_some() {
        tracing::warn!("the kubeconfig's proxy (or HTTPS_PROXY) is not used: the API server is dialled directly");
    }
    client(config, net).map_err(AccessError::Credentials)
}

/// A client for this server and these credentials.
///
/// # Errors
/// When certificates or keys cannot be used.
pub fn client(mut config: Config, net: Arc<dyn Net>) -> Result<Client, kube::Error> {
    config.headers.push((http::header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
    let https = config.rustls_https_connector_with_connector(Dialer(net))?;
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build::<_, Body>(https);
    let http = MapErr::new(http, BoxError::from);
    let (base, extra) = (config.base_uri_layer(), config.extra_headers_layer()?);
    let namespace = config.default_namespace.clone();
    Ok(match config.auth_layer()? {
        Some(auth) => {
            ClientBuilder::new(http, namespace).with_layer(&auth).with_layer(&extra).with_layer(&base).build()
        }
        None => ClientBuilder::new(http, namespace).with_layer(&extra).with_layer(&base).build(),
    })
}

#[derive(Clone)]
struct Dialer(Arc<dyn Net>);

impl Service<Uri> for Dialer {
    type Response = ApiConnection;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<ApiConnection>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let net = self.0.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default();
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
            let mut failed = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
            for address in net.resolve(&format!("{host}:{port}")).await? {
                match tokio::time::timeout(DIAL, net.dial(address)).await {
                    Ok(Ok(stream)) => return Ok(ApiConnection(TokioIo::new(stream))),
                    Ok(Err(e)) => failed = e,
                    Err(late) => failed = late.into(),
                }
            }
            Err(failed)
        })
    }
}

/// A connection in the form that hyper's client requires.
struct ApiConnection(TokioIo<Socket>);

impl Connection for ApiConnection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for ApiConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for ApiConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
