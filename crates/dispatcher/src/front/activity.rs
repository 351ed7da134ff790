//! Decides what counts as a visitor's activity (`idle_seconds`): requests and frames, depending on the pool's settings, and
//! reports of pages and pods. A pod reports with one token per session, so it can only report sessions that it has.

use crate::config::{Activity, Signals, Sizes};
use crate::front::cookie::{Keys, public_name};
use crate::front::forward::body::ResponseBody;
use crate::front::waiting;

use crate::front::{Dispatcher, Pool};
pub use crate::metrics::labels::Reporter;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Response, StatusCode, header};
use slotkeeper_core::{Place, PoolId, SessionId};
use std::sync::Arc;
use std::time::Duration;

/// Which events of one stream count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Its request, its bodies in transit, and bytes of upgraded connections that are not WebSockets.
    pub requests: bool,
    pub frames: Frames,
}

/// WebSocket frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frames {
    All,
    None,
    /// Frames with a payload of one of these sizes.
    Some(Arc<[Sizes]>),
}

impl Counts {
    pub const ALL: Counts = Counts { requests: true, frames: Frames::All };
    pub const NOTHING: Counts = Counts { requests: false, frames: Frames::None };

    /// For a request with this path.
    #[must_use]
    pub fn of(activity: &Activity, path: &str) -> Counts {
        if activity.ignored_paths.iter().any(|ignored| ignored.matches(path)) {
            return Counts::NOTHING;
        }
        match activity.signals {
            Signals::Any => Counts::ALL,
            Signals::Frames => Counts { requests: false, frames: Frames::Some(activity.frame_bytes.as_slice().into()) },
            Signals::Reported => Counts::NOTHING,
        }
    }

    /// Whether a frame with this payload (in bytes) counts.
    #[must_use]
    pub fn frame(&self, payload: u64) -> bool {
        match &self.frames {
            Frames::All => true,
            Frames::None => false,
            Frames::Some(sizes) => sizes.iter().any(|sizes| sizes.has(payload)),
        }
    }
}

const MAC: usize = 16;
const LENGTH: usize = 16 + 16 + MAC;

