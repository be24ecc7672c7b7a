//! Plain HTTP on the relay's URL: the information document (NIP-11), a page for browsers, CORS.

mod information;
mod landing;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{self, HeaderValue},
};

pub use self::information::limitation;
use crate::Options;

pub(crate) type Body = Full<Bytes>;

const NOSTR_JSON: &str = "application/nostr+json";

/// Answers a request that isn't an upgrade.
pub(crate) fn respond<T>(request: &Request<T>, options: &Options) -> Response<Body> {
    match *request.method() {
        Method::OPTIONS => with_cors(empty(StatusCode::NO_CONTENT)),
        Method::GET | Method::HEAD if accepts_document(request.headers()) => {
            with_cors(content(NOSTR_JSON, information::document(options)))
        }
        Method::GET | Method::HEAD => {
            let host = request
                .headers()
                .get(header::HOST)
                .and_then(|host| host.to_str().ok());
            let page = landing::page(options, host);
            with_cors(content("text/html; charset=utf-8", page))
        }
        _ => {
            let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
            let allow = HeaderValue::from_static("GET, HEAD, OPTIONS");
            response.headers_mut().insert(header::ALLOW, allow);
            response
        }
    }
}

/// Whether `Accept` lists the document's type: among others, in any case, with parameters (R11-1).
fn accepts_document(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(is_document_type)
}

fn is_document_type(entry: &str) -> bool {
    let mut parts = entry.split(';').map(str::trim);
    let named = parts
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case(NOSTR_JSON));
    // A quality of 0 says "not this one" (RFC 9110 §12.4.2).
    let refused = parts.any(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else {
            return false;
        };
        name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0_f32)
    });
    named && !refused
}

fn with_cors(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    let any = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Accept, Authorization, Content-Type"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, OPTIONS, POST"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn content(content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let value = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// A one-line plain text response.
pub(crate) fn error(status: StatusCode, reason: &str) -> Response<Body> {
    let mut response = content("text/plain; charset=utf-8", format!("{reason}\n"));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, document: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        assert_eq!(accepts_document(&headers), document);
    }

    #[test]
    fn the_document_is_chosen_whenever_it_is_listed() {
        check("application/nostr+json", true);
        check("Application/Nostr+JSON", true);
        check("text/html, application/nostr+json;q=0.5", true);
        check("application/nostr+json; charset=utf-8, */*", true);
        check("application/nostr+json;q=0, */*", false);
        check("*/*", false);
        check("application/json", false);
    }
}
