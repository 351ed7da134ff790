//! The page of a failed request: what happened, and what a visitor can do. Uses the waiting room's style and picture.

use super::answer;
use super::page::{escape, fill_in, picture, policy};
use crate::front::Pool;
use crate::front::error::{Fault, RequestError};
use crate::front::forward::body::ResponseBody;
use http::{Response, StatusCode, header};
use std::fmt::Write;

const TEMPLATE: &str = include_str!("assets/failure.html");

/// Returns the page's headline.
fn headline(status: StatusCode) -> &'static str {
    match status.as_u16() {
        403 => "This is not allowed",
        404 => "Nothing is here",
        405 => "This cannot be done here",
        408 => "This took too long to arrive",
        413 => "This is too large",
        429 => "Too much at once",
        502 | 504 => "Your place did not answer",
        503 => "Not available right now",
        508 => "This goes round in circles",
        400..=499 => "This request was not understood",
        _ => "Something went wrong",
    }
}

/// The text if a pod does not answer. The pod may only be busy, and it holds the visitor's work: the visitor decides.
const SILENT: &str = "The program behind this page is not answering. It may only be busy: try again in a moment, and nothing is \
                      lost. If it stays like this, leave: your place is given up, and you can start again with a fresh one.";

fn is_silent(error: &RequestError) -> bool {
    error.fault == Fault::Pod && error.status == StatusCode::GATEWAY_TIMEOUT
}

pub(crate) fn page(error: &RequestError, pool: Option<&Pool>) -> Response<ResponseBody> {
    let own = pool.map_or(crate::front::endpoints::PREFIX, |pool| &pool.own);
    let mut response = answer(error.status, "text/html; charset=utf-8", html(error, pool, own).into());
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy(pool.map(|pool| &*pool.config)));
    response
}

fn html(error: &RequestError, pool: Option<&Pool>, own: &str) -> String {
    let title = pool.map_or("", |pool| &pool.config.title);
    fill_in(TEMPLATE, |page, name| match name {
        "own" => escape(page, own),
        "picture" => page.push_str(picture()),
        "pool" => escape(page, title),
        "headline" => page.push_str(headline(error.status)),
        "lead" if is_silent(error) && pool.is_some() => page.push_str(SILENT),
        "lead" => {
            let mut letters = error.message.chars();
            let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
            escape(page, &format!("{first}{}.", letters.as_str()));
        }
        "status" => {
            let _ = write!(page, "{}", error.status);
        }
        "to" => escape(page, pool.map_or("/", |pool| &pool.config.path)),
        // Without a pool there is nothing to leave.
        "leave_hidden" if pool.is_none() => page.push_str(" hidden"),
        _ => {}
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::error::Step;

    #[test]
    fn a_failure_page_shows_what_happened_and_offers_to_try_again() {
        for status in [400, 403, 404, 405, 408, 413, 429, 431, 500, 502, 503, 504, 508] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = RequestError::visitor(Step::Route, status, "this & that <failed>");
            let page = html(&error, None, "/.slotkeeper/");
            assert!(page.contains(&format!("<h1 id=\"headline\">{}</h1>", headline(status))), "{page}");
            assert!(page.contains("This &amp; that &lt;failed&gt;.") && page.contains(status.as_str()));
            assert!(page.contains("Try again") && page.contains("<svg") && !page.contains("{{"));
            assert!(page.contains("href=\"/.slotkeeper/room.css\""));
            assert!(!page.contains("<script") && !page.contains("<style") && !page.contains(" style="));
        }
    }
}
