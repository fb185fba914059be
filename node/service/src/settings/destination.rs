//! Destinations that were made over the API: their secrets are sealed before anything keeps them.

use serde_json::{Map, Value};

use super::change::{Refused, parse};
use crate::config::{Config, Destination};
use crate::deliver;
use crate::deliver::secret::{SECRET_BYTES_MAX, TEXT_BYTES_MAX, check_word, context};
use crate::nodekey::NodeKey;

/// Reads what the API was given. Secrets among the members that are `named` are sealed; others are
/// so already.
///
/// # Errors
/// [`Refused::Invalid`]: what is wrong with which member.
pub(super) fn read(
    given: Map<String, Value>,
    named: &[String],
    key: &NodeKey,
    config: &Config,
) -> Result<Destination, Refused> {
    let mut made = parse_kind(given)?;
    let name = made.name().to_owned();
    for member in made.settings_mut().secrets() {
        let is_named = named.iter().any(|named| named == member.name);
        let Some(given) = member.given.as_mut().filter(|_| is_named) else { continue };
        let plain = std::mem::take(&mut given.0);
        let checked = if member.is_text {
            check_text(&plain)
        } else {
            check_word(plain.trim(), SECRET_BYTES_MAX)
        };
        checked.map_err(|problem| Refused::Invalid(format!("{}: {problem}", member.name)))?;
        let sealed = key.seal(&context(&name, member.name), plain.trim().as_bytes());
        given.0 = sealed.map_err(|error| Refused::Invalid(error.to_string()))?;
    }
    made.check_made(&config.deliver).map_err(Refused::Invalid)?;
    deliver::build(&made, key, &config.node.state_path)
        .map_err(|error| Refused::Invalid(error.sentence))?;
    Ok(made)
}

/// By hand, since serde would not say which member of which kind is wrong.
fn parse_kind(mut given: Map<String, Value>) -> Result<Destination, Refused> {
    match given.remove("kind").as_ref().and_then(Value::as_str) {
        Some("directory") => Ok(Destination::Directory(parse(given)?)),
        Some("s3") => Ok(Destination::S3(Box::new(parse(given)?))),
        Some("ftps") => Ok(Destination::Ftps(Box::new(parse(given)?))),
        Some("ftp") => Ok(Destination::Ftp(Box::new(parse(given)?))),
        Some("sftp") => Ok(Destination::Sftp(Box::new(parse(given)?))),
        Some("dropbox") => Ok(Destination::Dropbox(Box::new(parse(given)?))),
        _ => {
            let kinds = "directory, s3, ftps, ftp, sftp or dropbox";
            Err(Refused::Invalid(format!("kind: must be {kinds}")))
        }
    }
}

fn check_text(secret: &str) -> Result<(), String> {
    if secret.trim().is_empty() {
        Err("it is empty".into())
    } else if secret.len() > TEXT_BYTES_MAX {
        Err(format!("it is larger than {TEXT_BYTES_MAX} bytes"))
    } else {
        Ok(())
    }
}

/// Keys are not sent to an address for which nobody gave them.
///
/// # Errors
/// [`Refused::Invalid`] names what must be given anew.
pub(super) fn check_keys_stay(
    before: &Destination,
    after: &Destination,
    named: &[String],
) -> Result<(), Refused> {
    // Another kind is another way to the same address: one of them may be without protection.
    let is_same_kind = before.kind() == after.kind();
    if is_same_kind && before.settings().address() == after.settings().address() {
        return Ok(());
    }
    let mut after = after.clone();
    let kept = after.settings_mut().secrets().into_iter();
    let kept = kept.filter(|m| m.given.is_some() && !named.iter().any(|named| named == m.name));
    let kept: Vec<_> = kept.map(|member| member.name).collect();
    if kept.is_empty() {
        return Ok(());
    }
    Err(Refused::Invalid(format!(
        "{}: give {} anew with another address or kind; what was given for the old one is not sent there",
        kept.join(", "),
        if kept.len() == 1 { "it" } else { "them" }
    )))
}
