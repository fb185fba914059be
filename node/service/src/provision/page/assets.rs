//! What the page is made of, compiled in, and the headers of every answer.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Nothing but this page's own files, no form that a browser sends by itself, in no other page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($file:literal) => {
        include_str!(concat!("../../web/assets/", $file))
    };
}

const ASSETS: &[(&str, &str, &str)] = &[
    ("/", HTML, asset!("setup/index.html")),
    ("/assets/setup.js", SCRIPT, asset!("setup/setup.js")),
    ("/assets/setup.css", STYLE, asset!("setup/setup.css")),
    ("/assets/page.css", STYLE, asset!("pages/page.css")),
    ("/assets/mark.svg", SVG, asset!("pages/mark.svg")),
    ("/recorder/v1/dom.js", SCRIPT, asset!("recorder/dom.js")),
];

pub(super) fn router() -> Router {
    ASSETS.iter().fold(Router::new(), |router, (path, content_type, body)| {
        let serve = || async { ([(header::CONTENT_TYPE, *content_type)], *body).into_response() };
        router.route(path, get(serve))
    })
}

/// Headers of every answer.
pub(super) async fn guard(mut response: Response) -> Response {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), microphone=(), geolocation=(), usb=()",
        ),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nothing_inline_and_asks_for_nothing_else() {
        let (_, _, page) = ASSETS[0];
        assert!(!page.contains("style=") && !page.contains("<style") && !page.contains("onclick="));
        assert_eq!(
            page.matches("<script").count(),
            page.matches("<script type=\"module\" src=").count()
        );
        for part in page.split(['"', '\'']).filter(|part| part.starts_with('/')) {
            assert!(ASSETS.iter().any(|(path, ..)| *path == part), "{part}");
        }
    }
}
