//! Connections, tokens, arguments, faults.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{Context, SHA256};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use axum::serve::Listener;
use futures_util::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::files::{act, of_file, scope, wanted};
use super::spec::{Refused, summary, union};
use super::{
    APP_KEY, APP_SECRET, BEGINNING_S, BLOCK, Bytes, Fake, Fault, Got, Kept, NAMESPACE,
    REFRESH_TOKEN,
};

/// Connections over TLS; one that stalls in its handshake holds nobody up.
struct Tls(mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>, SocketAddr);

impl Tls {
    async fn bind(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(config);
            while let Ok((stream, from)) = listener.accept().await {
                if sender.is_closed() {
                    break;
                }
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = sender.send((stream, from)).await;
                    }
                });
            }
        });
        Self(receiver, address)
    }
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.0.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.1)
    }
}

impl Fake {
    /// One that knows the app and its refresh token, and has all scopes.
    pub(crate) async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let kept = Arc::new(Mutex::new(Kept {
            now_s: BEGINNING_S,
            refresh_tokens: [REFRESH_TOKEN.to_owned()].into(),
            token_life_s: 14_400,
            scopes: ["files.metadata.read", "files.content.read", "files.content.write"].into(),
            space_bytes: usize::MAX / 2,
            after_commit: "not_found",
            ..Kept::default()
        }));
        let config = Arc::new(config);
        let (mut ports, mut tasks) = (Vec::new(), Vec::new());
        for is_content in [false, true] {
            let listener = Tls::bind(config.clone()).await;
            ports.push(listener.1.port());
            let router = Router::new().fallback(receive).with_state((kept.clone(), is_content));
            tasks.push(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
        }
        let (api_port, content_port) = (ports[0], ports[1]);
        Self { kept, api_port, content_port, authority: authority.pem(), tasks }
    }
}

type Shared = Arc<Mutex<Kept>>;

async fn receive(
    State((kept, is_content)): State<(Shared, bool)>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let route = parts.uri.path().trim_start_matches("/2/").trim_start_matches('/').to_owned();
    let fault = next_fault(&kept, &route);
    if let Some(Fault::Hang) = fault {
        return std::future::pending().await;
    }
    if let Some(Fault::AnswerEarly(status, body)) = fault {
        let headers = [("connection", "close".to_owned())];
        return answer(&kept, status, &headers, body);
    }
    if let Some(Fault::Expire) = fault {
        kept.lock().unwrap().access.values_mut().for_each(|expires| *expires = 0);
    }
    let is_upload = is_content && route != "files/download";
    let alters = matches!(fault, Some(Fault::Alter));
    let (mut bytes, is_cut) = take(&kept, body, alters, !is_upload).await;
    let result = judge(&kept, is_content, &route, &parts.headers, &mut bytes);
    if let Ok(argument) = &result {
        let (route, argument) = (route.clone(), argument.clone());
        let length = if is_upload { bytes.length } else { 0 };
        kept.lock().unwrap().got.push(Got { route, argument, bytes: length });
    }
    if let Some(Fault::Answer(status, headers, body)) = fault {
        return answer(&kept, status, &headers, body);
    }
    if route == "oauth2/token" {
        return token(&kept, &bytes.kept);
    }
    let acted = result.and_then(|argument| {
        if let Some(Fault::ForgetSession) = fault {
            kept.lock().unwrap().sessions.clear();
        }
        if route == "files/download" {
            return download(&kept, &argument, &parts.headers);
        }
        let mut acted = act(&mut kept.lock().unwrap(), &route, &argument, bytes, is_cut)?;
        if let Some(Fault::Lie) = fault {
            acted["content_hash"] = json!("0".repeat(64));
        }
        Ok(answer(&kept, 200, &[], acted.to_string()))
    });
    acted.unwrap_or_else(|refused| refuse(&kept, refused))
}

