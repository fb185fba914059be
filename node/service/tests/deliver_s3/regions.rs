//! A bucket in another region than the settings say, and certificates that are not good any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast::config::S3Destination;
use holdfast::deliver::Destination;
use holdfast::deliver::s3::S3;
use holdfast_core::attempts::Fault;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::store::Store;
use super::{MIB, bytes, fails, file, quick};

/// What a store says to requests that are signed for another region than the bucket's.
#[derive(Clone, Copy)]
enum Says {
    /// As Amazon says it to old clients.
    PermanentRedirect,
    /// As Amazon says it of young buckets.
    TemporaryRedirect,
    /// As MinIO says it.
    Malformed,
    /// The same over and over: it sends in circles.
    Circle,
}

/// A store whose bucket is in `eu-west-9`: in front of the real one, which takes any region.
async fn store_elsewhere(port: u16, says: Says) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let told = Arc::new(AtomicU64::new(0));
    let count = told.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move { answer(near, port, says, &count).await });
        }
    });
    (own, told)
}

async fn answer(mut near: TcpStream, port: u16, says: Says, told: &AtomicU64) -> Option<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        head.push(near.read_u8().await.ok()?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    if text.contains("%2Feu-west-9%2Fs3") && !matches!(says, Says::Circle) {
        let mut far = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        // The next request on this connection is for the same region, or is not looked at.
        far.write_all(&head).await.ok()?;
        tokio::io::copy_bidirectional(&mut near, &mut far).await.ok()?;
        return Some(());
    }
    let mut length = 0_usize;
    for line in text.lines() {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    near.read_exact(&mut body).await.ok()?;
    let turn = told.fetch_add(1, Ordering::SeqCst);
    let (status, code, region) = match says {
        Says::PermanentRedirect => {
            ("301 Moved Permanently", "PermanentRedirect", "eu-west-9".into())
        }
        Says::TemporaryRedirect => {
            ("307 Temporary Redirect", "TemporaryRedirect", "eu-west-9".into())
        }
        Says::Malformed => {
            ("400 Bad Request", "AuthorizationQueryParametersError", "eu-west-9".into())
        }
        Says::Circle => ("301 Moved Permanently", "PermanentRedirect", format!("eu-west-{turn}")),
    };
    let header = match says {
        Says::Malformed => String::new(),
        _ => format!("x-amz-bucket-region: {region}\r\nLocation: http://elsewhere.invalid/\r\n"),
    };
    let body = format!(
        "<Error><Code>{code}</Code><Message>elsewhere</Message><Region>{region}</Region></Error>"
    );
    let said = format!(
        "HTTP/1.1 {status}\r\n{header}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    near.write_all(said.as_bytes()).await.ok()?;
    near.shutdown().await.ok()
}

#[tokio::test]
async fn a_bucket_in_another_region_is_found_and_remembered() {
    let store = Store::get().await;
    let held = store.make_bucket("regions").await;
    let dir = tempfile::tempdir().unwrap();
    for (index, says) in
        [Says::PermanentRedirect, Says::TemporaryRedirect, Says::Malformed].into_iter().enumerate()
    {
        let (port, told) = store_elsewhere(store.port, says).await;
        let endpoint = format!("http://127.0.0.1:{port}");
        let s3 = S3::new(&S3Destination { endpoint, ..store.settings("regions") }).unwrap();
        for length in [1_000, 6 * MIB, 1_001] {
            let content = bytes(length);
            let file = file(dir.path(), &format!("{index}-{length}"), &content);
            s3.push(&file).await.unwrap();
            assert!(held.read(&file.name).await.unwrap() == content);
            assert_eq!(told.load(Ordering::SeqCst), 1, "it is not remembered");
        }
        s3.read(&format!("s3://regions/{index}-1000"), None).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_sends_in_circles_is_not_followed_for_ever() {
    let store = Store::get().await;
    let dir = tempfile::tempdir().unwrap();
    let (port, told) = store_elsewhere(store.port, Says::Circle).await;
    let endpoint = format!("http://127.0.0.1:{port}");
    let settings = S3Destination { endpoint, ..store.settings("regions") };
    let s3 = S3::with_limits(&settings, quick()).unwrap();
    let error = fails(&s3, &file(dir.path(), "a", b"content")).await;
    assert_eq!(error.fault, Fault::Customers);
    assert!(error.sentence.contains("correct region and endpoint"), "{error}");
    assert_eq!(told.load(Ordering::SeqCst), 3, "once, and two turns");
}

#[tokio::test]
async fn an_expired_certificate_is_the_customers_to_renew() {
    let dir = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = rcgen::CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let expired = params.signed_by(&key, &ca).unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![expired.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let store = Store::get().await;
    let settings = S3Destination {
        endpoint: format!("https://localhost:{port}"),
        ca_file: Some(ca_file),
        ..store.settings("expired")
    };
    let s3 = S3::with_limits(&settings, quick()).unwrap();
    for length in [10, 6 * MIB] {
        let error = fails(&s3, &file(dir.path(), "a.mp4", &bytes(length))).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("its certificate is not good"), "{error}");
        assert!(error.sentence.contains("expired"), "{error}");
    }
}
