//! How a file is to lie there: its type, class, encryption, and who may do what with it.

use holdfast_core::storage::{AtRest, Region};

use super::capabilities::{TAG_VALUE_CHARS_MAX, is_of_tags};
use super::client::Header;
use super::template::Template;
use crate::config::{S3Destination, Sse};
use crate::deliver::FileToPush;

/// The headers of the request that makes an object. Our own storage goes by region and kind (rule 9).
pub(super) fn of(settings: &S3Destination, file: &FileToPush) -> Vec<Header> {
    let mut headers = vec![("content-type", file.media_type.to_owned())];
    let class = match settings.ours {
        Some(region) => region.storage_class(file.kind).map(str::to_owned),
        None => settings.storage_classes.of(file.kind).or(settings.storage_class.as_ref()).cloned(),
    };
    headers.extend(class.map(|class| ("x-amz-storage-class", class)));
    let sse = match settings.ours.map(Region::at_rest) {
        Some(AtRest::SseS3) => Some(&Sse::S3),
        Some(AtRest::None) => None,
        None => settings.sse.as_ref(),
    };
    match sse {
        Some(Sse::S3) => headers.push(("x-amz-server-side-encryption", "AES256".into())),
        Some(Sse::KmsKey(key)) => headers.extend([
            ("x-amz-server-side-encryption", "aws:kms".into()),
            ("x-amz-server-side-encryption-aws-kms-key-id", key.clone()),
        ]),
        None => {}
    }
    headers.extend(settings.acl.map(|acl| ("x-amz-acl", acl.as_str().to_owned())));
    headers.extend(tags(settings, file).map(|tags| ("x-amz-tagging", tags)));
    headers
}

/// As a query string. What may not stand in a tag becomes `_`.
fn tags(settings: &S3Destination, file: &FileToPush) -> Option<String> {
    if settings.tags.is_empty() {
        return None;
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &settings.tags {
        // The settings were checked when they were read.
        let filled = Template::read(value).map_or_else(|_| value.clone(), |value| value.fill(file));
        let allowed = |c: char| if is_of_tags(c) { c } else { '_' };
        let value: String = filled.chars().map(allowed).take(TAG_VALUE_CHARS_MAX).collect();
        query.append_pair(name, &value);
    }
    // A plus sign means a space to forms, and not to every store.
    Some(query.finish().replace('+', "%20"))
}
