//! The browser's part: the recorder that other sites embed, and this node's own pages.
//!
//! Everything is compiled in; nothing is read from disk. The modules under `/recorder/v1/` may be
//! loaded by any site (a foreign page needs that for a module script), everything else only by this
//! node's own pages. No page needs inline scripts or styles, and the policy allows none.

use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'self'";
const PERMISSIONS: &str = "camera=(self), microphone=(self), display-capture=(self), \
    geolocation=(), payment=(), usb=()";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Who may load an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Pages of this node.
    Own,
    /// Any page, as a module script.
    Any,
}

#[derive(Debug)]
struct Asset {
    path: &'static str,
    content_type: &'static str,
    reach: Reach,
    body: &'static [u8],
}

macro_rules! assets {
    ($($path:literal $content_type:ident $reach:ident $file:literal)*) => {
        &[$(Asset {
            path: $path,
            content_type: $content_type,
            reach: Reach::$reach,
            body: include_bytes!(concat!("assets/", $file)),
        }),*]
    };
}

static ASSETS: &[Asset] = assets! {
    "/" HTML Own "pages/index.html"
    "/recordings" HTML Own "pages/recordings.html"
    "/evidence" HTML Own "pages/evidence.html"
    "/recorder/v1/capture.js" SCRIPT Any "recorder/capture.js"
    "/recorder/v1/connection.js" SCRIPT Any "recorder/connection.js"
    "/recorder/v1/dom.js" SCRIPT Any "recorder/dom.js"
    "/recorder/v1/holdfast-recorder.js" SCRIPT Any "recorder/holdfast-recorder.js"
    "/recorder/v1/outcome.js" SCRIPT Any "recorder/outcome.js"
    "/recorder/v1/problems.js" SCRIPT Any "recorder/problems.js"
    "/recorder/v1/result.js" SCRIPT Any "recorder/result.js"
    "/recorder/v1/session.js" SCRIPT Any "recorder/session.js"
    "/recorder/v1/store.js" SCRIPT Any "recorder/store.js"
    "/recorder/v1/styles.js" SCRIPT Any "recorder/styles.js"
    "/recorder/v1/transport.js" SCRIPT Any "recorder/transport.js"
    "/recorder/v1/upload.js" SCRIPT Any "recorder/upload.js"
    "/recorder/v1/view.js" SCRIPT Any "recorder/view.js"
    "/assets/api.js" SCRIPT Own "pages/api.js"
    "/assets/card.js" SCRIPT Own "pages/card.js"
    "/assets/evidence.js" SCRIPT Own "pages/evidence.js"
    "/assets/key.js" SCRIPT Own "pages/key.js"
    "/assets/dialogs.js" SCRIPT Own "pages/dialogs.js"
    "/assets/filters.js" SCRIPT Own "pages/filters.js"
    "/assets/node.js" SCRIPT Own "pages/node.js"
    "/assets/outlook.js" SCRIPT Own "pages/outlook.js"
    "/assets/player.js" SCRIPT Own "pages/player.js"
    "/assets/record.js" SCRIPT Own "pages/record.js"
    "/assets/recordings.js" SCRIPT Own "pages/recordings.js"
    "/assets/selftest.js" SCRIPT Own "pages/selftest.js"
    "/assets/page.css" STYLE Own "pages/page.css"
    "/assets/recordings.css" STYLE Own "pages/recordings.css"
    "/assets/evidence.css" STYLE Own "pages/evidence.css"
    "/assets/mark.svg" SVG Own "pages/mark.svg"
};

/// The strong `ETag` of each asset, in the order of [`ASSETS`]; computed once.
static TAGS: LazyLock<Vec<HeaderValue>> =
    LazyLock::new(|| ASSETS.iter().map(|asset| tag(asset.body)).collect());

/// Serves the pages and the recorder. Needs no state of its own.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().enumerate().fold(Router::new(), |router, (index, asset)| {
        router.route(
            asset.path,
            get(move |headers: HeaderMap| async move { serve(index, asset, &headers) }),
        )
    })
}

fn serve(index: usize, asset: &'static Asset, request: &HeaderMap) -> Response {
    let tag = &TAGS[index];
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CACHE_CONTROL, "no-cache");
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("permissions-policy"), PERMISSIONS);
    let resources = HeaderName::from_static("cross-origin-resource-policy");
    match asset.reach {
        Reach::Own => set(resources, "same-origin"),
        Reach::Any => {
            set(resources, "cross-origin");
            set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        }
    }
    headers.insert(header::ETAG, tag.clone());
    if is_known(request, tag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    (headers, asset.body).into_response()
}

/// Whether the client says that it has this version already (RFC 9110, section 13.1.2).
fn is_known(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let wanted = tag.as_bytes();
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == wanted)
}

fn tag(body: &[u8]) -> HeaderValue {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    let text = digest.as_ref()[..16].iter().fold(String::from("\""), |text, byte| {
        let nibble = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
        text + &String::from_iter([nibble(byte >> 4), nibble(byte & 15)])
    });
    HeaderValue::try_from(text + "\"").unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(path: &str) -> (usize, &'static Asset) {
        ASSETS.iter().enumerate().find(|(_, asset)| asset.path == path).unwrap()
    }

    #[test]
    fn only_the_recorder_may_be_loaded_by_other_sites() {
        for (index, asset) in ASSETS.iter().enumerate() {
            let answer = serve(index, asset, &HeaderMap::new());
            let open = answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(open, asset.path.starts_with("/recorder/v1/"), "{}", asset.path);
            assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(answer.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        }
    }

    #[test]
    fn what_a_browser_has_already_is_not_sent_again() {
        let (index, page) = asset("/");
        let first = serve(index, page, &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let mut request = HeaderMap::new();
        request.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(serve(index, page, &request).status(), StatusCode::NOT_MODIFIED);
        let other = asset("/recordings");
        assert_eq!(serve(other.0, other.1, &request).status(), StatusCode::OK);
    }

    #[test]
    fn pages_have_no_inline_scripts_or_styles() {
        for asset in ASSETS.iter().filter(|asset| asset.content_type == HTML) {
            let text = std::str::from_utf8(asset.body).unwrap();
            assert!(!text.contains("style=") && !text.contains("<style"), "{}", asset.path);
            assert!(!text.contains("onclick="), "{}", asset.path);
            assert_eq!(
                text.matches("<script").count(),
                text.matches("<script type=\"module\" src=").count()
            );
        }
    }

    #[test]
    fn every_import_leads_to_an_asset() {
        let folder = |path: &str| path[..path.rfind('/').unwrap()].to_owned();
        for asset in ASSETS.iter().filter(|asset| asset.content_type == SCRIPT) {
            let text = std::str::from_utf8(asset.body).unwrap();
            for line in text.lines().filter(|line| line.starts_with("import ")) {
                let target = line.split('\'').nth(1).unwrap();
                let path = target.strip_prefix("./").map_or_else(
                    || target.to_owned(),
                    |name| format!("{}/{name}", folder(asset.path)),
                );
                assert!(ASSETS.iter().any(|a| a.path == path), "{}: {line}", asset.path);
            }
        }
    }
}
