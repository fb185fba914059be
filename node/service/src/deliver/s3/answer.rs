//! What a store answers: a few elements of XML.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Largest answer that is read, in bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The name of the outermost element.
pub(super) fn root(xml: &str) -> Option<String> {
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) | Event::Empty(tag) => return name(tag.local_name().as_ref()),
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// The text of the first element that has this name.
pub(super) fn text(xml: &str, wanted: &str) -> Option<String> {
    records(xml, None, [wanted]).into_iter().next().map(|[text]| text).filter(|t| !t.is_empty())
}

/// The texts of some elements, for each `record` element; for the whole where it is `None`.
///
/// Namespaces are not looked at: some stores leave them out. An element that is missing is empty.
/// Of what is no XML, as much as can be read.
pub(super) fn records<const N: usize>(
    xml: &str,
    record: Option<&str>,
    wanted: [&str; N],
) -> Vec<[String; N]> {
    let mut reader = Reader::from_str(xml);
    let mut found = Vec::new();
    let mut current = [const { String::new() }; N];
    let mut filling = None;
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Start(tag) => {
                let tag = name(tag.local_name().as_ref());
                if record.is_some() && tag.as_deref() == record {
                    current = [const { String::new() }; N];
                }
                filling = wanted
                    .iter()
                    .position(|wanted| tag.as_deref() == Some(wanted))
                    .filter(|index| current[*index].is_empty());
            }
            Event::Text(part) => fill(&mut current, filling, &part.decode().unwrap_or_default()),
            Event::CData(part) => fill(&mut current, filling, &part.decode().unwrap_or_default()),
            Event::GeneralRef(part) => {
                let character = part.resolve_char_ref().ok().flatten().map(String::from);
                let entity = character.or_else(|| entity(&part.decode().ok()?));
                fill(&mut current, filling, &entity.unwrap_or_default());
            }
            Event::End(tag) => {
                filling = None;
                if record.is_some() && name(tag.local_name().as_ref()).as_deref() == record {
                    found.push(std::mem::replace(&mut current, [const { String::new() }; N]));
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if record.is_none() {
        found.push(current);
    }
    found
}

fn fill<const N: usize>(current: &mut [String; N], filling: Option<usize>, text: &str) {
    if let Some(index) = filling {
        current[index].push_str(text);
    }
}

fn name(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn entity(name: &str) -> Option<String> {
    let text = match name {
        "quot" => "\"",
        "apos" => "'",
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        _ => return None,
    };
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_read_with_or_without_namespace() {
        let xml = r#"<?xml version="1.0"?><Error><Code>NoSuchBucket</Code>
            <Message>no &quot;x&quot; &#38; y</Message><Resource/></Error>"#;
        assert_eq!(root(xml).as_deref(), Some("Error"));
        assert_eq!(text(xml, "Code").as_deref(), Some("NoSuchBucket"));
        assert_eq!(text(xml, "Message").as_deref(), Some("no \"x\" & y"));
        assert_eq!(text(xml, "Resource"), None);
        assert_eq!(text("<html>gone", "Code"), None);
        assert_eq!(text("not xml at all", "Code"), None);
    }

    #[test]
    fn uploads_are_read_one_by_one() {
        let xml = r#"<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <Bucket>b</Bucket><Upload><Key>a.mp4</Key><UploadId>1</UploadId></Upload>
            <Upload><UploadId>2</UploadId><Key>ă &amp; b</Key></Upload>
            </ListMultipartUploadsResult>"#;
        let found = records(xml, Some("Upload"), ["Key", "UploadId"]);
        assert_eq!(found, [["a.mp4", "1"], ["ă & b", "2"]]);
    }
}
