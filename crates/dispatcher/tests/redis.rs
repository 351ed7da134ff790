//! The journal in a real Redis: `redis-server` (or what `SLOTKEEPER_TEST_REDIS` names: `valkey-server`) is started for each
//! test. Whatever happens to the server, all readers get one order, and where entries may be lost, a lapse precedes the
//! new entries.

mod address;
mod driven;
mod kept;
mod lost;
mod measured;
mod order;
mod replica;
mod server;
mod trouble;

/// Runs all tests of this module again, on Valkey.
#[test]
fn a_valkey_server_passes_the_same_tests() {
    const VALKEY: &str = "valkey-server";
    if std::process::Command::new(VALKEY).arg("--version").output().is_err() {
        println!("SKIPPED: {VALKEY} is not installed; with it, all tests of the Redis journal run on it as well");
        return;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    let status = again.args(["redis::", "--skip", "a_valkey"]).env("SLOTKEEPER_TEST_REDIS", VALKEY).status().unwrap();
    assert!(status.success());
}
