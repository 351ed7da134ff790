//! Scripts play the built-in games by reading the screen, and read a folder of invalid files.

use super::*;
use crate::console::chip8::FONT;

const LEFT: u16 = 1 << 7;
const RIGHT: u16 = 1 << 9;
const UP: u16 = 1 << 5;
const DOWN: u16 = 1 << 8;
const BUTTON: u16 = 1 << 6;

struct Play {
    game: Arc<Game>,
    machine: Machine,
}

impl Play {
    fn of(id: &str, seed: u64) -> Play {
        let game = Shelf::built_in().expect("games").find(id).expect("this game").clone();
        let machine = game.machine(seed).expect("a machine");
        Play { game, machine }
    }

    fn hold(&mut self, keys: u16, frames: usize) {
        self.machine.press(keys);
        for _ in 0..frames {
            self.machine.frame(self.game.speed);
        }
        assert_eq!(self.machine.halt(), None, "{}", self.game.title);
    }

    /// Prints the screen if `SHOW=1` is set (run with `--nocapture`).
    fn show(&self, what: &str) {
        if std::env::var_os("SHOW").is_some() {
            println!("{}: {what}\n{}", self.game.title, self.machine.screen());
        }
    }

    fn lit(&self, columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> usize {
        rows.flat_map(|y| columns.clone().map(move |x| (x, y)))
            .filter(|(x, y)| self.machine.screen().pixel(*x, *y))
            .count()
    }

    /// The leftmost and rightmost lit column of some rows.
    fn span(&self, rows: std::ops::Range<usize>) -> Option<(usize, usize)> {
        let lit = |x: &usize| rows.clone().any(|y| self.machine.screen().pixel(*x, y));
        Some(((0..128).find(lit)?, (0..128).rfind(lit)?))
    }

    /// Reads a number in digits of the small font from the screen.
    fn number(&self, x: usize, y: usize, digits: usize) -> Option<u32> {
        (0..digits).try_fold(0, |number, place| {
            let shown = |dx: usize, dy: usize| self.machine.screen().pixel(x + 5 * place + dx, y + dy);
            let digit = (0..10_u8).find(|digit| {
                let rows = &FONT[5 * usize::from(*digit)..][..5];
                (0..4).all(|dx| (0..5).all(|dy| (rows[dy] << dx >> 7 == 1) == shown(dx, dy)))
            })?;
            Some(number * 10 + u32::from(digit))
        })
    }
}

#[test]
fn titles_assemble_and_run() {
    let game = Arc::new(title().expect("a title"));
    let machine = game.machine(1).expect("a machine");
    let mut play = Play { game, machine };
    play.hold(0, 600);
    play.show("after ten seconds");
    assert!(play.lit(0..64, 9..14) > 80);
}

#[test]
fn games_survive_random_keys() {
    for game in Shelf::built_in().expect("games").games {
        for seed in 0..3 {
            let mut play = Play { game: game.clone(), machine: game.machine(seed).expect("a machine") };
            let mut keys = seed.wrapping_mul(0x9E37_79B9) + 1;
            for _ in 0..600 {
                keys = keys.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                play.hold((keys >> 48) as u16 & (LEFT | RIGHT | UP | DOWN | BUTTON), 7);
            }
        }
    }
}

/// The position of the ball's two by two pixels, below the wall.
fn ball(play: &Play) -> Option<(usize, usize)> {
    let lit = |x, y| play.machine.screen().pixel(x, y);
    (33..58).flat_map(|y| (0..128).map(move |x| (x, y))).find(|(x, y)| lit(*x, *y))
}

#[test]
fn bricks_break_and_points_count() {
    let mut play = Play::of("bricks", 3);
    play.hold(0, 10);
    play.show("before the serve");
    assert_eq!((play.number(2, 1, 4), play.lit(0..128, 12..32)), (Some(0), 80 * 21));
    play.hold(BUTTON, 2);
    let (mut seen_x, mut best) = (std::collections::BTreeSet::new(), 0);
    for frame in 0..6000 {
        // Follow the ball, and hit it with different parts of the paddle.
        let keys = match (ball(&play), play.span(61..62)) {
            (Some((x, _)), Some((from, _))) => {
                seen_x.insert(x);
                let aim = from + 3 + frame / 97 % 9;
                if x > aim + 2 {
                    RIGHT
                } else if x + 2 < aim {
                    LEFT
                } else {
                    0
                }
            }
            _ => 0,
        };
        play.hold(keys | BUTTON, 1);
        best = best.max(play.number(2, 1, 4).unwrap_or(0));
        if frame == 700 {
            play.show("after twelve seconds");
        }
    }
    play.show("after a hundred seconds");
    assert!(best > 100, "{best} points");
    assert!(seen_x.len() > 40, "the ball goes many ways");
}

#[test]
fn bricks_ends_without_input() {
    let mut play = Play::of("bricks", 1);
    for _ in 0..3 {
        play.hold(0, 10);
        play.hold(BUTTON, 2);
        play.hold(RIGHT, 200);
        play.hold(0, 300);
        play.hold(BUTTON, 2);
        play.hold(LEFT, 500);
    }
    play.hold(0, 300);
    play.show("in the end");
    assert_eq!((play.number(2, 1, 4), play.lit(0..128, 12..32)), (Some(0), 80 * 21), "a new game");
}

#[test]
fn a_snake_turns_grows_and_dies() {
    let mut play = Play::of("snake", 5);
    play.hold(0, 60);
    assert_eq!(play.lit(4..124, 32..36), 12, "it waits for a key");
    play.hold(RIGHT, 3);
    play.hold(0, 60);
    play.show("after a second");
    assert_eq!(play.lit(4..124, 32..36), 5 * 12, "it has grown");
    play.hold(DOWN, 12);
    play.hold(0, 12);
    play.show("after a turn");
    assert!(play.lit(4..124, 36..60) > 0, "it turned");
    play.hold(0, 400);
    play.show("dead");
    assert!(play.lit(30..100, 36..41) > 60, "the words of the end");
    play.hold(UP, 3);
    play.hold(0, 3);
    assert_eq!(play.number(2, 1, 3), Some(0), "a new game");
}

#[test]
fn a_snake_that_looks_for_apples_finds_some() {
    let mut best = 0;
    for seed in 0..4 {
        let mut play = Play::of("snake", seed);
        let mut seen = play.machine.screen().clone();
        let mut head = (10_usize, 8_usize);
        for _ in 0..1500 {
            // The head is the cell that has been filled.
            let full = |screen: &crate::console::chip8::screen::Screen, x: usize, y: usize| {
                screen.pixel(4 * x + 1, 4 * y) && screen.pixel(4 * x + 2, 4 * y) && !screen.pixel(4 * x, 4 * y)
            };
            for (x, y) in (1..31).flat_map(|x| (3..15).map(move |y| (x, y))) {
                if full(play.machine.screen(), x, y) && !full(&seen, x, y) {
                    head = (x, y);
                }
            }
            seen = play.machine.screen().clone();
            let apple = (1..31).flat_map(|x| (3..15).map(move |y| (x, y))).find(|(x, y)| {
                seen.pixel(4 * x + 2, 4 * y) && !seen.pixel(4 * x + 1, 4 * y) && seen.pixel(4 * x, 4 * y + 1)
            });
            let keys = match apple {
                Some((x, y)) if y > head.1 => {
                    let _ = x;
                    DOWN
                }
                Some((_, y)) if y < head.1 => UP,
                Some((x, _)) if x > head.0 => RIGHT,
                Some((x, _)) if x < head.0 => LEFT,
                _ => 0,
            };
            play.hold(keys, 1);
            best = best.max(play.number(2, 1, 3).unwrap_or(0));
        }
        play.show("after 25 seconds");
    }
    assert!(best >= 3, "{best} apples");
}

#[test]
fn stars_are_caught_or_cost_a_life() {
    let mut play = Play::of("starfall", 2);
    play.hold(0, 100);
    play.show("after two seconds");
    let (mut best, mut way) = (0, LEFT);
    for _ in 0..60 {
        way ^= LEFT | RIGHT;
        for _ in 0..56 {
            play.hold(way, 1);
            best = best.max(play.number(2, 1, 3).unwrap_or(0));
        }
    }
    play.show("after a minute");
    assert!(best > 0, "a basket that sweeps catches something");
    let mut lazy = Play::of("starfall", 4);
    lazy.hold(LEFT, 8000);
    lazy.show("without input");
    assert!(lazy.lit(30..100, 36..41) > 60, "the words of the end");
}

#[test]
fn invalid_files_in_a_folder_are_listed_with_reasons() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("a file");
    put("Space_Race.ch8", &[0x12, 0x00]);
    put("space race.CH8", &[0x12, 0x00]);
    put("modern.sc8", &[0x00, 0xFF]);
    put("empty.ch8", &[]);
    put("huge.ch8", &[0; 5000]);
    put("---.ch8", &[0x12, 0x00]);
    put("readme.txt", b"not a game");
    std::fs::create_dir(folder.path().join("folder.ch8")).expect("a folder");
    let shelf = Shelf::read(folder.path()).expect("a shelf");
    let titles: Vec<_> = shelf.games.iter().map(|game| (game.id.as_str(), game.title.as_str())).collect();
    assert_eq!(titles, [("modern", "modern"), ("space-race", "Space Race")]);
    let reasons: Vec<_> = shelf.unusable.iter().map(|file| format!("{}: {}", file.file, file.reason)).collect();
    assert_eq!(
        reasons,
        [
            "---.ch8: its name has neither letters nor digits",
            "empty.ch8: the file is empty",
            "folder.ch8: not a file",
            "huge.ch8: too large: 5000 bytes, the limit is 3584",
            "space race.CH8: another file has the same name",
        ]
    );
}

#[test]
fn without_the_folder_the_built_in_games_are_listed() {
    let shelf = Shelf::read(Path::new("/nowhere/at/all")).expect("a shelf");
    assert_eq!((shelf.games.len(), shelf.unusable.len()), (BUILT_IN.len(), 1));
    assert!(shelf.unusable[0].reason.starts_with("the games folder cannot be read: "));
}