/// The token with which a session's pod reports: the session's public name, its masked id, and a MAC.
#[must_use]
pub fn token(keys: &Keys, pool: &PoolId, session: SessionId) -> String {
    let name = name_of(session);
    let Some(mac) = keys.sign(pool, b"report", &name) else { return String::new() };
    let Some(mask) = keys.sign(pool, b"report mask", &name) else { return String::new() };
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend_from_slice(&name);
    bytes.extend(session.0.to_be_bytes().iter().zip(&mask).map(|(byte, mask)| byte ^ mask));
    bytes.extend_from_slice(&mac[..MAC]);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns the session of a token that one of the keys has made for this pool.
#[must_use]
pub fn open_token(keys: &Keys, pool: &PoolId, token: &str) -> Option<SessionId> {
    let bytes: [u8; LENGTH] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
    let (name, rest) = bytes.split_at(16);
    let (masked, mac) = rest.split_at(16);
    let mask = keys.verify(pool, (b"report", b"report mask"), name, mac)?;
    let mut id = [0; 16];
    for ((byte, masked), mask) in id.iter_mut().zip(masked).zip(&mask) {
        *byte = masked ^ mask;
    }
    let session = SessionId(u128::from_be_bytes(id));
    (name_of(session) == name).then_some(session)
}

/// The public name as bytes.
fn name_of(session: SessionId) -> [u8; 16] {
    let name = public_name(session);
    let mut bytes = [0; 16];
    for (byte, digits) in bytes.iter_mut().zip(name.as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(digits).ok().and_then(|d| u8::from_str_radix(d, 16).ok()).unwrap_or_default();
    }
    bytes
}

/// `Authorization: Bearer TOKEN`.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Handles a report that a session is active now and busy for this long.
pub fn report(
    dispatcher: &Dispatcher,
    pool: &Pool,
    session: SessionId,
    from: Reporter,
    busy: Duration,
) -> Response<ResponseBody> {
    let has_slot = matches!(dispatcher.view.borrow().fleet.place(&pool.config.id, session), Place::At { .. });
    if !has_slot {
        let body = serde_json::json!({ "error": "this session has no slot" });
        return waiting::answer(StatusCode::CONFLICT, "application/json", body.to_string().into());
    }
    let busy = busy.min(pool.config.activity.busy_limit);
    pool.metrics.reported(from);
    pool.visits.reported(session, busy);
    let body = serde_json::json!({ "busy_seconds": busy.as_secs() });
    waiting::answer(StatusCode::OK, "application/json", body.to_string().into())
}

/// Parses `busy_seconds` of a form or query; zero if it is missing.
#[must_use]
pub fn busy_seconds(form: &[u8]) -> Option<Duration> {
    let Some((_, text)) = form_urlencoded::parse(form).find(|(name, _)| name == "busy_seconds") else {
        return Some(Duration::ZERO);
    };
    let seconds: f64 = text.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::config::request_rules::Pattern;

    #[test]
    fn a_token_is_valid_for_one_session_and_one_pool() {
        let keys = |byte: u8| Keys::new(&[Secret(vec![byte; 32])]);
        let session = SessionId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        let token = token(&keys(1), &"p".into(), session);
        assert_eq!(open_token(&keys(1), &"p".into(), &token), Some(session));
        assert_eq!(open_token(&keys(2), &"p".into(), &token), None);
        assert_eq!(open_token(&keys(1), &"q".into(), &token), None);
        let both = Keys::new(&[Secret(vec![2; 32]), Secret(vec![1; 32])]);
        assert_eq!(open_token(&both, &"p".into(), &token), Some(session), "a previous key");
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(
                open_token(&keys(1), &"p".into(), std::str::from_utf8(&forged).unwrap()),
                None,
                "character {at}"
            );
        }
        for rubbish in ["", "x", "é", &token[1..], &token.repeat(2)] {
            assert_eq!(open_token(&keys(1), &"p".into(), rubbish), None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        assert!(!bytes.windows(8).any(|w| session.0.to_be_bytes().windows(8).any(|id| id == w)), "the id is not in it");
    }

    #[test]
    fn settings_and_path_decide_which_events_count() {
        let activity = |signals| Activity {
            signals,
            frame_bytes: vec![Sizes { least: 6, most: 8 }, Sizes { least: 12, most: u64::MAX }],
            ignored_paths: vec![Pattern::new("/api/*")],
            ..Activity::default()
        };
        assert_eq!(Counts::of(&activity(Signals::Any), "/lab"), Counts::ALL);
        assert_eq!(Counts::of(&activity(Signals::Any), "/api/kernels"), Counts::NOTHING);
        assert_eq!(Counts::of(&activity(Signals::Reported), "/lab"), Counts::NOTHING);
        let frames = Counts::of(&activity(Signals::Frames), "/ws");
        assert!(
            !frames.requests
                && [5, 6, 8, 9, 11, 12, 1 << 40].map(|n| frames.frame(n))
                    == [false, true, true, false, false, true, true]
        );
    }

    #[test]
    fn sizes_are_one_or_a_range() {
        for text in ["6", "6-8", "6-", "0-"] {
            assert_eq!(Sizes::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["", "-", "-6", "8-6", "x", "6-x", "+6", "6 - 8", "99999999999999999999"] {
            assert_eq!(Sizes::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn busy_seconds_are_a_number_that_is_not_negative() {
        assert_eq!(busy_seconds(b""), Some(Duration::ZERO));
        assert_eq!(busy_seconds(b"x=1&busy_seconds=90"), Some(Duration::from_secs(90)));
        for wrong in ["busy_seconds=", "busy_seconds=-1", "busy_seconds=NaN", "busy_seconds=1e300", "busy_seconds=soon"]
        {
            assert_eq!(busy_seconds(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
