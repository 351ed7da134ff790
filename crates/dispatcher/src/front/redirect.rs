//! Redirects visitors without TLS to https, with the same host, path and query.

use crate::config::TlsListeners;
use crate::front::forward::body::ResponseBody;
use crate::front::forward::headers::Hop;
use crate::front::framed_socket::TargetEnd;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Body;

/// The port of https, which addresses leave out.
const HTTPS: u16 = 443;

/// The response to a request on a listener that only redirects: `308`, so that the method stays.
pub(crate) fn answer(settings: &TlsListeners, request: &Request<impl Body>, hop: &Hop<'_>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Empty);
    match target(settings, request, hop) {
        Ok(location) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(header::LOCATION, location);
        }
        Err(status) => *response.status_mut() = status,
    }
    if !request.body().is_end_stream() || request.headers().contains_key(header::UPGRADE) {
        // The body, or the data after an upgrade, is not read.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn target(settings: &TlsListeners, request: &Request<impl Body>, hop: &Hop<'_>) -> Result<HeaderValue, StatusCode> {
    if request.method() == Method::CONNECT {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let authority = hop.authority(request).ok().flatten().ok_or(StatusCode::BAD_REQUEST)?;
    let port = settings.redirect_port.or_else(|| settings.listen.iter().find_map(|own| Some(own.address()?.port())));
    let mut location = format!("https://{}", authority.host).into_bytes();
    if let Some(port) = port.filter(|port| *port != HTTPS && *port != 0) {
        location.extend(format!(":{port}").bytes());
    }
    let path = request.uri().path_and_query().map_or("/", |target| target.as_str());
    location.extend(if path == "*" { "/" } else { path }.bytes());
    if let Some(TargetEnd(end)) = request.extensions().get() {
        location.extend(end);
    }
    HeaderValue::from_bytes(&location).map_err(|_| StatusCode::BAD_REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Peer;
    use http_body_util::Empty;

    fn redirected(settings: &TlsListeners, host: &str, target: &str) -> (u16, String) {
        let request = Request::get(target).header(header::HOST, host).body(Empty::<&[u8]>::new()).unwrap();
        let hop = Hop::from(Peer::at(([192, 0, 2, 1], 1234).into()));
        let response = answer(settings, &request, &hop);
        let location = response.headers().get(header::LOCATION).map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), location.unwrap_or_default())
    }

    #[test]
    fn host_path_and_query_stay_and_the_port_is_that_of_tls() {
        let at = |port: u16| TlsListeners {
            listen: vec![std::net::SocketAddr::from(([0, 0, 0, 0], port)).into()],
            ..TlsListeners::default()
        };
        let to = |location: &str| (308, location.to_owned());
        assert_eq!(redirected(&at(443), "Play.example:80", "/a/b?c=d&e"), to("https://play.example/a/b?c=d&e"));
        assert_eq!(redirected(&at(8443), "play.example", "/"), to("https://play.example:8443/"));
        assert_eq!(redirected(&at(8443), "[::1]:8080", "/?x"), to("https://[::1]:8443/?x"));
        assert_eq!(redirected(&at(443), "play.example", "//evil.example/"), to("https://play.example//evil.example/"));
        assert_eq!(redirected(&at(443), "play.example", "http://play.example/x"), to("https://play.example/x"));
        let public = TlsListeners { redirect_port: Some(443), ..at(8443) };
        assert_eq!(redirected(&public, "play.example", "/"), to("https://play.example/"));
        for host in ["evil.example/", "a b", "", "user@evil.example"] {
            assert_eq!(redirected(&at(443), host, "/"), (400, String::new()), "{host}");
        }
    }
}