fn next_fault(kept: &Shared, route: &str) -> Option<Fault> {
    let mut kept = kept.lock().unwrap();
    let at = kept.faults.iter().position(|(of, _)| *of == route)?;
    kept.faults.remove(at).map(|(_, fault)| fault)
}

/// Takes a body in, and says whether it was cut.
async fn take(kept: &Shared, body: Body, alters: bool, keeps: bool) -> (Bytes, bool) {
    let keeps = keeps || !kept.lock().unwrap().keeps_hashes_only;
    let (mut taken, mut block, mut in_block) = (Bytes::default(), Context::new(&SHA256), 0);
    let mut stream = body.into_data_stream();
    let mut is_cut = false;
    while let Some(piece) = stream.next().await {
        let Ok(piece) = piece else {
            is_cut = true;
            break;
        };
        let mut piece = piece.to_vec();
        if alters && taken.length == 0 {
            piece[0] ^= 1;
        }
        taken.length += piece.len();
        if keeps {
            taken.kept.extend(&piece);
        }
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let (now, after) = rest.split_at(rest.len().min(BLOCK - in_block));
            block.update(now);
            in_block += now.len();
            if in_block == BLOCK {
                let whole = std::mem::replace(&mut block, Context::new(&SHA256));
                taken.blocks.extend(whole.finish().as_ref());
                in_block = 0;
            }
            rest = after;
        }
    }
    if in_block > 0 {
        taken.blocks.extend(block.finish().as_ref());
    }
    (taken, is_cut)
}

/// Checks who asks and how; answers the argument.
fn judge(
    kept: &Shared,
    is_content: bool,
    route: &str,
    headers: &HeaderMap,
    bytes: &mut Bytes,
) -> Result<Value, Refused> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bad =
        |text: &str| Err(Refused::Bad(format!("Error in call to API function {route:?}: {text}")));
    if route == "oauth2/token" {
        return Ok(Value::Null);
    }
    let kept = kept.lock().unwrap();
    let Some(token) = header("authorization").and_then(|value| value.strip_prefix("Bearer "))
    else {
        return bad("must provide HTTP header \"Authorization\"");
    };
    match kept.access.get(token) {
        None => return Err(Refused::Auth(union(&["invalid_access_token"], &json!({})))),
        Some(expires) if *expires <= kept.now_s => {
            return Err(Refused::Auth(union(&["expired_access_token"], &json!({}))));
        }
        Some(_) => {}
    }
    let Some(scope) = scope(route) else { return bad("unknown API function") };
    if !kept.scopes.contains(scope) {
        let members = json!({ "required_scope": scope });
        return Err(Refused::Auth(union(&["missing_scope"], &members)));
    }
    if let Some(root) = header("dropbox-api-path-root") {
        let root: Value = serde_json::from_str(root).unwrap_or_default();
        if root != json!({ ".tag": "namespace_id", "namespace_id": NAMESPACE }) {
            return Err(Refused::Root);
        }
    }
    let is_for_content = !matches!(route, "files/get_metadata" | "files/delete_v2");
    if is_for_content != is_content {
        return bad("this route is at another host");
    }
    let content_type = header("content-type").unwrap_or_default();
    let text = if is_content {
        if content_type != "application/octet-stream" {
            return bad("bad HTTP \"Content-Type\" header");
        }
        match headers.get("dropbox-api-arg") {
            Some(value) if value.as_bytes().iter().all(|b| (0x20..0x7f).contains(b)) => {
                value.as_bytes().to_vec()
            }
            Some(_) => return bad("HTTP header \"Dropbox-API-Arg\": not ASCII"),
            None => return bad("must provide HTTP header \"Dropbox-API-Arg\""),
        }
    } else {
        if content_type != "application/json" {
            return bad("bad HTTP \"Content-Type\" header");
        }
        std::mem::take(&mut bytes.kept)
    };
    match serde_json::from_slice(&text) {
        Ok(argument) => Ok(argument),
        Err(_) => bad("could not decode input as JSON"),
    }
}

