//! The page and its assets, built into the binary.

use bytes::Bytes;
use http::StatusCode;

use crate::answer::{Answer, answer, escape};

const INDEX: &str = include_str!("page/index.html");
/// The same file that the dispatcher serves, so that a console also works without one.
const CLIENT: &[u8] = include_bytes!("../../../dispatcher/src/client/client.js");

/// Returns the asset for the last part of a path. `dispatcher`: the path of the dispatcher's own pages, where the page can
/// offer to leave; empty without one.
pub(crate) fn find(name: &str, dispatcher: &str, pod: &str) -> Option<Answer> {
    let (kind, body) = match name {
        "" | "index.html" => {
            let page = INDEX.replace("{dispatcher}", &escape(dispatcher)).replace("{pod}", &escape(pod));
            ("text/html; charset=utf-8", Bytes::from(page))
        }
        "style.css" => ("text/css; charset=utf-8", Bytes::from_static(include_bytes!("page/style.css"))),
        "console.js" => ("text/javascript; charset=utf-8", Bytes::from_static(include_bytes!("page/console.js"))),
        "screen.js" => ("text/javascript; charset=utf-8", Bytes::from_static(include_bytes!("page/screen.js"))),
        "input.js" => ("text/javascript; charset=utf-8", Bytes::from_static(include_bytes!("page/input.js"))),
        "connection.js" => ("text/javascript; charset=utf-8", Bytes::from_static(include_bytes!("page/connection.js"))),
        "client.js" => ("text/javascript; charset=utf-8", Bytes::from_static(CLIENT)),
        "icon.svg" => ("image/svg+xml", Bytes::from_static(include_bytes!("page/icon.svg"))),
        _ => return None,
    };
    Some(answer(StatusCode::OK, kind, body))
}
