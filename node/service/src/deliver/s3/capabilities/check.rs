//! Checks that settings ask for nothing that their store does not take.

use super::Capabilities;
use crate::config::{Acl, Existing, S3Destination, Sse};
use crate::deliver::s3::template::Template;

/// Largest part, in bytes: S3's own limit.
const PART_BYTES_MAX: u64 = 5 << 30;
/// Smallest part but the last, in bytes: S3's own limit.
const PART_BYTES_MIN: u64 = 5 << 20;
/// Most parts of a file that are under way at once.
const PARTS_AT_ONCE_MAX: u32 = 32;
/// Most tags, and their longest names and values in characters: S3's own limits.
const TAGS_MAX: usize = 10;
const TAG_NAME_CHARS_MAX: usize = 128;
/// Longest value of a tag, in characters.
pub(in crate::deliver::s3) const TAG_VALUE_CHARS_MAX: usize = 256;

/// Checks that a destination asks for nothing that its store does not take.
///
/// # Errors
/// The setting, and what to do.
pub(crate) fn check(settings: &S3Destination) -> Result<(), String> {
    let store = Capabilities::of(settings);
    let part_bytes = settings.part_bytes;
    if !(PART_BYTES_MIN..=PART_BYTES_MAX).contains(&part_bytes) {
        return Err(format!(
            "part_bytes = {part_bytes}: must be {PART_BYTES_MIN} to {PART_BYTES_MAX}"
        ));
    }
    if settings.parts_at_once == 0 || settings.parts_at_once > PARTS_AT_ONCE_MAX {
        return Err(format!("parts_at_once: must be 1 to {PARTS_AT_ONCE_MAX}"));
    }
    let prefix = Template::of_prefix(&settings.prefix)?;
    if let Some(checksum) = settings.checksum
        && !store.checksums.contains(&checksum)
    {
        let known: Vec<_> = store.checksums.iter().map(|one| one.as_str()).collect();
        let (name, asked) = (store.name, checksum.as_str());
        return Err(format!(
            "checksum: {name} does not take {asked}; it takes {}",
            known.join(", ")
        ));
    }
    let class = settings.storage_class.iter().map(|class| ("storage_class", class));
    for (setting, class) in class.chain(settings.storage_classes.named()) {
        store.check_class(setting, class)?;
    }
    store.check_protection(settings)?;
    store.check_tags(settings)?;
    if settings.ours.is_some() {
        check_ours(settings, store, prefix.is_plain())?;
    }
    Ok(())
}

/// Our own storage goes by rule 9, and what a push that was cut short left there must be found again by
/// the recording's name alone.
fn check_ours(
    settings: &S3Destination,
    store: &Capabilities,
    is_plain: bool,
) -> Result<(), String> {
    let goes_by_rule = "our own storage goes by rule 9; leave it out";
    if settings.preset.is_some_and(|preset| preset != store.preset) {
        return Err(format!("preset: {goes_by_rule}"));
    }
    if settings.storage_class.is_some() {
        return Err(format!("storage_class: {goes_by_rule}"));
    }
    if !settings.storage_classes.is_empty() {
        return Err(format!("storage_classes: {goes_by_rule}"));
    }
    if settings.sse.is_some() {
        return Err(format!("sse: {goes_by_rule}"));
    }
    if settings.acl.is_some_and(Acl::is_public) {
        return Err(format!("acl: {goes_by_rule}"));
    }
    if settings.existing != Existing::Overwrite {
        return Err("existing: in our own storage it is overwrite".into());
    }
    if !is_plain {
        return Err("prefix: placeholders are not for our own storage".into());
    }
    Ok(())
}

impl Capabilities {
    fn check_class(&self, setting: &str, class: &str) -> Result<(), String> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        match self.classes {
            _ if class.is_empty() || !class.bytes().all(is_word) => {
                Err(format!("{setting}: must be a word such as STANDARD_IA"))
            }
            Some(known) if !known.contains(&class) => Err(format!(
                "{setting}: {} has no class {class}; it has {}",
                self.name,
                known.join(", ")
            )),
            _ => Ok(()),
        }
    }

    fn check_protection(&self, settings: &S3Destination) -> Result<(), String> {
        let name = self.name;
        let has_sse = match &settings.sse {
            None => true,
            Some(Sse::S3) => self.has_sse_s3,
            Some(Sse::KmsKey(key))
                if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                return Err("sse.kms_key: must be the id, ARN or alias of a key".into());
            }
            Some(Sse::KmsKey(_)) => self.has_sse_kms,
        };
        if !has_sse {
            return Err(format!("sse: {name} does not take it; leave it out"));
        }
        match settings.acl {
            Some(acl) if !self.acls.contains(&acl) => {
                let known: Vec<_> = self.acls.iter().map(|acl| acl.as_str()).collect();
                let known =
                    if known.is_empty() { "none; leave it out".into() } else { known.join(", ") };
                Err(format!("acl: {name} does not take {}; it takes {known}", acl.as_str()))
            }
            _ => Ok(()),
        }
    }

    fn check_tags(&self, settings: &S3Destination) -> Result<(), String> {
        if settings.tags.is_empty() {
            return Ok(());
        }
        if !self.has_tags {
            return Err(format!("tags: {} does not take them; leave them out", self.name));
        }
        if settings.tags.len() > TAGS_MAX {
            return Err(format!("tags: at most {TAGS_MAX}"));
        }
        for (name, value) in &settings.tags {
            let chars = name.chars().count();
            if chars == 0 || chars > TAG_NAME_CHARS_MAX || !name.chars().all(is_of_tags) {
                return Err(format!(
                    "tags: the name {name:?} must be 1 to {TAG_NAME_CHARS_MAX} letters, digits, \
                     spaces and + - = . _ : / @"
                ));
            }
            let template =
                Template::read(value).map_err(|problem| format!("tags.{name}: {problem}"))?;
            if value.chars().count() > TAG_VALUE_CHARS_MAX || !template.text().all(is_of_tags) {
                return Err(format!(
                    "tags.{name}: must be at most {TAG_VALUE_CHARS_MAX} letters, digits, spaces and \
                     + - = . _ : / @"
                ));
            }
        }
        Ok(())
    }
}

/// Whether a character may stand in a tag.
pub(in crate::deliver::s3) fn is_of_tags(c: char) -> bool {
    c.is_alphanumeric() || "+-=._:/@ ".contains(c)
}
