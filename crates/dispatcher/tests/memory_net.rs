//! A network in memory. Without sockets of the operating system, a test can pause time.

use slotkeeper::io::{BoxFuture, Listener, Net, Socket};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// The address that every connection comes from (RFC 5737).
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);

/// The listeners of this network, by address.
#[derive(Clone, Default)]
pub(crate) struct MemoryNet(Arc<Mutex<BTreeMap<SocketAddr, mpsc::UnboundedSender<Socket>>>>);

struct MemoryListener {
    address: SocketAddr,
    arriving: mpsc::UnboundedReceiver<Socket>,
}

impl MemoryNet {
    /// Ends the listener at this address, as the death of its process would: connections are refused from now on.
    pub(crate) fn close(&self, address: SocketAddr) {
        self.0.lock().unwrap().remove(&address);
    }
}

impl Net for MemoryNet {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let (sender, arriving) = mpsc::unbounded_channel();
        self.0.lock().unwrap().insert(address, sender);
        Box::pin(async move { Ok(Box::new(MemoryListener { address, arriving }) as Box<dyn Listener>) })
    }

    fn dial(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Socket>> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let arrived = self.0.lock().unwrap().get(&to).map(|listener| listener.send(Socket::Other(Box::new(far))));
        Box::pin(async move {
            arrived.ok_or_else(refused)?.map_err(|_| refused())?;
            Ok(Socket::Other(Box::new(near)))
        })
    }

    /// Only addresses resolve: there are no names.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async { Ok(name.parse().into_iter().collect()) })
    }
}

impl Listener for MemoryListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Socket, SocketAddr)>> {
        Box::pin(async {
            let stream = self.arriving.recv().await.ok_or(io::ErrorKind::NotConnected)?;
            Ok((stream, CLIENT))
        })
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}
