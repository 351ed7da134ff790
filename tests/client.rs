//! The client that the dispatcher serves to pages (CLIENT.md): its logic in a simulated browser, by `node --test`
//! (`client/*.mjs`); `browser/` tests it in a real one.

use std::path::Path;
use std::process::Command;

#[test]
fn client_js_passes_its_tests_in_node() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("client/client.test.mjs");
    let ran = Command::new("node").args(["--test", "--test-reporter=tap"]).arg(tests).output();
    let ran = ran.expect("node runs: install Node.js 20 or newer (tests/run does)");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    let passed = said.lines().find_map(|line| line.strip_prefix("# pass ")?.parse::<u32>().ok());
    assert!(passed.is_some_and(|count| count >= 25), "{said}");
}
