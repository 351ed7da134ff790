//! Machines for one player each, which disconnect no player but record if a second one connects; and players who reconnect.

use futures_util::StreamExt;
use slotkeeper_tests::pod::{Socket, echo, ok, socket, switch};
use slotkeeper_tests::visitor::{HANDSHAKE, PAGE};
use slotkeeper_tests::{Pod, Visitor, eventually, patiently};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The observations of the machines.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Open sockets: machine, session, how many.
    open: BTreeMap<(usize, String), usize>,
    /// The machine of every session.
    been: BTreeMap<String, usize>,
    wrong: Vec<String>,
    away: Vec<Duration>,
    codes: Vec<u16>,
}

impl Ledger {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.0.lock().expect("no panic"))
    }

    fn sits_down(&self, machine: usize, session: &str) {
        self.with(|inner| {
            let others = inner.open.keys().filter(|(m, s)| *m == machine && s != session).count();
            if others > 0 {
                inner.wrong.push(format!("machine {machine}: {session} connects beside {others} others"));
            }
            let before = inner.been.insert(session.to_owned(), machine);
            if let Some(before) = before.filter(|before| *before != machine) {
                inner.wrong.push(format!("{session} was at machine {before}, and is at {machine} now"));
            }
            *inner.open.entry((machine, session.to_owned())).or_default() += 1;
        });
    }

    fn stands_up(&self, machine: usize, session: &str) {
        self.with(|inner| {
            let key = (machine, session.to_owned());
            let open = inner.open.get_mut(&key).expect("it was connected");
            *open -= 1;
            if *open == 0 {
                inner.open.remove(&key);
            }
        });
    }
}

pub(super) struct Arcade {
    machines: Vec<Pod>,
    ledger: Ledger,
}

impl Arcade {
    pub(super) async fn open(machines: usize) -> Arcade {
        let ledger = Ledger::default();
        let mut all = Vec::new();
        for machine in 0..machines {
            let ledger = ledger.clone();
            let pod = Pod::start(move |mut wire, _| {
                let ledger = ledger.clone();
                async move {
                    while let Some(head) = wire.head().await {
                        let session = head.get("x-session-id").unwrap_or_default().to_owned();
                        if head.get("upgrade").is_some() {
                            ledger.sits_down(machine, &session);
                            echo(switch(wire, &head, "").await).await;
                            return ledger.stands_up(machine, &session);
                        }
                        wire.send(ok(&format!("machine {machine}"))).await;
                    }
                }
            });
            all.push(pod.await);
        }
        Arcade { machines: all, ledger }
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.machines.iter().map(|m| m.address).collect()
    }

    /// Waits until all players are connected.
    pub(super) async fn is_full_again(&self, players: usize) {
        eventually("all players to be connected", async || self.ledger.with(|inner| inner.open.len() == players)).await;
    }

    /// Lets all players leave. Fails if two of them met, or if one was sent to another machine. Returns the close codes of the
    /// sockets.
    pub(super) async fn close(
        self,
        players: Vec<Player>,
        journal: &str,
        kills: usize,
        starts: &[Duration],
    ) -> Vec<u16> {
        let count = players.len();
        for player in players {
            player.leave().await;
        }
        let (wrong, been, mut away, codes) = self.ledger.with(|inner| {
            (inner.wrong.clone(), inner.been.len(), std::mem::take(&mut inner.away), inner.codes.clone())
        });
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(been, count, "every player has one session, from the beginning to the end");
        away.sort();
        let mut starts = starts.to_vec();
        starts.sort();
        let at = |all: &[Duration], percent: usize| {
            all.get((all.len() * percent / 100).min(all.len().saturating_sub(1))).copied()
        };
        #[expect(clippy::print_stdout, reason = "figures")]
        {
            println!(
                "{journal}: {kills} kills, {count} sessions, {} reconnects; away: median {:?}, 99 % {:?}, most {:?}; ready again: median {:?}, most {:?}",
                away.len(),
                at(&away, 50),
                at(&away, 99),
                away.last(),
                at(&starts, 50),
                starts.last()
            );
        }
        codes
    }
}

/// A player that reconnects through any dispatcher when the connection breaks.
pub(super) struct Player {
    leaves: Arc<AtomicBool>,
    life: JoinHandle<()>,
}

impl Player {
    /// Starts the players, and waits until all are connected.
    pub(super) async fn all(arcade: &Arcade, addresses: &[SocketAddr], count: usize) -> Vec<Player> {
        let addresses: Arc<[SocketAddr]> = addresses.into();
        let next = Arc::new(AtomicUsize::new(0));
        let players =
            (0..count).map(|_| Player::enter(arcade.ledger.clone(), addresses.clone(), next.clone())).collect();
        arcade.is_full_again(count).await;
        players
    }

    fn enter(ledger: Ledger, addresses: Arc<[SocketAddr]>, next: Arc<AtomicUsize>) -> Player {
        let leaves = Arc::new(AtomicBool::new(false));
        let gone = leaves.clone();
        let life = tokio::spawn(async move {
            let mut player = Visitor::at(addresses[0]);
            let mut away: Option<Instant> = None;
            while !gone.load(Ordering::Relaxed) {
                let address = addresses[next.fetch_add(1, Ordering::Relaxed) % addresses.len()];
                player = player.through(address);
                let Some(socket) = sit(&mut player).await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                if let Some(since) = away.take() {
                    ledger.with(|inner| inner.away.push(since.elapsed()));
                }
                let code = play(socket, &gone).await;
                away = Some(Instant::now());
                ledger.with(|inner| inner.codes.extend(code));
            }
        });
        Player { leaves, life }
    }

    async fn leave(self) {
        self.leaves.store(true, Ordering::Relaxed);
        patiently("a player to leave", self.life).await.expect("no panic");
    }
}

/// Connects to the player's machine; `None` if there is no slot yet, or if the dispatcher does not answer.
async fn sit(player: &mut Visitor) -> Option<Socket> {
    if player.jar.is_empty() {
        player.knock("/", PAGE).await?;
    }
    // As the waiting room does: joins the queue, and sends a heartbeat.
    player.knock("/.slotkeeper/status", "").await?;
    let (head, wire) = player.knock("/play", HANDSHAKE).await?;
    if head.status() == 101 { Some(socket(wire, Role::Client).await) } else { None }
}

/// Waits until the connection ends, and returns its close code.
async fn play(mut socket: Socket, gone: &AtomicBool) -> Option<u16> {
    loop {
        let heard = tokio::time::timeout(Duration::from_millis(50), socket.next()).await;
        match heard {
            Ok(Some(Ok(Message::Close(close)))) => return close.map(|c| u16::from(c.code)),
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_)) | None) => return None,
            Err(_) if gone.load(Ordering::Relaxed) => return None,
            Err(_) => {}
        }
    }
}
