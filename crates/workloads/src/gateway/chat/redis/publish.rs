//! The writing task: publishes the clients' messages in order, and answers each.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, watch};

use super::{KEPT, Parcel, Place};
use crate::gateway::chat::log::Id;
use crate::gateway::chat::protocol::Refusal;
use crate::gateway::chat::{Chat, refuse, sent};

/// The limit for messages that are written at once.
const TOGETHER: usize = 64;
/// How long Redis remembers a client's id of a message, in seconds.
const REMEMBER: u32 = 3600;

const SAY: &str = include_str!("say.lua");

/// Runs until the chat ends.
pub(super) async fn publish(
    chat: Arc<Chat>,
    place: Arc<Place>,
    mut parcels: mpsc::Receiver<Parcel>,
    connection: watch::Receiver<Option<MultiplexedConnection>>,
) {
    let mut batch = Vec::with_capacity(TOGETHER);
    while parcels.recv_many(&mut batch, TOGETHER).await > 0 {
        let current = connection.borrow().clone();
        let answers = match current {
            None => Err(Refusal::Redis),
            Some(mut connection) => {
                let answers = commands(&place, &batch).query_async::<Vec<(String, u64)>>(&mut connection).await;
                answers.map_err(|error| {
                    tracing::warn!(pod = chat.pod, redis = %place.address, %error, "messages may not have been published");
                    Refusal::Unsure
                })
            }
        };
        let mut answers = answers.map(Vec::into_iter);
        for Parcel { draft, mailbox } in batch.drain(..) {
            let answer = match &mut answers {
                Ok(answers) => answers.next().and_then(|(id, now)| Some((id.parse::<Id>().ok()?, now))),
                Err(why) => {
                    refuse(&mailbox, Some(&draft.client_id), *why);
                    continue;
                }
            };
            match answer {
                Some((id, now)) => {
                    chat.metrics.published.inc_by(now);
                    sent(&mailbox, &draft.client_id, id);
                }
                // The script never returns this.
                None => refuse(&mailbox, Some(&draft.client_id), Refusal::Unsure),
            }
        }
    }
}

fn commands(place: &Place, batch: &[Parcel]) -> redis::Pipeline {
    let mut pipe = redis::pipe();
    for Parcel { draft, .. } in batch {
        // This cannot fail: a message has only strings.
        let message = serde_json::to_string(draft).unwrap_or_default();
        pipe.cmd("EVAL").arg(SAY).arg(3).arg(&place.log).arg(&place.floor);
        pipe.arg(format!("{}{}", place.said, draft.client_id));
        pipe.arg(message).arg(&place.channel).arg(place.history.max(KEPT)).arg(REMEMBER);
    }
    pipe
}
