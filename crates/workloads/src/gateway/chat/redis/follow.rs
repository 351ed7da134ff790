//! The reading task: pub/sub notifies, and the stream has messages that were missed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::Place;
use crate::gateway::chat::Chat;
use crate::gateway::chat::log::Id;
use crate::gateway::chat::protocol::Draft;

/// The time limit for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the stream is read without a notification, which also detects a dead connection.
const LOOK: Duration = Duration::from_secs(2);
/// The number of entries per read.
const COUNT: usize = 500;
/// After this many consecutive reads that find messages without a notification, pub/sub is considered dead.
const DEAF: u32 = 3;
/// The first pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// An entry of the stream: its id and its fields.
type Entry = (String, Vec<(String, Vec<u8>)>);

const MEET: &str = include_str!("meet.lua");

/// Runs until it is aborted.
pub(super) async fn follow(chat: Arc<Chat>, place: Arc<Place>, found: watch::Sender<Option<MultiplexedConnection>>) {
    let mut pause = PAUSE;
    let mut said = false;
    loop {
        let began = Instant::now();
        let ended = listen(&chat, &place, &found, &mut said).await;
        found.send_replace(None);
        chat.connected(false);
        let error = match ended {
            Err(error) => error,
            Ok(never) => match never {},
        };
        // Logged once per outage.
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(pod = chat.pod, redis = %place.address, %error, "chat disconnected from Redis");
        }
        if began.elapsed() > LONGEST_PAUSE {
            pause = PAUSE;
        }
        sleep(pause.mul_f64(0.5 + f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX) / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn listen(
    chat: &Chat,
    place: &Place,
    found: &watch::Sender<Option<MultiplexedConnection>>,
    said: &mut bool,
) -> RedisResult<std::convert::Infallible> {
    let client = Client::open(place.address.info())?;
    let limits =
        AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
    let mut connection = client.get_multiplexed_async_connection_with_config(&limits).await?;
    let subscribing = async {
        let mut bell = client.get_async_pubsub().await?;
        bell.subscribe(&place.channel).await?;
        Ok::<_, RedisError>(bell)
    };
    let bell = timeout(PATIENCE, subscribing).await.map_err(|_| trouble("no answer to SUBSCRIBE"))??;
    let mut bell = bell.into_on_message();
    // The subscription is active before the stream is read, so no message is missed. And Redis gets this pod's last id
    // before the pod counts as connected, so that new ids are larger.
    let Id { ms, number } = chat.last();
    redis::cmd("EVAL")
        .arg(MEET)
        .arg(1)
        .arg(&place.floor)
        .arg(ms)
        .arg(number)
        .query_async::<()>(&mut connection)
        .await?;
    catch_up(chat, place, &mut connection).await?;
    found.send_replace(Some(connection.clone()));
    chat.connected(true);
    *said = false;
    tracing::info!(pod = chat.pod, redis = %place.address, "chat connected to Redis");

    let mut looks = interval_at(Instant::now() + LOOK, LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut deaf = 0;
    loop {
        tokio::select! {
            biased;
            rung = bell.next() => {
                let rung = rung.ok_or_else(|| trouble("the connection for pub/sub was closed"))?;
                deaf = 0;
                let Some((id, before, draft)) = parse(rung.get_payload_bytes()) else {
                    tracing::warn!(pod = chat.pod, channel = place.channel, "not a chat message on this channel");
                    continue;
                };
                // Only true if a notice was lost.
                if before > chat.last() {
                    catch_up(chat, place, &mut connection).await?;
                }
                chat.deliver(id, &draft);
            }
            _ = looks.tick() => {
                let last = chat.last();
                catch_up(chat, place, &mut connection).await?;
                deaf = if chat.last() > last { deaf + 1 } else { 0 };
                if deaf >= DEAF {
                    return Err(trouble("no notifications by pub/sub"));
                }
            }
        }
    }
}

/// Delivers the stream's entries after the last delivered one; a pod without history begins with the newest entries.
async fn catch_up(chat: &Chat, place: &Place, connection: &mut MultiplexedConnection) -> RedisResult<()> {
    if chat.last() == Id::default() {
        // One more than the history keeps: it is dropped at once, and so the log knows that there were more.
        let mut newest = redis::cmd("XREVRANGE");
        newest.arg(&place.log).arg("+").arg("-").arg("COUNT").arg(place.history + 1);
        let mut entries: Vec<Entry> = newest.query_async(connection).await?;
        entries.reverse();
        deliver(chat, &entries);
    }
    loop {
        let mut next = redis::cmd("XRANGE");
        next.arg(&place.log).arg(format!("({}", chat.last())).arg("+").arg("COUNT").arg(COUNT);
        let entries: Vec<Entry> = next.query_async(connection).await?;
        deliver(chat, &entries);
        if entries.len() < COUNT {
            return Ok(());
        }
    }
}

fn deliver(chat: &Chat, entries: &[Entry]) {
    for (id, fields) in entries {
        let message = fields.iter().find(|(field, _)| field == "message");
        let draft = message.and_then(|(_, json)| serde_json::from_slice::<Draft>(json).ok());
        match (id.parse::<Id>(), draft) {
            (Ok(id), Some(draft)) => chat.deliver(id, &draft),
            // Of another version, or written by another program: skipped, so that it is not read again and again.
            (Ok(id), None) => chat.pass_over(id),
            (Err(()), _) => {}
        }
    }
}

/// Parses `id before message`, as published by `say.lua`.
fn parse(notice: &[u8]) -> Option<(Id, Id, Draft)> {
    let mut parts = std::str::from_utf8(notice).ok()?.splitn(3, ' ');
    let (id, before) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((id, before, serde_json::from_str(parts.next()?).ok()?))
}

fn trouble(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Io, what))
}
