//! What a node refuses, how it says so, and that nothing of it stays.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use holdfast_tests::http::problem;
use holdfast_tests::media::webm_noise;
use holdfast_tests::mount::Disk;
use holdfast_tests::tools::files_under;
use holdfast_tests::{Environment, Node, Settings, Stream, until};
use reqwest::{Body, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn raw() -> Settings {
    Settings::new().environment(Environment::raw_only("raw"))
}

/// A body of unknown length, in pieces.
fn chunked(bytes: &[u8]) -> Body {
    let pieces: Vec<_> = bytes.chunks(10_000).map(Bytes::copy_from_slice).collect();
    Body::wrap_stream(stream::iter(pieces).map(Ok::<_, std::io::Error>))
}

/// Nothing may be left of what was refused, neither in the vault nor at the destination.
async fn nothing_is_left(node: &Node) -> Result<()> {
    node.holds_no_recording().await?;
    ensure!(files_under(&node.storage())?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_is_413_whether_it_says_so_or_not() -> Result<()> {
    let node = Node::start(raw().set("ingest.recording_bytes_max", 200_000)).await?;
    let path = Node::upload_path("raw");
    for body in [Body::from(webm_noise(1, 300_000)), chunked(&webm_noise(2, 300_000))] {
        let answer = node.request(Method::PUT, &path)?.body(body).send().await?;
        problem(answer, 413).await?;
    }
    nothing_is_left(&node).await?;
    node.upload("raw", webm_noise(3, 200_000)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_coming_is_408_and_leaves_nothing() -> Result<()> {
    let node = Node::start(raw().set("ingest.stall_ms_max", 600)).await?;
    let head = Bytes::from(webm_noise(4, 100_000));
    let first = stream::iter([Ok::<_, std::io::Error>(head)]);
    let body = Body::wrap_stream(first.chain(stream::pending()));
    let request = node.request(Method::PUT, &Node::upload_path("raw"))?.body(body);
    problem(request.send().await?, 408).await?;
    nothing_is_left(&node).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_early_leaves_nothing() -> Result<()> {
    let node = Node::start(raw()).await?;
    let mut line = node.address()?.connect().await?;
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500000\r\n\r\n",
        Node::upload_path("raw")
    );
    line.write_all(head.as_bytes()).await?;
    line.write_all(&webm_noise(5, 200_000)).await?;
    line.flush().await?;
    until("the upload to be under way", async || {
        Ok((!node.files_of_recordings()?.is_empty()).then_some(()))
    })
    .await?;
    drop(line);
    nothing_is_left(&node).await
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_at_once_is_429_and_says_when_to_come_back() -> Result<()> {
    let node = Node::start(raw().set("ingest.recordings_max", 2)).await?;
    let address = node.address()?;
    let mut one = Stream::start(&address, "raw").await?;
    let two = Stream::start(&address, "raw").await?;
    let third = Stream::start(&address, "raw").await.err().context("a third was let in")?;
    ensure!(third.code() == 4429, "{third}");
    let bytes = webm_noise(6, 10_000);
    let path = Node::upload_path("raw");
    let answer = node.request(Method::PUT, &path)?.body(bytes.clone()).send().await?;
    let after = answer.headers().get("retry-after").context("no Retry-After")?.to_str()?.to_owned();
    ensure!(after.parse::<u32>()? > 0, "{after}");
    problem(answer, 429).await?;

    one.record(&bytes, 5_000).await?;
    drop((one, two));
    until("there to be room again", async || node.upload("raw", bytes.clone()).await.map(Some))
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_space_is_507_until_there_is_room() -> Result<()> {
    let disk = Disk::new(48 << 20)?;
    let settings = raw().vault(disk.path()).set("vault.free_bytes_min", 8 << 20);
    let node = Node::start(settings).await?;
    let filler = disk.fill_to(4 << 20)?;
    let bytes = webm_noise(7, 100_000);
    until("the node to notice", async || {
        let path = Node::upload_path("raw");
        let answer = node.request(Method::PUT, &path)?.body(bytes.clone()).send().await?;
        if answer.status() == 201 {
            return Ok(None);
        }
        problem(answer, 507).await.map(Some)
    })
    .await?;
    let refused =
        Stream::start(&node.address()?, "raw").await.err().context("a stream was let in")?;
    ensure!(refused.code() == 4507, "{refused}");
    std::fs::remove_file(filler)?;
    until("there to be room again", async || node.upload("raw", bytes.clone()).await.map(Some))
        .await?;
    // Larger than what is free: known from its Content-Length alone.
    let mut line = node.address()?.connect().await?;
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 400000000\r\n\r\n",
        Node::upload_path("raw")
    );
    line.write_all(head.as_bytes()).await?;
    line.flush().await?;
    let mut answer = vec![0; 12];
    tokio::time::timeout(Duration::from_secs(120), line.read_exact(&mut answer)).await??;
    ensure!(answer.starts_with(b"HTTP/1.1 507"), "{:?}", String::from_utf8_lossy(&answer));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_is_refused_with_a_reason_and_leaves_nothing() -> Result<()> {
    let node = Node::start(raw()).await?;
    let good = webm_noise(8, 20_000);
    let upload = "/api/v1/ingest/upload";
    let with = |query: &str| format!("{upload}{query}");
    for (path, body, status) in [
        (with("?env_id=raw&env_hash=raw-hash"), b"not a recording at all".to_vec(), 415),
        (with("?env_id=raw&env_hash=raw-hash"), Vec::new(), 400),
        (with(""), good.clone(), 400),
        (with("?env_hash=raw-hash"), good.clone(), 400),
        (with("?env_id=raw&env_hash=wrong"), good.clone(), 401),
        (with("?env_id=raw"), good.clone(), 400),
        (with("?env_id=nobody&env_hash=raw-hash"), good.clone(), 401),
    ] {
        let answer = node.request(Method::POST, &path)?.body(body).send().await?;
        problem(answer, status).await.context(path)?;
    }
    let form = |fields: &[(&'static str, &'static str)]| {
        let form = fields.iter().fold(reqwest::multipart::Form::new(), |f, (k, v)| f.text(*k, *v));
        form.part("file", reqwest::multipart::Part::bytes(good.clone()).file_name("clip.webm"))
    };
    for (fields, status) in [
        (&[("env_id", "raw"), ("env_hash", "wrong")][..], 401),
        (&[("env_hash", "raw-hash")][..], 400),
        (&[("env_id", "raw"), ("env_hash", "raw-hash"), ("surprise", "1")][..], 400),
    ] {
        let answer = node.request(Method::POST, upload)?.multipart(form(fields)).send().await?;
        problem(answer, status).await.with_context(|| format!("{fields:?}"))?;
    }
    nothing_is_left(&node).await?;
    ensure!(node.recordings().await?.is_empty(), "{:?}", node.recordings().await?);

    let headers = node.request(Method::PUT, upload)?.body(good.clone());
    let headers = headers.header("Holdfast-Env-Id", "raw").header("Holdfast-Env-Hash", "raw-hash");
    ensure!(headers.send().await?.status() == 201);
    let fields = [("env_id", "raw"), ("env_hash", "raw-hash")];
    let answer = node.request(Method::POST, upload)?.multipart(form(&fields)).send().await?;
    ensure!(answer.status() == 201, "{}", answer.text().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_account_is_403_in_every_way_in_and_leaves_nothing() -> Result<()> {
    let mut account = toml::Table::new();
    for (key, value) in [("id", "gone"), ("plan", "trial"), ("expires_at", "2026-01-01T00:00:00Z")]
    {
        account.insert(key.into(), value.into());
    }
    let settings = raw()
        .environment(Environment::raw_only("over").set("account", "gone"))
        .set("accounts", vec![toml::Value::Table(account)]);
    let node = Node::start(settings).await?;
    let upload = node.request(Method::PUT, &Node::upload_path("over"))?;
    let said = problem(upload.body(webm_noise(11, 20_000)).send().await?, 403).await?;
    ensure!(said["type"] == "urn:holdfast:problem:account-expired", "{said}");
    let refused = Stream::start(&node.address()?, "over").await.err().context("it was let in")?;
    ensure!(refused.code() == 4403, "{refused}");
    nothing_is_left(&node).await?;
    ensure!(node.recordings().await?.is_empty());
    node.upload("raw", webm_noise(12, 20_000)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_wants_its_key_and_answers_with_problems() -> Result<()> {
    let node = Node::start(raw()).await?;
    for path in ["/recordings", "/status", "/recordings/0193a7b2-6c1e-7d7e-8a3f-0123456789ab"] {
        let path = format!("/api/v1{path}");
        problem(node.request(Method::GET, &path)?.send().await?, 401).await?;
        let wrong = node.request(Method::GET, &path)?.bearer_auth("wrong");
        problem(wrong.send().await?, 401).await?;
    }
    let unknown = "/recordings/0193a7b2-6c1e-7d7e-8a3f-0123456789ab";
    problem(node.api(Method::GET, unknown)?.send().await?, 404).await?;
    problem(node.api(Method::GET, "/recordings/..%2f..%2fetc")?.send().await?, 404).await?;
    problem(node.request(Method::GET, "/api/v1/nothing-here")?.send().await?, 404).await?;
    let uploaded = node.upload("raw", webm_noise(9, 10_000)).await?;
    node.wait_for(&uploaded.id, "stored").await?;
    for outcome in ["deleted", "already_gone"] {
        let path = format!("/recordings/{}", uploaded.id);
        let answer = node.api(Method::DELETE, &path)?.send().await?.text().await?;
        ensure!(answer.contains(outcome), "expected {outcome}: {answer}");
    }
    ensure!(node.recording(&uploaded.id).await?["state"] == "deleted");
    ensure!(
        node.delivered("raw", &uploaded.id, "_raw.webm").exists(),
        "reached into a destination"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn old_tls_is_refused_and_new_tls_accepted() -> Result<()> {
    let node = Node::start(raw()).await?;
    for (version, accepted) in
        [("-tls1", false), ("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)]
    {
        let to = format!("127.0.0.1:{}", node.port());
        let mut openssl = Command::new("openssl");
        // Level 0, so that it is the node which refuses and not the client.
        openssl.args([
            "s_client",
            "-brief",
            "-cipher",
            "DEFAULT@SECLEVEL=0",
            version,
            "-connect",
            &to,
        ]);
        openssl.arg("-CAfile").arg(node.certificate()).arg("-verify_return_error");
        let done = openssl.stdin(std::process::Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        ensure!(done.status.success() == accepted, "{version}: {said}");
        ensure!(said.contains("CONNECTION ESTABLISHED") == accepted, "{version}: {said}");
        ensure!(accepted || said.contains("alert"), "{version}: {said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_limited_before_its_file_and_answered_after_a_refusal() -> Result<()> {
    let node = Node::start(raw().set("ingest.stall_ms_max", 1_500)).await?;
    let url = "/api/v1/ingest/upload";
    let form = |body: Body| -> Result<_> {
        let request = node.request(Method::POST, url)?;
        Ok(request.header("content-type", "multipart/form-data; boundary=x").body(body))
    };
    // Megabytes in which no boundary ever comes would all have to be kept in memory.
    let endless = problem(form(chunked(&vec![b'a'; 4 << 20]))?.send().await?, 400).await?;
    ensure!(endless["detail"].as_str().is_some_and(|d| d.contains("form")), "{endless}");

    // A form that stops before its file.
    let start =
        Bytes::from_static(b"--x\r\ncontent-disposition: form-data; name=\"env_id\"\r\n\r\nra");
    let stalls = stream::iter([Ok::<_, std::io::Error>(start)]).chain(stream::pending());
    problem(form(Body::wrap_stream(stalls))?.send().await?, 408).await?;

    // A refusal is answered while the client still sends.
    let wrong = format!(
        "--x\r\ncontent-disposition: form-data; name=\"env_id\"\r\n\r\nraw\r\n\
         --x\r\ncontent-disposition: form-data; name=\"env_hash\"\r\n\r\nwrong\r\n\
         --x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n{}",
        "z".repeat(50_000)
    );
    let sends_on =
        stream::iter([Ok::<_, std::io::Error>(Bytes::from(wrong))]).chain(stream::pending());
    problem(form(Body::wrap_stream(sends_on))?.send().await?, 401).await?;
    nothing_is_left(&node).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_before_the_body_was_read_ends_the_connection_and_says_so() -> Result<()> {
    let node = Node::start(raw()).await?;
    let file = vec![b'a'; 8 << 20];
    let head = format!(
        "PUT /api/v1/ingest/upload?env_id=raw&env_hash=wrong HTTP/1.1\r\nhost: 127.0.0.1\r\n\
         content-type: video/webm\r\ncontent-length: {}\r\n",
        file.len()
    );
    // All of it is sent before the answer is read: a reset would have thrown the answer away.
    let mut line = node.address()?.connect().await?;
    line.write_all(format!("{head}\r\n").as_bytes()).await?;
    line.write_all(&file).await?;
    let answer = whole_answer(&mut line).await?;
    ensure!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    ensure!(answer.contains("\r\nconnection: close\r\n"), "{answer}");

    // Who asks first is told no, and not to go on.
    let mut line = node.address()?.connect().await?;
    line.write_all(format!("{head}expect: 100-continue\r\n\r\n").as_bytes()).await?;
    let answer = whole_answer(&mut line).await?;
    ensure!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    ensure!(!answer.contains("100 Continue"), "{answer}");

    // What was read to its end leaves the connection open for the next request.
    let mut line = node.address()?.connect().await?;
    for _ in 0..2 {
        line.write_all(b"GET /live HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await?;
        let mut start = [0; 12];
        line.read_exact(&mut start).await?;
        ensure!(&start == b"HTTP/1.1 200", "{:?}", String::from_utf8_lossy(&start));
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\n") {
            rest.push(line.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&rest).into_owned();
        ensure!(!head.contains("connection: close"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap_or("0").parse()?];
        line.read_exact(&mut body).await?;
    }
    nothing_is_left(&node).await
}

/// Reads until the node closes the connection.
async fn whole_answer(line: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<String> {
    let mut answer = Vec::new();
    // A close without a farewell of TLS is the end too.
    if let Err(error) = line.read_to_end(&mut answer).await {
        ensure!(error.kind() == std::io::ErrorKind::UnexpectedEof, "{error}");
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_mib_of_headers_are_431_over_http_1_and_2() -> Result<()> {
    const HEADERS_BYTES: usize = 10 << 20;
    let node = Node::start(raw()).await?;
    let address = node.address()?;
    let mut line = address.connect().await?;
    line.write_all(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n").await?;
    let header = format!("x-filler: {}\r\n", "a".repeat(8_000));
    for _ in 0..HEADERS_BYTES / header.len() {
        // The node may have said what it has to say, and closed.
        if line.write_all(header.as_bytes()).await.is_err() {
            break;
        }
    }
    let _ = line.write_all(b"\r\n").await;
    let mut answer = [0; 12];
    line.read_exact(&mut answer).await?;
    ensure!(&answer == b"HTTP/1.1 431", "{:?}", String::from_utf8_lossy(&answer));

    let (mut requests, connection) =
        h2::client::handshake(address.http2().connect().await?).await?;
    let connection = tokio::spawn(connection);
    let mut request = http::Request::get("https://127.0.0.1/live");
    for nr in 0..HEADERS_BYTES / 8_000 {
        request = request.header(format!("x-filler-{nr}"), "a".repeat(8_000));
    }
    // Either it is answered with the status, or the connection is ended; it is never let through.
    let (answer, _) = requests.send_request(request.body(())?, true)?;
    if let Ok(answer) = answer.await {
        ensure!(answer.status() == 431, "{}", answer.status());
    }
    connection.abort();
    ensure!(node.request(Method::GET, "/live")?.send().await?.status() == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_its_share_of_connections_and_no_more() -> Result<()> {
    const MOST: usize = 8;
    let settings = raw().set("node.connections_per_address_max", i64::try_from(MOST)?);
    let node = Node::start(settings).await?;
    let address = node.address()?;
    // Streams keep their place when their connection becomes a web socket.
    let mut lines = Vec::new();
    let mut streams = Vec::new();
    let refused = until("a connection to be closed", async || {
        if streams.len() < 3 {
            streams.push(Stream::start(&address, "raw").await?);
            return Ok(None);
        }
        match address.connect().await {
            Ok(line) => lines.push(line),
            Err(error) => return Ok(Some(error)),
        }
        Ok(None)
    })
    .await?;
    // The test's own client has one or two.
    ensure!(lines.len() + 3 <= MOST, "{} lines, then {refused:#}", lines.len());
    ensure!(lines.len() + 3 >= MOST - 2, "{} lines, then {refused:#}", lines.len());
    drop(streams);
    until("there to be room again", async || address.connect().await.map(Some)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_requests_ends_although_it_answers_pings() -> Result<()> {
    let node = Node::start(raw().set("node.idle_ms_max", 1_000)).await?;
    let address = node.address()?;
    let (mut requests, connection) =
        h2::client::handshake(address.http2().connect().await?).await?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get("https://127.0.0.1/live").body(())?;
    let (answer, _) = requests.send_request(request, true)?;
    ensure!(answer.await?.status() == 200);
    // `requests` is kept, so that it is the node which ends it.
    let ended = tokio::time::timeout(Duration::from_secs(120), connection).await;
    drop(ended.context("the connection stayed")??);
    drop(requests);

    let mut line = address.connect().await?;
    line.write_all(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await?;
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(120), line.read_to_end(&mut answer)).await??;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));

    // A stream is a request that is under way, however quiet it is.
    let mut stream = Stream::start(&address, "raw").await?;
    node.for_a_while(4_000).await;
    stream.record(&webm_noise(10, 50_000), 5_000).await?;
    Ok(())
}
