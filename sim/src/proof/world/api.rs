//! The API server's host: the test API server on the network, and its faults. The served data belongs to `kube` and
//! outlives the host.

use super::oracle::Oracle;
use super::overload::Overload;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use slotkeeper_apiserver::Server;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use turmoil::net::TcpListener;

pub const PORT: u16 = 6443;
/// Interval between random decisions while the server is faulty.
const WHIM: Duration = Duration::from_millis(100);

/// The API server as its faults see it.
#[derive(Clone)]
pub struct Api {
    pub server: Server,
    pub oracle: Oracle,
    pub dice: Arc<Mutex<ChaCha8Rng>>,
    /// Used by the overload only, so that its draws do not change the watches' faults.
    pub overload_dice: Arc<Mutex<ChaCha8Rng>>,
    /// Watches are slow, stutter, break, and cannot be resumed.
    pub shaky: Arc<AtomicBool>,
    pub overload: Overload,
}

impl Api {
    fn draw(&self, of: u64) -> u64 {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..of)
    }

    /// Runs the host.
    pub async fn serve(self) -> io::Result<()> {
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        tokio::spawn(self.clone().shake());
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(self.server.clone().serve(stream));
        }
    }

    async fn shake(self) {
        let mut was_shaky = false;
        loop {
            let shaky = self.shaky.load(Ordering::Relaxed);
            if shaky {
                let (delay, twice, pieces) = (self.draw(600), self.draw(3) == 0, self.draw(4) == 0);
                self.server.faults(|faults| {
                    faults.delay_events = Duration::from_millis(delay);
                    faults.duplicate_events = twice;
                    faults.split_lines = pieces.then_some(200);
                });
                if self.draw(20) == 0 {
                    self.oracle.count("watch broken");
                    self.server.break_watches();
                    if self.draw(3) == 0 {
                        self.oracle.count("history forgotten");
                        self.server.forget_history();
                    }
                }
            } else if was_shaky {
                self.server.faults(|faults| {
                    faults.delay_events = Duration::ZERO;
                    faults.duplicate_events = false;
                    faults.split_lines = None;
                });
            }
            was_shaky = shaky;
            self.overload.apply(&self.server, &mut |of| {
                self.overload_dice.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..of)
            });
            tokio::time::sleep(WHIM).await;
        }
    }
}
