//! A customer's server: a real one, which notes what it is sent and answers as a test wants.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use axum::serve::Listener;
use futures_util::stream;
use holdfast_core::RecordingId;
use serde_json::Value;
use tokio::net::TcpListener;

/// A request.
#[derive(Debug, Clone)]
pub struct Got {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The JSON of either format.
    pub fn json(&self) -> Value {
        let json = match self.header("content-type") {
            "application/json" => self.body.to_vec(),
            _ => {
                let field = form_urlencoded::parse(&self.body).next().unwrap();
                assert_eq!(field.0, "payload");
                field.1.into_owned().into_bytes()
            }
        };
        serde_json::from_slice(&json).unwrap()
    }

    pub fn event(&self) -> String {
        self.json()["event"].as_str().unwrap().to_owned()
    }

    pub fn recording(&self) -> String {
        self.json()["data"]["id"].as_str().unwrap_or_default().to_owned()
    }
}

/// What a request is answered with.
pub enum Reply {
    Status(u16, &'static str),
    /// Nothing, ever.
    Hang,
    /// A redirect to the same address.
    Redirect,
    /// A status, and for how long it wants to be left alone.
    RetryAfter(u16, String),
    /// 200, and bytes without end.
    Flood,
    /// 200, and a byte now and then, without end.
    Drip,
}

type Heard = Arc<Mutex<Vec<Got>>>;

/// Requests that hang now, and the most that did at once.
type Open = Arc<Mutex<(usize, usize)>>;

/// A request that hangs, until its client goes away.
struct Hanging(Open);

impl Hanging {
    fn new(open: &Open) -> Self {
        let mut now = open.lock().unwrap();
        now.0 += 1;
        now.1 = now.1.max(now.0);
        Self(Arc::clone(open))
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.lock().unwrap().0 -= 1;
    }
}

type Answers = Arc<Mutex<Box<dyn FnMut(&Got) -> Reply + Send>>>;

/// A server that runs for as long as there is one of these.
pub struct Receiver {
    pub address: SocketAddr,
    got: Heard,
    answers: Answers,
    open: Open,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// A server that answers 200.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::at(listener).await
    }

    /// The same at a listener of another kind.
    pub async fn at<L: Listener<Addr = SocketAddr>>(listener: L) -> Self {
        let address = listener.local_addr().unwrap();
        let got = Heard::default();
        let open = Open::default();
        let answers: Answers = Arc::new(Mutex::new(Box::new(|_| Reply::Status(200, "thanks"))));
        let router = Router::new().fallback(receive).with_state((
            Arc::clone(&got),
            Arc::clone(&answers),
            Arc::clone(&open),
        ));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, got, answers, open, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks?token=t", self.address)
    }

    /// From now on it answers like this.
    pub fn answers(&self, answer: impl FnMut(&Got) -> Reply + Send + 'static) {
        *self.answers.lock().unwrap() = Box::new(answer);
    }

    /// Most requests that hung at once.
    pub fn at_once_max(&self) -> usize {
        self.open.lock().unwrap().1
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// The events of a recording that it was sent, in order.
    pub fn events(&self, id: RecordingId) -> Vec<String> {
        let id = id.to_string();
        self.got().iter().filter(|got| got.recording() == id).map(Got::event).collect()
    }

    /// Waits until it was sent so many requests.
    pub async fn has(&self, count: usize) -> Vec<Got> {
        until("the receiver to be sent enough", || {
            let got = self.got();
            (got.len() >= count).then_some(got)
        })
        .await
    }
}

async fn receive(
    State((got, answers, open)): State<(Heard, Answers, Open)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let request = Got { path: uri.to_string(), headers, body };
    let reply = (answers.lock().unwrap())(&request);
    got.lock().unwrap().push(request);
    let response = Response::builder();
    match reply {
        Reply::Status(status, text) => response.status(status).body(Body::from(text)).unwrap(),
        Reply::Hang => {
            let _hanging = Hanging::new(&open);
            std::future::pending().await
        }
        Reply::Redirect => {
            response.status(307).header("location", uri.to_string()).body(Body::empty()).unwrap()
        }
        Reply::RetryAfter(status, wait) => {
            response.status(status).header("retry-after", wait).body(Body::empty()).unwrap()
        }
        Reply::Flood => {
            let chunk = Bytes::from(vec![b'x'; 64 << 10]);
            let chunks = stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
            response.body(Body::from_stream(chunks)).unwrap()
        }
        Reply::Drip => {
            let drops = stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b".")), ()))
            });
            response.body(Body::from_stream(drops)).unwrap()
        }
    }
}

/// Waits until something is so, for as long as a busy machine may take.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6_000 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited too long for {what}");
}
