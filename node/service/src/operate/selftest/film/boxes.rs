//! What an .mp4 says of itself: its boxes (ISO/IEC 14496-12), as far as a self-test asks. It has to be
//! whole: boxes that fill it exactly, its index, and media.

/// Boxes within boxes that are looked at.
const DEPTH_MAX: u32 = 6;

/// A film.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Film {
    /// Its length in milliseconds, as its `mvhd` says.
    pub(super) duration_ms: u64,
    /// The size of its pictures in pixels, as a sample entry says.
    pub(super) size: Option<(u32, u32)>,
    /// Samples of H.264, and of AAC.
    pictures: u32,
    sounds: u32,
    media_bytes: usize,
    entry: [u8; 4],
}

impl Film {
    pub(super) fn of(bytes: &[u8]) -> Result<Self, String> {
        if bytes.get(4..8) != Some(b"ftyp") {
            return Err("it does not begin with ftyp".into());
        }
        let mut film = Self::default();
        film.walk(bytes, 0)?;
        if film.media_bytes == 0 {
            return Err("there is no media in it".into());
        }
        Ok(film)
    }

    pub(super) fn has_picture_and_sound(&self) -> Result<(), String> {
        if self.pictures == 0 {
            return Err("the .mp4 has no picture in H.264".into());
        }
        if self.sounds == 0 {
            return Err("the .mp4 has no sound in AAC".into());
        }
        Ok(())
    }

    fn walk(&mut self, mut rest: &[u8], depth: u32) -> Result<(), String> {
        while !rest.is_empty() {
            let (name, content, after) = split(rest)?;
            self.take(name, content, depth)?;
            rest = after;
        }
        Ok(())
    }

    fn take(&mut self, name: [u8; 4], content: &[u8], depth: u32) -> Result<(), String> {
        let cut = || format!("its {} is cut short", String::from_utf8_lossy(&name));
        match &name {
            b"moov" | b"trak" | b"mdia" | b"minf" | b"stbl" if depth < DEPTH_MAX => {
                self.walk(content, depth + 1)?;
            }
            b"mdat" => self.media_bytes += content.len(),
            b"mvhd" => self.duration_ms = duration_ms(content).ok_or_else(cut)?,
            b"stsd" => {
                self.entry = word(content, 12).ok_or_else(cut)?.to_be_bytes();
                if &self.entry == b"avc1" {
                    let both = word(content, 8 + 32).ok_or_else(cut)?;
                    self.size = Some((both >> 16, both & 0xffff));
                }
            }
            // After the stsd of its track; its count says how many samples there are.
            b"stsz" => {
                let samples = word(content, 8).ok_or_else(cut)?;
                match &self.entry {
                    b"avc1" => self.pictures += samples,
                    b"mp4a" => self.sounds += samples,
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

type Split<'a> = ([u8; 4], &'a [u8], &'a [u8]);

/// The first box: its name, what is in it, what comes after it.
fn split(bytes: &[u8]) -> Result<Split<'_>, String> {
    let cut = || "it is cut short".to_owned();
    let name = word(bytes, 4).ok_or_else(cut)?.to_be_bytes();
    let (head, length) = match word(bytes, 0).ok_or_else(cut)? {
        0 => (8, bytes.len()),
        1 => {
            let long = (u64::from(word(bytes, 8).ok_or_else(cut)?) << 32)
                | u64::from(word(bytes, 12).ok_or_else(cut)?);
            (16, usize::try_from(long).map_err(|_| cut())?)
        }
        short => (8, short as usize),
    };
    let (this, after) = bytes.split_at_checked(length).ok_or_else(cut)?;
    let content =
        this.get(head..).ok_or_else(|| "a box in it is shorter than its head".to_owned())?;
    Ok((name, content, after))
}

fn duration_ms(mvhd: &[u8]) -> Option<u64> {
    let (scale, duration) = if mvhd.first()? == &1 {
        (word(mvhd, 20)?, u64::from(word(mvhd, 24)?) << 32 | u64::from(word(mvhd, 28)?))
    } else {
        (word(mvhd, 12)?, u64::from(word(mvhd, 16)?))
    };
    duration.checked_mul(1_000)?.checked_div(u64::from(scale))
}

/// Four bytes at a place.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn boxed(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len() + 8).unwrap();
        [&length.to_be_bytes()[..], name, content].concat()
    }

    fn track(entry: &[u8; 4], (width, height): (u32, u32)) -> Vec<u8> {
        let size = (width << 16 | height).to_be_bytes();
        let entry = [&[0, 0, 0, 86][..], entry, &[0; 24], &size, &[0; 50]].concat();
        let stsd = boxed(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1][..], &entry].concat());
        let stsz = boxed(b"stsz", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25]);
        let stbl = boxed(b"stbl", &[stsd, stsz].concat());
        boxed(b"trak", &boxed(b"mdia", &boxed(b"minf", &stbl)))
    }

    /// An .mp4 of this length, with pictures of this size and sound.
    pub(in super::super) fn film(ms: u32, size: (u32, u32)) -> Vec<u8> {
        let length = [[0; 12].as_slice(), &1_000_u32.to_be_bytes(), &ms.to_be_bytes()].concat();
        let tracks = [track(b"avc1", size), track(b"mp4a", (0, 0))].concat();
        let moov = boxed(b"moov", &[boxed(b"mvhd", &length), tracks].concat());
        [boxed(b"ftyp", b"isom"), moov, boxed(b"mdat", b"media")].concat()
    }

    #[test]
    fn a_whole_film_says_its_length_and_what_is_in_it() {
        let film = Film::of(&film(1_234, (320, 180))).unwrap();
        assert_eq!((film.duration_ms, film.size), (1_234, Some((320, 180))));
        film.has_picture_and_sound().unwrap();
    }

    #[test]
    fn a_film_that_is_cut_anywhere_is_none() {
        let whole = film(1_000, (320, 180));
        for length in 0..whole.len() {
            assert!(Film::of(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
        }
        assert!(Film::of(&[&whole[..], &[0, 0, 0, 4, b'f', b'r', b'e', b'e']].concat()).is_err());
    }

    #[test]
    fn a_film_without_sound_is_told() {
        let length = [[0; 12].as_slice(), &1_000_u32.to_be_bytes(), &9_u32.to_be_bytes()].concat();
        let moov = boxed(b"moov", &[boxed(b"mvhd", &length), track(b"avc1", (2, 2))].concat());
        let silent = [boxed(b"ftyp", b"isom"), moov, boxed(b"mdat", b"media")].concat();
        let said = Film::of(&silent).unwrap().has_picture_and_sound().unwrap_err();
        assert!(said.contains("no sound"), "{said}");
    }
}
