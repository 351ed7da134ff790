//! Arguments, and the command they name.

use slotkeeper_sim::world::{play, setting::Setting};
use std::io::Write as _;

fn main() {
    let from: u64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    let to: u64 = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(from);
    let trace = std::env::args().nth(3).is_some();
    let mut out = std::io::stdout().lock();
    for seed in from..=to {
        let setting = if seed == 0 { Setting::plain(1) } else { Setting::draw(seed) };
        let began = std::time::Instant::now();
        let outcome = play(&setting, trace);
        let _ = writeln!(out, "{seed}: {} | {} ms simulated in {:?}, {} violations", setting.describe(), outcome.lasted, began.elapsed(), outcome.violations.len());
        for v in &outcome.violations {
            let _ = writeln!(out, "   {} {}: {}", v.at, v.promise, v.what);
        }
        if from == to {
            for line in &outcome.story { let _ = writeln!(out, "{:>7} {}", line.at, line.text); }
            for (k, n) in &outcome.coverage { let _ = writeln!(out, "{n:>6} {k}"); }
            for l in &outcome.log { let _ = writeln!(out, "{l}"); }
        }
    }
}
