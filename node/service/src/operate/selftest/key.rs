//! The node's own key signs, seals and opens, and its file is still the one that it was read from.

use aws_lc_rs::rand;

use super::{ANSWER_MAX, Check, SelftestCheck};
use crate::blocking;
use crate::digest::hex;
use crate::node::Node;

const CONTEXT: &str = "self-test";

pub(super) async fn check(node: &Node) -> SelftestCheck {
    if let Err(found) = use_it(node) {
        return SelftestCheck::failed(Check::Key, &found, "start the node again; see its log");
    }
    let (path, running) = (node.config.node.state_path.clone(), *node.key.signing_seed());
    let running = zeroize::Zeroizing::new(running);
    let read = blocking::run(move || crate::nodekey::is_that_of(&path, &running));
    match tokio::time::timeout(ANSWER_MAX, read).await {
        Ok(Ok(Ok(true))) => {
            let found = format!(
                "it signs, seals and opens; the audit log calls it {}",
                node.audit.public_key().id()
            );
            SelftestCheck::passed(Check::Key, &found)
        }
        Ok(Ok(Ok(false))) => SelftestCheck::failed(
            Check::Key,
            "the file node.key in node.state_path is gone, or another one",
            "put the right one back before the node is started again, or all secrets are to be given anew",
        ),
        Ok(Ok(Err(error))) => SelftestCheck::failed(
            Check::Key,
            &error.to_string(),
            "mend its file before the node is started again",
        ),
        Ok(Err(_)) | Err(_) => SelftestCheck::late(Check::Key, ANSWER_MAX),
    }
}

fn use_it(node: &Node) -> Result<(), String> {
    let mut nonce = [0; 16];
    rand::fill(&mut nonce).map_err(|_| "the kernel gives no randomness")?;
    // An object, as all that is signed is; no entry of the audit log looks like it.
    let text = format!("{{\"selftest\":\"{}\"}}", hex(&nonce));
    let (signature, public) = (node.audit.sign(text.as_bytes()), node.audit.public_key());
    if !public.has_signed(text.as_bytes(), &signature) {
        return Err("what it signs does not verify".into());
    }
    let sealed = node.key.seal(CONTEXT, &nonce).map_err(|error| error.to_string())?;
    let opened = node.key.open(CONTEXT, &sealed).map_err(|error| error.to_string())?;
    if opened.as_slice() == nonce {
        Ok(())
    } else {
        Err("it opens what it sealed as something else".into())
    }
}
