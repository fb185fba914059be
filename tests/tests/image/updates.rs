//! A server of updates: a folder over https, as any web server has one.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::world::images;

const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *what): pass
    def __init__(self, *a): super().__init__(*a, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// Ends when it is dropped.
pub(crate) struct Server {
    process: Child,
    /// Where it listens.
    pub(crate) port: u16,
    folder: PathBuf,
}

impl Server {
    /// Serves what lies below `folder` at `/`, with the certificate that the images were built for.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let keys = images()?.join("updates");
        let mut process = Command::new("python3")
            .args(["-c", SERVER])
            .arg(folder)
            .args([keys.join("server.pem"), keys.join("server.key")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting python3")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        let port = line.trim().parse().context("the server of updates said no port")?;
        Ok(Self { process, port, folder: folder.into() })
    }

    /// Serves this folder's files as the updates, and no others.
    pub(crate) fn has(&self, folder: &Path) -> Result<()> {
        let link = self.folder.join("updates");
        let _ = std::fs::remove_file(&link);
        Ok(std::os::unix::fs::symlink(folder, link)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
