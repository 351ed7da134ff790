//! The chat's page and its assets, built into the binary.

use bytes::Bytes;
use http::StatusCode;

use crate::answer::{Answer, answer, escape};

const INDEX: &str = include_str!("page/index.html");

/// Returns the asset for the last part of a path. `dispatcher`: the path of the dispatcher's own pages, empty without one.
/// `across`: the chat reaches other pods.
pub(super) fn find(name: &str, dispatcher: &str, pod: &str, across: bool) -> Option<Answer> {
    let (kind, body) = match name {
        "" | "index.html" => {
            let scope = if across { "pods" } else { "pod" };
            let page = INDEX.replace("{scope}", scope);
            let page = page.replace("{dispatcher}", &escape(dispatcher)).replace("{pod}", &escape(pod));
            ("text/html; charset=utf-8", Bytes::from(page))
        }
        "style.css" => ("text/css; charset=utf-8", Bytes::from_static(include_bytes!("page/style.css"))),
        "chat.js" => ("text/javascript; charset=utf-8", Bytes::from_static(include_bytes!("page/chat.js"))),
        "outbox.js" => ("text/javascript; charset=utf-8", Bytes::from_static(include_bytes!("page/outbox.js"))),
        // The dispatcher's file, so that the page also works without a dispatcher.
        "client.js" => (
            "text/javascript; charset=utf-8",
            Bytes::from_static(include_bytes!("../../../dispatcher/src/client/client.js")),
        ),
        "icon.svg" => ("image/svg+xml", Bytes::from_static(include_bytes!("page/icon.svg"))),
        _ => return None,
    };
    Some(answer(StatusCode::OK, kind, body))
}