/// `oauth2/token`, as the OAuth guide has it.
fn token(kept: &Shared, form: &[u8]) -> Response<Body> {
    let form: std::collections::HashMap<String, String> =
        form_urlencoded::parse(form).into_owned().collect();
    let of = |name: &str| form.get(name).map(String::as_str);
    let (made, life_s) = {
        let mut kept = kept.lock().unwrap();
        let is_known = of("client_id") == Some(APP_KEY)
            && (kept.is_pkce || of("client_secret") == Some(APP_SECRET));
        if of("grant_type") != Some("refresh_token") {
            (Err(("unsupported_grant_type", "grant_type")), 0)
        } else if !is_known {
            (Err(("invalid_client: Invalid client_id or client_secret", "")), 0)
        } else if !of("refresh_token").is_some_and(|token| kept.refresh_tokens.contains(token)) {
            (Err(("invalid_grant", "refresh token is invalid or revoked")), 0)
        } else {
            kept.tokens_made += 1;
            let token = format!("sl.access-{}", kept.tokens_made);
            let expires = kept.now_s + kept.token_life_s;
            kept.access.insert(token.clone(), expires);
            (Ok(token), kept.token_life_s)
        }
    };
    match made {
        Ok(token) => {
            let body =
                json!({ "access_token": token, "token_type": "bearer", "expires_in": life_s });
            answer(kept, 200, &[], body.to_string())
        }
        Err((error, description)) => {
            let body = json!({ "error": error, "error_description": description });
            answer(kept, 400, &[], body.to_string())
        }
    }
}

fn download(
    kept: &Shared,
    argument: &Value,
    headers: &HeaderMap,
) -> Result<Response<Body>, Refused> {
    let file = wanted(&kept.lock().unwrap(), argument)?;
    let content = file.bytes.kept.clone();
    let result = ("dropbox-api-result", of_file(&file).to_string());
    let Some(range) = headers.get("range").and_then(|range| range.to_str().ok()) else {
        return Ok(answer_bytes(kept, 200, &[result], content));
    };
    let (first, last) =
        range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).unwrap();
    let size = content.len();
    let (first, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, size.min(last + 1)),
        (Ok(first), Err(_)) => (first, size),
        (Err(_), Ok(last)) => (size.saturating_sub(last), size),
        _ => return Err(Refused::Bad("range".into())),
    };
    if first >= end {
        return Ok(answer_bytes(
            kept,
            416,
            &[("content-range", format!("bytes */{size}"))],
            Vec::new(),
        ));
    }
    let part = format!("bytes {first}-{}/{size}", end - 1);
    let headers = [result, ("content-range", part)];
    Ok(answer_bytes(kept, 206, &headers, content[first..end].to_vec()))
}

fn refuse(kept: &Shared, refused: Refused) -> Response<Body> {
    let with = |status, error: Value| {
        let body = json!({ "error_summary": summary(&error), "error": error });
        answer(kept, status, &[], body.to_string())
    };
    match refused {
        Refused::Bad(text) => answer(kept, 400, &[], text),
        Refused::Cut => answer(kept, 408, &[], String::new()),
        Refused::Auth(error) => with(401, error),
        Refused::Root => with(422, union(&["no_permission"], &json!({}))),
        Refused::Endpoint(error) => with(409, error),
    }
}

fn answer(
    kept: &Shared,
    status: u16,
    headers: &[(&'static str, String)],
    body: String,
) -> Response<Body> {
    answer_bytes(kept, status, headers, body.into_bytes())
}

fn answer_bytes(
    kept: &Shared,
    status: u16,
    headers: &[(&'static str, String)],
    body: Vec<u8>,
) -> Response<Body> {
    let now = jiff::Timestamp::from_second(kept.lock().unwrap().now_s).unwrap();
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut response = Response::builder().status(status).header("date", date);
    for (name, value) in headers {
        let ascii: String = value.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
        response = response.header(*name, ascii);
    }
    response.body(Body::from(body)).unwrap()
}
