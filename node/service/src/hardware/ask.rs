//! Asking a transcoder about hardware: a child of the node's own, or one in a unit of its own, behind the
//! socket that gives the jobs their children as well.
//!
//! Either way it is another process that a driver may hang or crash, with a time limit. What it does wrong is
//! told in words.

use std::io;
use std::net::Shutdown;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use holdfast_core::job::{Answer, PACKET_BYTES_MAX, Question};
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;
use tokio::net::UnixDatagram;
use tokio::process::Command;

use crate::node::Node;
use crate::transcode;

/// Longest that a proof may take: a driver that hangs is ended then.
const PROOF_MAX: Duration = Duration::from_secs(60);
/// Longest answer of a child of our own, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Asks a child. Dropping this ends it.
pub(super) async fn ask<T: DeserializeOwned>(
    node: &Node,
    question: &Question,
) -> Result<T, String> {
    let state_path = &node.config.node.state_path;
    let asked = async {
        match &node.config.transcode.socket {
            Some(socket) => over(socket, question).await,
            None => {
                let program = transcode::program(&node.config.transcode);
                let bytes = run(&program, state_path, &arguments(question)).await?;
                understood(&bytes)
            }
        }
    };
    tokio::time::timeout(PROOF_MAX, asked)
        .await
        .unwrap_or_else(|_| Err(format!("it did not end within {} s", PROOF_MAX.as_secs())))
}

fn understood<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes)
        .map_err(|error| format!("the transcoder's answer is none: {error}"))
}

fn arguments(question: &Question) -> Vec<&str> {
    match question {
        Question::Candidates => vec!["--candidates"],
        Question::Prove { name } => vec!["--prove", name],
    }
}

/// Asks whoever listens there. The connection's end, also by dropping this, ends the process behind it.
async fn over<T: DeserializeOwned>(path: &Path, question: &Question) -> Result<T, String> {
    let failed = |error: io::Error| {
        format!(
            "a transcoder cannot be asked at {}: {error}; see systemctl status holdfast-transcode.socket",
            path.display()
        )
    };
    let packet = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    let socket = transcode::connected(path).and_then(|it| UnixDatagram::from_std(it.into()));
    let socket = socket.map_err(failed)?;
    socket.send(&packet).await.map_err(failed)?;
    let mut answer = vec![0; PACKET_BYTES_MAX];
    let length = socket.recv(&mut answer).await.map_err(failed)?;
    let _ = socket.shutdown(Shutdown::Write);
    if length == 0 {
        return Err(
            "it ended without an answer; the journal of holdfast-transcode@… says why".into()
        );
    }
    match understood(&answer[..length])? {
        Answer::Answer(answer) => Ok(answer),
        Answer::Failed(reason) => Err(reason),
    }
}

async fn run(program: &Path, state_path: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .env("GST_REGISTRY", state_path.join("gstreamer-registry.bin"))
        .env("GST_REGISTRY_FORK", "no")
        .env("GST_REGISTRY_UPDATE", "no")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await;
        read.map_err(|error| format!("its answer cannot be read: {error}"))?;
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if status.success() { Ok(bytes) } else { Err(format!("it ended with {status}")) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

    use holdfast_core::hardware::Listing;
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept, bind, listen, recv, send,
        socket,
    };

    use super::*;

    async fn asked(script: &str) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        run(Path::new("/bin/sh"), folder.path(), &["-c", script]).await
    }

    #[tokio::test]
    async fn a_child_that_crashes_is_told_by_its_signal() {
        assert_eq!(asked("echo {}").await.unwrap(), b"{}\n");
        assert!(asked("kill -SEGV $$").await.unwrap_err().contains("signal: 11"));
        assert!(asked("exit 3").await.unwrap_err().contains("exit status: 3"));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let missing = run(Path::new("/no/such/program"), Path::new("/"), &[]).await;
        assert!(missing.unwrap_err().contains("/no/such/program"));
    }

    /// Asks a listener that answers this to the only question.
    async fn answered(answer: &'static str) -> Result<Listing, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
        let listener = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let other = std::thread::spawn(move || {
            // SAFETY: the kernel has just made it, and nothing else knows of it.
            #[expect(unsafe_code, reason = "nix gives it as a number")]
            let one = unsafe { OwnedFd::from_raw_fd(accept(listener.as_raw_fd()).unwrap()) };
            let mut question = [0; 1024];
            let length = recv(one.as_raw_fd(), &mut question, nix::sys::socket::MsgFlags::empty());
            if !answer.is_empty() {
                send(one.as_raw_fd(), answer.as_bytes(), nix::sys::socket::MsgFlags::empty())
                    .unwrap();
            }
            String::from_utf8_lossy(&question[..length.unwrap()]).into_owned()
        });
        let listing = over(&path, &Question::Candidates).await;
        assert_eq!(other.join().unwrap(), r#"{"ask":"candidates"}"#);
        listing
    }

    #[tokio::test]
    async fn what_a_socket_says_is_the_answer_or_the_reason_that_there_is_none() {
        let answer = r#"{"answer":{"gstreamer":"1.26.2","candidates":[]}}"#;
        assert_eq!(answered(answer).await.unwrap().gstreamer, "1.26.2");
        let failed = answered(r#"{"failed":"no plugins"}"#).await;
        assert_eq!(failed.unwrap_err(), "no plugins");
        assert!(answered("").await.unwrap_err().contains("holdfast-transcode@"));
        assert!(answered("{}").await.unwrap_err().contains("answer is none"));
        let nobody = over::<Listing>(Path::new("/no/such"), &Question::Candidates).await;
        assert!(nobody.unwrap_err().contains("holdfast-transcode.socket"));
    }
}
