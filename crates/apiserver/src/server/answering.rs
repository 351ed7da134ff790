//! One request and its answer: rights, then faults, then the API; and the HTTP around them.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::stream::Stream;
use super::{Body, Server};
use crate::api::{self, Answer, Headers};
use crate::request::RequestLine;
use crate::{Status, discovery};

impl Server {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return refused(&Status::bad_request("the body ended early"));
        };
        self.wait_while(|state| state.faults.hang).await;
        let body = body.to_bytes();
        let waiting = Waiting::new(self, &head);
        let late = self.lock().faults.late_writes;
        let response = if late.is_zero() || matches!(head.method, Method::GET | Method::HEAD) {
            self.respond(&head, &body).await
        } else {
            let server = self.clone();
            let done = tokio::spawn(async move {
                tokio::time::sleep(late).await;
                server.respond(&head, &body).await
            });
            done.await.unwrap_or_else(|_| refused(&Status::trouble(500, None)))
        };
        let delay = self.lock().faults.delay_answers;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        waiting.answered();
        response
    }

    async fn respond(&self, head: &http::request::Parts, body: &[u8]) -> Response<Body> {
        let path = head.uri.path();
        let asked = RequestLine::read(&head.method, path, head.uri.query());
        let line = format!("{} {}", head.method, head.uri.path_and_query().map_or(path, |whole| whole.as_str()));
        let patience = tokio::time::Instant::now() + Duration::from_secs(3);
        let outcome = loop {
            let seen = *self.inner.changed.borrow();
            let outcome = self.attempt(&head.headers, asked.as_ref(), path, body);
            // The version may still be reached: a real server waits three seconds for it.
            match &outcome {
                Err(status) if status.message.starts_with("Timeout: Too large resource version") => {
                    if tokio::time::timeout_at(patience, self.changed(seen)).await.is_err() {
                        break outcome;
                    }
                }
                Ok(_) | Err(_) => break outcome,
            }
        };
        let code = match &outcome {
            Ok(Outcome::Plain(_)) => 200,
            Ok(Outcome::Api(Answer::Json(code, _))) => *code,
            Ok(Outcome::Api(Answer::Watch(_))) => 200,
            Err(status) => status.code,
        };
        let now = self.now();
        self.lock().records.add(now, asked.as_ref(), line, code);
        match outcome {
            Ok(Outcome::Plain(text)) => response(200, "text/plain; charset=utf-8", full(text)),
            Ok(Outcome::Api(Answer::Json(code, bytes))) => response(code, "application/json", full(bytes)),
            Ok(Outcome::Api(Answer::Watch(watching))) => {
                response(200, "application/json", Stream::open(self.clone(), *watching).into_body())
            }
            Err(status) => refused(&status),
        }
    }

    /// Checks rights, then faults, then calls the API.
    fn attempt(
        &self,
        headers: &HeaderMap,
        asked: Option<&RequestLine>,
        path: &str,
        body: &[u8],
    ) -> Result<Outcome, Status> {
        let text =
            |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let now = self.now();
        let mut state = self.lock();
        let bearer = text(header::AUTHORIZATION).strip_prefix("Bearer ");
        if !self.trusts && state.token.is_some() && bearer != state.token.as_deref() {
            return Err(Status::unauthorized());
        }
        if discovery::is_health(path) {
            return Ok(Outcome::Plain("ok".to_owned().into_bytes()));
        }
        if let Some(document) = discovery::document(path) {
            return Ok(Outcome::Api(Answer::Json(200, document.to_string().into_bytes())));
        }
        let asked = asked.ok_or_else(Status::no_such_path)?;
        let resource = asked.resource();
        let wanted = asked.wanted(&resource);
        if let Some(access) = &state.access
            && !self.trusts
            && !access.allows(wanted)
        {
            let RequestLine { verb, group, namespace, name, .. } = asked;
            return Err(Status::forbidden(&access.user, verb, group, &resource, namespace.as_deref(), name.as_deref()));
        }
        let refusal = state.faults.take_refusal(asked.verb, &resource);
        let trouble = refusal.as_ref().map(|refusal| Status::trouble(refusal.code, refusal.retry_after_seconds));
        if let (Some(trouble), Some(false)) = (&trouble, refusal.as_ref().map(|refusal| refusal.done)) {
            return Err(trouble.clone());
        }
        let headers = Headers {
            accept: text(header::ACCEPT),
            content_type: text(header::CONTENT_TYPE),
            user_agent: text(header::USER_AGENT),
        };
        let before = state.store.version();
        let answer = api::answer(&mut state.store, now, asked, headers, body);
        let written = state.store.version() != before;
        drop(state);
        if written {
            self.tell();
        }
        match trouble {
            Some(trouble) => Err(trouble),
            None => answer.map(Outcome::Api),
        }
    }
}

/// A client that waits for its answer. If this is dropped before `answered`, the client has disconnected.
struct Waiting {
    server: Server,
    verb: &'static str,
    is_answered: bool,
}

impl Waiting {
    fn new(server: &Server, head: &http::request::Parts) -> Waiting {
        let asked = RequestLine::read(&head.method, head.uri.path(), head.uri.query());
        Waiting { server: server.clone(), verb: asked.map_or("other", |asked| asked.verb), is_answered: false }
    }

    fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_answered {
            *self.server.lock().records.given_up.entry(self.verb.to_owned()).or_default() += 1;
        }
    }
}

enum Outcome {
    Plain(Vec<u8>),
    Api(Answer),
}

fn refused(status: &Status) -> Response<Body> {
    let mut text = status.to_value().to_string().into_bytes();
    text.push(b'\n');
    let mut response = response(status.code, "application/json", full(text));
    if let Some(seconds) = status.retry_after_seconds() {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn response(code: u16, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never: Infallible| match never {}).boxed_unsync()
}
