//! The way it begins and ends: sockets, certificates, stopping.

use std::net::UdpSocket;
use std::os::fd::IntoRawFd as _;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use holdfast_tests::http3::{Http3, answer, closed_with, request};
use holdfast_tests::media::webm_noise;
use holdfast_tests::tools::bin_dir;
use holdfast_tests::wait::PATIENCE;
use holdfast_tests::{Node, until};
use http::Method;
use nix::sys::signal::Signal;

use crate::{is_under_way, problem, settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_answers_what_is_under_way_and_says_goodbye() -> Result<()> {
    let mut node = Node::start(settings()).await?;
    let client = Http3::to(&node).await?;
    let mut upload = client.begin(request(Method::PUT, &Node::upload_path("raw"))?).await?;
    upload.send_data(Bytes::from(webm_noise(1, 400_000))).await?;
    is_under_way(&node).await?;
    node.signal(Signal::SIGTERM)?;
    let said = answer(&mut upload).await?;
    problem(&said, 503)?;
    ensure!(said.headers.contains_key("retry-after"), "{:?}", said.headers);
    let ended = tokio::time::timeout(PATIENCE, client.quic.closed()).await?;
    ensure!(closed_with(&ended)? == h3::error::Code::H3_NO_ERROR.value(), "{ended}");
    ensure!(node.stop().await?.success());
    node.launch().await?;
    node.holds_no_recording().await?;
    ensure!(Http3::to(&node).await?.get("/live").await?.status == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_that_of_https_also_once_it_is_another() -> Result<()> {
    let mut node = Node::start(settings()).await?;
    Http3::to(&node).await?;
    ensure!(node.stop().await?.success());
    let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
    let (certificate, key) = (node.dir().join("new.pem"), node.dir().join("new.key"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let old = node.dir().join("old.pem");
    std::fs::copy(node.certificate(), &old)?;
    node.set("tls.certificate", certificate.display().to_string())?;
    node.set("tls.key", key.display().to_string())?;
    node.spawn()?;
    let client = until("the node to be back", async || {
        Http3::connect(node.port(), &certificate).await.map(Some)
    })
    .await?;
    ensure!(client.get("/live").await?.status == 200);
    let refused = Http3::connect(node.port(), &old).await.err().context("the old one is served")?;
    ensure!(format!("{refused:#}").contains("certificate"), "{refused:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_has_is_an_error_that_names_it_and_the_setting() -> Result<()> {
    let mut node = Node::lay_out(settings())?;
    let _taken = UdpSocket::bind(("127.0.0.1", node.port()))?;
    node.spawn()?;
    until("the node to end", async || Ok((!node.is_alive()).then_some(()))).await?;
    node.kill()?;
    let log = node.log();
    let at = format!("UDP 127.0.0.1:{}", node.port());
    ensure!(log.contains(&at) && log.contains("node.http3"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_taken_over_where_there_is_one() -> Result<()> {
    let mut node = Node::lay_out(settings())?;
    // Held by this test throughout, so that the node could not open the port itself.
    let socket = UdpSocket::bind(("127.0.0.1", node.port()))?;
    // Without O_CLOEXEC, so that the program has it.
    let number = nix::unistd::dup(&socket)?.into_raw_fd();
    let path = node.dir().join("start");
    let program = bin_dir().join("holdfast");
    let script = format!(
        "#!/bin/bash\n[ \"$1\" = run ] && exec 3<&{number} && export LISTEN_PID=$$ LISTEN_FDS=1\n\
         exec {} \"$@\"\n",
        program.display()
    );
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    node.run_by(&path);
    node.launch().await?;
    ensure!(Http3::to(&node).await?.get("/live").await?.status == 200);
    ensure!(node.stop().await?.success());
    // Where the configuration does not want it, clients would wait at it for ever.
    node.set("node.http3", false)?;
    ensure!(node.launch().await.is_err());
    ensure!(node.log().contains("node.http3 is false"), "{}", node.log());
    Ok(())
}
