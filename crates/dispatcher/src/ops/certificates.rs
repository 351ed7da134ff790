//! Keeps the certificates of the listeners current: their files are read again every few seconds and after a reload, and used
//! if they have changed. Open connections are not affected. Reading also finds what replaces a file behind a symbolic link
//! (a mounted Kubernetes secret, certbot's `live` folder).

use crate::io::tls::{Loaded, Tls, TlsError, TlsSettings};
use crate::shell::Shell;
use std::sync::Arc;
use std::time::Duration;

/// How often the files are read.
const EVERY: Duration = Duration::from_secs(5);
/// A certificate that expires earlier than this is reported when it is loaded.
const SOON: i64 = 7 * 24 * 3600;

/// The TLS of a listener, and its settings in the current configuration.
pub(crate) struct Watched {
    pub(crate) tls: Arc<Tls>,
    pub(crate) settings: fn(&Shell) -> Option<TlsSettings>,
}

/// Watches the certificates of all listeners until the process ends.
pub(crate) async fn run(shell: Arc<Shell>, watched: Vec<Watched>) {
    let mut reloaded = shell.reloaded.subscribe();
    for listener in &watched {
        report(&shell, &listener.tls);
    }
    show(&shell, &watched);
    if watched.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::select! {
            biased;
            Ok(()) = reloaded.changed() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        for listener in &watched {
            refresh(&shell, listener).await;
        }
        show(&shell, &watched);
    }
}

async fn refresh(shell: &Shell, listener: &Watched) {
    let Some(settings) = (listener.settings)(shell) else { return };
    let (tls, now) = (listener.tls.clone(), shell.clock.wall());
    let read = tokio::task::spawn_blocking(move || tls.refresh(&settings, now)).await;
    let Ok(Some(outcome)) = read else { return };
    let of = listener.tls.of;
    shell.metrics.process.tls.reloaded(of, outcome.is_ok());
    match outcome {
        Ok(()) => report(shell, &listener.tls),
        Err(error) => refused(of, &error),
    }
}

fn refused(of: &str, error: &TlsError) {
    tracing::warn!(of, "certificates and keys not reloaded, the previous ones stay in use: {error}");
}

/// Logs the certificates and keys that are in use from now on.
fn report(shell: &Shell, tls: &Tls) {
    let now = i64::try_from(shell.clock.wall().0 / 1000).unwrap_or(i64::MAX);
    for Loaded { file, names, expires } in tls.loaded() {
        let (of, file, names) = (tls.of, file.display(), names.join(" "));
        if expires.0.saturating_sub(now) < SOON {
            tracing::warn!(of, %file, names, "certificate loaded that expires at {expires}");
        } else {
            tracing::info!(of, %file, names, %expires, "certificate loaded");
        }
    }
    let (of, keys) = (tls.of, tls.ticket_keys());
    if keys > 0 {
        tracing::info!(of, keys, "keys of session tickets loaded");
    }
}

fn show(shell: &Shell, watched: &[Watched]) {
    let all = watched.iter().flat_map(|w| w.tls.loaded().into_iter().map(|loaded| (w.tls.of, loaded)));
    shell.metrics.process.tls.in_use(all);
}
