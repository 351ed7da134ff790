//! The stage: the one task that owns the machine. Orders arrive through a bounded queue. Pictures and states leave through
//! `watch` channels, so that the latest one replaces older ones and a slow client costs nothing. Time stands still while no
//! socket is connected.

mod disk;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::chip8::Machine;
use super::games::{self, Game, Shelf};
use super::metrics::Metrics;
use super::protocol::{Command, Frame, Listed, Notice, Save, State};
use super::saves::{SLOTS, Saves};
use super::settings::Config;

const FRAMES_PER_SECOND: u64 = 60;
/// The longest interval between frames while the picture does not change.
const STILL: Duration = Duration::from_millis(900);

/// The shortest time for which a key counts as pressed, in frames.
const TAP_FRAMES: u8 = 3;

/// Messages of sockets to the stage.
pub(crate) enum Order {
    /// A socket has connected. If its session is new, the machine returns to the menu; then `done` is sent.
    Arrive {
        socket: u64,
        is_new: bool,
        done: oneshot::Sender<()>,
    },
    Command {
        socket: u64,
        command: Command,
    },
    Leave {
        socket: u64,
    },
}

/// The stage's channel ends for sockets.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) frames: watch::Receiver<Frame>,
    pub(crate) states: watch::Receiver<Utf8Bytes>,
}

struct Player {
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    saves: Saves,
    shelf: Shelf,
    title: Arc<Game>,
    game: Arc<Game>,
    machine: Machine,
    paused: bool,
    percent: u16,
    /// How far the machine is behind, in percent of a frame.
    behind: u16,
    sound: bool,
    taken: Vec<Save>,
    notice: Option<Notice>,
    notices: u64,
    /// Pressed keys of each socket.
    keys: HashMap<u64, u16>,
    /// Frames for which each key still counts as pressed: a tap may end before the machine reads the keys.
    taps: [u8; 16],
    shown: (Instant, bool),
    number: u32,
    frames: watch::Sender<Frame>,
    states: watch::Sender<Utf8Bytes>,
}

impl Stage {
    /// Starts the task; it ends when all clones of the stage have been dropped.
    ///
    /// # Errors
    /// If the data folder cannot be created.
    pub(crate) fn start(config: Arc<Config>, metrics: Arc<Metrics>) -> anyhow::Result<Stage> {
        let saves = Saves::open(config.data.as_deref()).map_err(|error| {
            let folder = config.data.clone().unwrap_or_default();
            anyhow::Error::new(error).context(format!("creating the data folder {}", folder.display()))
        })?;
        let title = Arc::new(games::title()?);
        let machine = title.machine(seed())?;
        let (orders, queue) = mpsc::channel(64);
        let (frames, frames_out) = watch::channel(Frame::default());
        let (states, states_out) = watch::channel(Utf8Bytes::default());
        let player = Player {
            config,
            metrics,
            saves,
            shelf: Shelf::built_in()?,
            game: title.clone(),
            title,
            machine,
            paused: false,
            percent: 100,
            behind: 0,
            sound: true,
            taken: Vec::new(),
            notice: None,
            notices: 0,
            keys: HashMap::new(),
            taps: [0; 16],
            shown: (Instant::now(), false),
            number: 0,
            frames,
            states,
        };
        tokio::spawn(player.run(queue));
        Ok(Stage { orders, frames: frames_out, states: states_out })
    }
}

