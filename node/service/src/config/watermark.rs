//! The picture of a watermark: a PNG in a file that the configuration names, or in the setting itself.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use holdfast_core::transform::{WATERMARK_BYTES_MAX, WATERMARK_SIDE_PX_MAX};

const DATA: &str = "data:image/png;base64,";
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Length and type of a PNG's first chunk.
const HEAD: &[u8] = b"\0\0\0\rIHDR";

/// The bytes of a watermark's PNG, looked at as far as its head.
///
/// # Errors
/// A sentence that says what is wrong with it and what would be right.
pub(crate) fn read(image: &str) -> Result<Vec<u8>, String> {
    let png = match image.strip_prefix(DATA) {
        Some(text) => BASE64_STANDARD
            .decode(text)
            .map_err(|error| format!("what follows {DATA} is no base64: {error}"))?,
        None => from_file(Path::new(image))
            .map_err(|error| format!("cannot read {image}: {error}; name a PNG on this node"))?,
    };
    if png.len() > WATERMARK_BYTES_MAX {
        return Err(format!("the PNG has more than {} KiB", WATERMARK_BYTES_MAX >> 10));
    }
    let sides = png.strip_prefix(SIGNATURE).and_then(|rest| rest.strip_prefix(HEAD));
    let sides = sides.and_then(|rest| Some((side(rest, 0)?, side(rest, 4)?)));
    let (width, height) = sides.ok_or("is no PNG")?;
    if !(1..=WATERMARK_SIDE_PX_MAX).contains(&width)
        || !(1..=WATERMARK_SIDE_PX_MAX).contains(&height)
    {
        return Err(format!(
            "the PNG is {width}x{height}; it may have 1 to {WATERMARK_SIDE_PX_MAX} pixels a side"
        ));
    }
    Ok(png)
}

/// Whether a watermark lies in a file.
pub(super) fn is_file(image: &str) -> bool {
    !image.starts_with(DATA)
}

fn side(head: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?))
}

fn from_file(path: &Path) -> io::Result<Vec<u8>> {
    if !path.is_absolute() {
        return Err(io::Error::other("the path must begin with /"));
    }
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut png = Vec::new();
    file.take(WATERMARK_BYTES_MAX as u64 + 1).read_to_end(&mut png)?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        [SIGNATURE, HEAD, &width.to_be_bytes(), &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat()
    }

    fn data(png: &[u8]) -> String {
        format!("{DATA}{}", BASE64_STANDARD.encode(png))
    }

    #[test]
    fn a_png_is_taken_from_the_setting_and_from_a_file() {
        assert_eq!(read(&data(&png(120, 40))), Ok(png(120, 40)));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logo.png");
        std::fs::write(&path, png(1, 1)).unwrap();
        assert_eq!(read(path.to_str().unwrap()), Ok(png(1, 1)));
    }

    #[test]
    fn what_is_no_watermark_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large.png");
        std::fs::write(&large, vec![0; WATERMARK_BYTES_MAX + 9]).unwrap();
        for (image, said) in [
            (String::new(), "must begin with /"),
            ("logo.png".into(), "must begin with /"),
            ("/dev/zero".into(), "no file"),
            (dir.path().to_str().unwrap().to_owned(), "no file"),
            (dir.path().join("lgoo.png").to_str().unwrap().to_owned(), "lgoo.png"),
            (large.to_str().unwrap().to_owned(), "more than 256 KiB"),
            (format!("{DATA}%%%"), "no base64"),
            (data(b"GIF89a"), "no PNG"),
            (data(SIGNATURE), "no PNG"),
            (data(&png(0, 4)), "0x4"),
            (data(&png(9_000, 4)), "9000x4"),
        ] {
            let sentence = read(&image).unwrap_err();
            assert!(sentence.contains(said), "{image:.60}: {sentence}");
        }
    }
}
