//! A visitor's stay at its pod: tabs with WebSockets, pages, uploads and downloads, and its departure.

use super::super::conduct::pause;
use super::super::tab::Socket;
use super::super::transfer;
use super::{Leaving, Manners, Visitor};
use http::Method;
use rand::Rng;

impl Visitor {
    /// Uses the pod.
    pub(super) async fn stay(&mut self) -> Leaving {
        let (least, most) = self.scene.habits.stay;
        let stay = if self.calm() { self.draw(1_000, 4_000) } else { self.draw(least, most) };
        let until = tokio::time::Instant::now() + stay;
        let tabs = match self.manners {
            Manners::Tabs(tabs) => tabs,
            Manners::Pages | Manners::Program => return self.turn_pages(until).await,
        };
        let mut sockets = Vec::new();
        for _ in 0..tabs {
            match self.socket().await {
                Ok(Some(socket)) => sockets.push(socket),
                Ok(None) => return Leaving::Back,
                Err(_) => {
                    self.scene.oracle.meets("socket refused".into());
                    return Leaving::Back;
                }
            }
        }
        let mut said = 0u32;
        loop {
            let pause = self.draw(200, 2_000);
            tokio::time::sleep(pause).await;
            let cut = !self.calm() && self.dice.random_ratio(1, 60);
            if cut {
                self.scene.oracle.count("socket dropped by its visitor");
                return Leaving::Back;
            }
            let over = tokio::time::Instant::now() >= until || self.calm() && self.dice.random_ratio(1, 4);
            if over {
                return self.leave(sockets).await;
            }
            if !self.act_up(&mut sockets).await {
                return Leaving::Back;
            }
            for socket in &mut sockets {
                said += 1;
                let size = [3, 40, 300, 9_000, 70_000][self.dice.random_range(0..5)];
                let letters = (0..size).map(|n| char::from(b'a' + ((n * 7 + said) % 26) as u8));
                let ask = self.talks.then(|| format!("{said}:{}", letters.collect::<String>()));
                if let Err(end) = socket.talk(ask, &self.scene).await {
                    let neglected = socket.neglected && matches!(&*end, "broken" | "silent" | "stuck");
                    let end = if neglected { "given up while its visitor did not read".to_owned() } else { end };
                    self.scene.oracle.meets(format!("socket {end}"));
                    if end == "4001" && self.dice.random_ratio(1, 3) {
                        return Leaving::Home;
                    }
                    return Leaving::Back;
                }
            }
        }
    }

    /// Performs one action outside of its tabs, which are not read meanwhile. Returns false if the pod did not
    /// answer.
    async fn act_up(&mut self, sockets: &mut [Socket]) -> bool {
        let answered = match self.whims.random_range(0..12) {
            0 if self.conduct.suspends => {
                self.scene.oracle.count("visitor suspended");
                tokio::time::sleep(pause(&mut self.whims, 1_000, 9_000)).await;
                true
            }
            1..=2 if self.conduct.uploads => self.upload().await,
            3..=4 if self.conduct.downloads => self.download().await,
            _ => return true,
        };
        sockets.iter_mut().for_each(|s| s.neglected = true);
        answered
    }

    async fn upload(&mut self) -> bool {
        let (at, Some(cookie)) = (self.dispatcher(), self.jar.clone()) else { return true };
        self.sends();
        match transfer::upload(&self.scene.windows, self.scene.way, at, &cookie, &mut self.whims).await {
            Ok(response) if response.headers().contains_key("x-pod") && response.status().is_success() => {
                self.scene.oracle.count("upload answered");
                true
            }
            Ok(_) => false,
            Err(_) => {
                self.scene.oracle.meets("upload failed".into());
                false
            }
        }
    }

    async fn download(&mut self) -> bool {
        let Ok(response) = self.open(Method::GET, "/download", false).await else {
            self.scene.oracle.meets("download failed".into());
            return false;
        };
        if !response.headers().contains_key("x-pod") {
            return false;
        }
        match transfer::read_slowly(response, &mut self.whims).await {
            Ok(true) => self.scene.oracle.count("download complete"),
            Ok(false) => {
                let what = format!("visitor {} fetched a long body, and it is another one", self.number);
                self.scene.oracle.violate("bytes arrive as they were sent", what);
            }
            Err(_) => {
                self.scene.oracle.meets("download failed".into());
                return false;
            }
        }
        true
    }

    async fn turn_pages(&mut self, until: tokio::time::Instant) -> Leaving {
        let pages = self.manners == Manners::Pages;
        while tokio::time::Instant::now() < until {
            let pause = self.draw(300, 1_500);
            tokio::time::sleep(pause).await;
            if !self.act_up(&mut []).await {
                return Leaving::Back;
            }
            match self.fetch(Method::GET, "/page", pages).await {
                Ok(reply) if reply.is_from_pod() => {}
                Ok(_) | Err(_) => return Leaving::Back,
            }
        }
        Leaving::Home
    }

    async fn leave(&mut self, sockets: Vec<Socket>) -> Leaving {
        let manner = self.dice.random_range(0..100);
        if manner < self.scene.habits.half_open {
            // The lid is closed: nothing more is sent, not even a close frame.
            self.scene.oracle.count("visitor half-open");
            self.lost.extend(sockets);
            return Leaving::Home;
        }
        if manner % 3 == 0 {
            self.scene.oracle.count("visitor leaves");
            let _ = self.fetch(Method::POST, "/.slotkeeper/leave", true).await;
            return Leaving::Home;
        }
        for socket in sockets {
            socket.close().await;
        }
        self.scene.oracle.count("visitor closes");
        Leaving::Home
    }
}
