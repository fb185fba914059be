//! The support bundle, for whoever builds the node.

use std::path::Path;

use super::super::client::Target;
use super::super::output::{NewFile, print, print_json};
use super::Desk;

/// Fetches one into a new file.
pub(in super::super) fn bundle(desk: &Desk, out: &Path) -> anyhow::Result<()> {
    let mut file = NewFile::create(out)?;
    let mut bytes = 0;
    desk.client.fetch(&Target::new(["support-bundle"])?, |piece| {
        bytes += piece.len();
        std::io::Write::write_all(&mut file, piece)
    })?;
    file.keep()?;
    if desk.json {
        return print_json(&serde_json::json!({ "file": out, "bytes": bytes }));
    }
    print(&format!(
        "{}: {bytes} bytes. It is text: read it before you send it (tar -xzf; README.txt says what is what).\n",
        out.display()
    ))
}
