//! The client that the dispatcher serves to pages (CLIENT.md): its logic in a made-up browser, by `node --test`
//! (`client/*.mjs`); what a real one makes of it is in `browser/`.

use std::path::Path;
use std::process::Command;

#[test]
fn it_reconnects_waits_and_ends_as_it_says() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("client/client.test.mjs");
    let ran = Command::new("node").args(["--test", "--test-reporter=tap"]).arg(tests).output();
    let ran = ran.expect("node runs: install Node.js 20 or newer (tests/run does)");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    let passed = said.lines().find_map(|line| line.strip_prefix("# pass ")?.parse::<u32>().ok());
    assert!(passed.is_some_and(|count| count >= 25), "{said}");
}
