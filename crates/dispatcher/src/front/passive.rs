//! Passive requests, which do not use the pool: they neither begin a session, nor start a pod, nor count as activity. If the
//! session is already at its pod, the pod answers them; otherwise the dispatcher does. The rules are configured
//! (`config/request_rules.rs`).

use crate::config::request_rules::{Passive, Rejoin};
use crate::front::cookie::Ticket;
use crate::front::{Dispatcher, Pool};
use http::{HeaderMap, HeaderValue, Request, header};
use slotkeeper_core::{Place, State};

/// Returns the rule that makes a request passive.
#[must_use]
pub fn rule<'p, B>(pool: &'p Pool, request: &Request<B>) -> Option<&'p Passive> {
    pool.config.passive.iter().find(|rule| rule.matches(request))
}

/// Whether the session is already at its pod, through this or another dispatcher.
#[must_use]
pub fn is_at_its_pod(dispatcher: &Dispatcher, pool: &Pool, ticket: Option<Ticket>) -> bool {
    let Some(Ticket { session, .. }) = ticket else { return false };
    let view = dispatcher.view.borrow();
    let state = view.fleet.session(&pool.config.id, session).map(|session| &session.state);
    matches!(state, Some(State::Taken { .. }))
}

/// Whether a page that was left open has sent this: its session has had a slot and has ended, and the visitor has done
/// nothing.
#[must_use]
pub fn is_forgotten<B>(
    dispatcher: &Dispatcher,
    pool: &Pool,
    ticket: &Ticket,
    request: &Request<B>,
    wants_page: bool,
) -> bool {
    if pool.config.rejoin == Rejoin::Any || wants_page || ticket.last.is_none() {
        return false;
    }
    is_in_background(request.headers())
        && dispatcher.view.borrow().fleet.place(&pool.config.id, ticket.session) == Place::Unknown
}

/// Whether a page has sent this by itself, not its visitor. Browsers send no Fetch Metadata over plain HTTP.
fn is_in_background(headers: &HeaderMap) -> bool {
    let is_browser = || headers.get(header::USER_AGENT).is_some_and(|v| v.as_bytes().starts_with(b"Mozilla/"));
    let is_part = || headers.contains_key(header::REFERER) || headers.contains_key(header::ORIGIN);
    match headers.get("sec-fetch-mode").map(HeaderValue::as_bytes) {
        Some(mode) => mode != b"navigate",
        None => is_browser() && is_part(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn requests_that_a_page_sends_by_itself_are_in_the_background() {
        let is = |fields: &[(&'static str, &'static str)]| is_in_background(&headers(fields));
        let browser = ("user-agent", "Mozilla/5.0 (X11)");
        assert!(is(&[("sec-fetch-mode", "cors")]) && is(&[("sec-fetch-mode", "websocket")]));
        assert!(is(&[browser, ("referer", "http://a/")]) && is(&[browser, ("origin", "http://a")]));
        assert!(!is(&[("sec-fetch-mode", "navigate")]) && !is(&[browser]) && !is(&[("origin", "http://a")]));
    }
}