impl Player {
    async fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        self.look_at_shelf().await;
        let mut ticks = interval(Duration::from_micros(1_000_000 / FRAMES_PER_SECOND));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                order = queue.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                _ = ticks.tick(), if !self.keys.is_empty() => self.tick(),
            }
        }
    }

    fn tick(&mut self) {
        let before = self.machine.halt();
        if !self.paused {
            self.behind += self.percent;
            while self.behind >= 100 {
                self.behind -= 100;
                self.press();
                self.taps.iter_mut().for_each(|frames| *frames = frames.saturating_sub(1));
                self.metrics.instructions_total.inc_by(u64::from(self.machine.frame(self.game.speed)));
            }
        }
        if let (None, Some(halt)) = (before, self.machine.halt()) {
            tracing::info!(pod = self.config.name, game = self.game.id, %halt, "machine halted");
            self.publish();
        }
        self.show(false);
    }

    /// Sends a picture if it has changed, or if the last one is old.
    fn show(&mut self, always: bool) {
        let sounds = self.machine.sounds() && self.sound && !self.paused;
        let (at, sounded) = self.shown;
        let mut frame = Frame::new(self.number.wrapping_add(1), self.machine.screen(), sounds);
        let changed = self.frames.borrow().bytes.get(6..) != frame.bytes.get(6..) || sounded != sounds;
        if always || changed || at.elapsed() >= STILL {
            self.number = self.number.wrapping_add(1);
            frame.number = self.number;
            self.shown = (Instant::now(), sounds);
            self.frames.send_replace(frame);
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Arrive { socket, is_new, done } => {
                if is_new {
                    self.keys.clear();
                    self.taps = [0; 16];
                    self.notice = None;
                    (self.paused, self.percent, self.behind, self.sound) = (false, 100, 0, true);
                    self.menu().await;
                }
                self.keys.insert(socket, 0);
                self.publish();
                self.show(true);
                // The socket may have closed already.
                let _ = done.send(());
            }
            Order::Leave { socket } => {
                self.keys.remove(&socket);
                self.publish();
            }
            Order::Command { socket, command } => self.command(socket, command).await,
        }
    }

    async fn command(&mut self, socket: u64, command: Command) {
        match command {
            Command::Key { key, down } => {
                if let Some(keys) = self.keys.get_mut(&socket) {
                    let bit = 1_u16.checked_shl(u32::from(key)).unwrap_or(0);
                    *keys = if down { *keys | bit } else { *keys & !bit };
                }
                if let (true, Some(frames)) = (down, self.taps.get_mut(usize::from(key))) {
                    *frames = TAP_FRAMES;
                }
                return;
            }
            Command::Choose { game } => match self.shelf.find(&game).cloned() {
                Some(game) => {
                    tracing::info!(pod = self.config.name, game = game.id, "game started");
                    self.metrics.games_started_total.inc();
                    self.start(game).await;
                }
                None => self.tell("There is no such game.", true),
            },
            Command::Menu => self.menu().await,
            Command::Reset => self.start(self.game.clone()).await,
            Command::Save { slot } => self.save(slot).await,
            Command::Load { slot } => self.load(slot).await,
            Command::Speed { percent } => self.percent = percent.clamp(25, 400),
            Command::Pause { on } => self.paused = on,
            Command::Sound { on } => self.sound = on,
        }
        self.publish();
    }

    async fn menu(&mut self) {
        self.look_at_shelf().await;
        self.start(self.title.clone()).await;
    }

    async fn start(&mut self, game: Arc<Game>) {
        match game.machine(seed()) {
            Ok(machine) => {
                self.machine = machine;
                self.game = game;
                self.paused = false;
                self.list_saves().await;
            }
            Err(error) => self.tell(&error.to_string(), true),
        }
    }

    fn is_game(&self) -> bool {
        !Arc::ptr_eq(&self.game, &self.title)
    }

    fn press(&mut self) {
        let tapped = (0..16).filter(|key| self.taps[*key] > 0).fold(0, |all, key| all | 1 << key);
        self.machine.press(self.keys.values().fold(tapped, |all, keys| all | keys));
    }

    fn tell(&mut self, text: &str, bad: bool) {
        self.notices += 1;
        self.notice = Some(Notice { number: self.notices, text: text.to_owned(), bad });
    }

    fn publish(&self) {
        let games = self.shelf.games.iter().map(|game| Listed {
            id: game.id.clone(),
            title: game.title.clone(),
            about: game.about.clone(),
            unusable: None,
        });
        let unusable = self.shelf.unusable.iter().map(|file| Listed {
            id: String::new(),
            title: file.file.clone(),
            about: String::new(),
            unusable: Some(file.reason.clone()),
        });
        let state = State {
            kind: "state",
            pod: self.config.name.clone(),
            games: games.chain(unusable).collect(),
            playing: self.is_game().then(|| self.game.id.clone()),
            halted: self.machine.halt().map(|halt| halt.to_string()),
            paused: self.paused,
            speed_percent: self.percent,
            sound: self.sound,
            saving: self.saves.are_on(),
            slots: SLOTS,
            saves: self.taken.clone(),
            sockets: self.keys.len(),
            notice: self.notice.clone(),
        };
        match serde_json::to_string(&state) {
            Ok(text) => {
                self.states.send_replace(text.into());
            }
            Err(error) => tracing::error!(pod = self.config.name, %error, "state not written"),
        }
    }
}

/// A random seed makes every start of a game different; without system randomness only this is lost.
fn seed() -> u64 {
    getrandom::u64().unwrap_or(1)
}
