//! A request as it arrived: the contents of its head, read once and passed to every later step.

use crate::front::access_log::Record;
use crate::front::cookie::{self, Ticket};
use crate::front::forward::body::ResponseBody;
use crate::front::forward::fields;
use crate::front::forward::headers::Hop;
use crate::front::framed_socket::TargetEnd;
use crate::front::newcomer;
use crate::front::{Dispatcher, Pool};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use std::sync::Arc;

pub(crate) struct Arrival<'a> {
    pub(crate) dispatcher: &'a Arc<Dispatcher>,
    pub(crate) pool: &'a Arc<Pool>,
    /// The connection that it arrived on.
    pub(crate) hop: Hop<'a>,
    pub(crate) method: Method,
    uri: Uri,
    /// The end of a target that is too long for the HTTP library.
    target_end: Option<TargetEnd>,
    /// The session that its cookie names.
    pub(crate) ticket: Option<Ticket>,
    /// The session that was created for it: the response carries its cookie.
    pub(crate) issued: Option<Ticket>,
    /// Priority class.
    pub(crate) class: u8,
    /// A person will look at the response.
    pub(crate) wants_page: bool,
    /// It is for a page, and a redirect to the same address can have it sent again.
    pub(crate) is_repeatable_page: bool,
    /// The visitor uses TLS.
    pub(crate) secure: bool,
    /// Its record in the access log.
    pub(crate) record: Option<Arc<Record>>,
}

impl<'a> Arrival<'a> {
    pub(crate) fn read<B>(
        dispatcher: &'a Arc<Dispatcher>,
        pool: &'a Arc<Pool>,
        request: &Request<B>,
        hop: Hop<'a>,
        wants_page: bool,
    ) -> Arrival<'a> {
        let age = |issued, limit| dispatcher.ages.age(&dispatcher.clock, issued, limit);
        Arrival {
            ticket: cookie::find(request.headers(), &pool.config, &dispatcher.keys, age),
            issued: None,
            class: class(pool, request.headers(), &hop),
            wants_page,
            is_repeatable_page: wants_page && newcomer::can_be_sent_again(request),
            secure: hop.is_secure(request.headers()),
            record: Record::of(request),
            method: request.method().clone(),
            uri: request.uri().clone(),
            target_end: request.extensions().get::<TargetEnd>().cloned(),
            dispatcher,
            pool,
            hop,
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.uri.path()
    }

    /// The dispatcher's own path that it is for, below `/.slotkeeper/`.
    pub(crate) fn own_path(&self) -> Option<&str> {
        self.path().strip_prefix(&*self.pool.own)
    }

    /// The complete target, for the way back from the waiting room.
    pub(crate) fn target(&self) -> String {
        let target = self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        match &self.target_end {
            Some(TargetEnd(end)) => format!("{target}{}", String::from_utf8_lossy(end)),
            None => target.to_owned(),
        }
    }

    /// Adds a session's cookie to a response, which no shared cache may store from then on.
    pub(crate) fn set_cookie(&self, response: &mut Response<ResponseBody>, ticket: &Ticket) {
        let value = cookie::set(&self.pool.config, &self.dispatcher.keys, ticket, self.secure);
        response.headers_mut().append(header::SET_COOKIE, value);
        fields::make_private(response.headers_mut());
    }
}

/// The visitor's priority class, as named by a trusted proxy; otherwise the last class, if the pool uses classes at all.
fn class(pool: &Pool, headers: &HeaderMap, hop: &Hop<'_>) -> u8 {
    let Some(name) = &pool.config.priority_header else { return 0 };
    let named = headers.get(name).filter(|_| hop.is_trusted()).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    named.map_or(9, |class: u8| class.min(9))
}

/// Fields with which libraries mark requests made by scripts.
const SCRIPTS: [&str; 7] =
    ["x-requested-with", "hx-request", "turbo-frame", "x-turbo-request-id", "x-inertia", "x-pjax", "x-up-version"];

/// Whether a person will look at the response. Browsers mark navigations (W3C Fetch Metadata), but not over plain HTTP;
/// there, `Accept` decides.
pub(crate) fn wants_page(method: &Method, headers: &HeaderMap) -> bool {
    if headers.contains_key(header::UPGRADE) {
        return false;
    }
    if let Some(mode) = headers.get("sec-fetch-mode") {
        return mode.as_bytes() == b"navigate";
    }
    let accepts = || {
        headers
            .get_all(header::ACCEPT)
            .iter()
            .any(|v| v.as_bytes().windows(9).any(|w| w.eq_ignore_ascii_case(b"text/html")))
    };
    let is_form = || {
        let content = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let form = |kind: &[u8]| content.get(..kind.len()).is_some_and(|c| c.eq_ignore_ascii_case(kind));
        form(b"application/x-www-form-urlencoded") || form(b"multipart/form-data")
    };
    let reads = method == Method::GET || method == Method::HEAD;
    (reads || *method == Method::POST && is_form())
        && accepts()
        && !SCRIPTS.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::wants_page;
    use http::{HeaderMap, HeaderName, Method};

    #[test]
    fn people_get_pages_and_programs_do_not() {
        let wants = |method, fields: &[(&'static str, &'static str)]| {
            let field =
                |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), value.parse().unwrap());
            wants_page(&method, &fields.iter().map(field).collect::<HeaderMap>())
        };
        let html = ("accept", "text/html,*/*;q=0.8");
        let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        for navigation in [&[("sec-fetch-mode", "navigate"), ("accept", "*/*")][..], &[("sec-fetch-mode", "navigate")]]
        {
            for method in [Method::GET, Method::POST, Method::HEAD] {
                assert!(wants(method, navigation));
            }
        }
        for mode in ["cors", "same-origin", "no-cors", "websocket"] {
            assert!(!wants(Method::GET, &[("sec-fetch-mode", mode), html]), "{mode}");
        }
        assert!(wants(Method::GET, &[html]) && wants(Method::HEAD, &[html]) && wants(Method::POST, &[html, form]));
        assert!(
            !wants(Method::GET, &[("accept", "*/*")]) && !wants(Method::PUT, &[html]) && !wants(Method::POST, &[html])
        );
        for script in ["x-requested-with", "hx-request", "turbo-frame"] {
            assert!(!wants(Method::GET, &[html, (script, "1")]) && !wants(Method::POST, &[html, form, (script, "1")]));
        }
        assert!(!wants(Method::GET, &[html, ("upgrade", "websocket")]));
    }
}
