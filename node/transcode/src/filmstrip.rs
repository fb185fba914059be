//! The filmstrip: small pictures at even distances, in rows, upright.
//!
//! The tile for a time is the frame that shows at that time. Times are known beforehand, because
//! the recording was read to its end; frames go by in showing order; one frame is kept back.
//! [`Wanted`] says which packets have to be decoded for it where the film itself is not decoded.

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;

use holdfast_core::job::{FILMSTRIP_NAME, MadePicture};
use holdfast_core::transform::{FilmstripTransform, TILES};

use crate::error::Error;
use crate::pictures::{Frame, Rgb};
use crate::vtt::Cue;

/// Tiles in a filmstrip where nothing else is wanted.
const TILES_USUAL: u32 = 10;
const TILE_HEIGHT_MAX: u32 = 640;
/// Longest side of a JPEG, in pixels.
const JPEG_SIDE_MAX: u32 = 65_535;

/// The parts of a recording that have a tile each, as the times between them: one more than tiles.
/// A sentence for people where a wish cannot be kept.
pub(crate) fn parts(
    want: &FilmstripTransform,
    first_ns: i64,
    end_ns: i64,
) -> (Vec<i64>, Option<String>) {
    let span = (end_ns - first_ns).max(0);
    let most = i64::from(*TILES.end());
    let Some(interval_s) = want.interval_s else {
        let tiles = i64::from(want.tiles.unwrap_or(TILES_USUAL).clamp(1, *TILES.end()));
        return (even_parts(first_ns, span, tiles), None);
    };
    let interval = i64::from(interval_s.max(1)) * 1_000_000_000;
    let tiles = ((span + interval - 1) / interval).max(1);
    if tiles > most {
        let said = format!(
            "A tile every {interval_s} s would have been {tiles} tiles; the filmstrip has {most}, \
             one every {:.1} s.",
            span as f64 / most as f64 / 1e9
        );
        return (even_parts(first_ns, span, most), Some(said));
    }
    let starts = (0..tiles).map(|i| first_ns + i * interval);
    (starts.chain([first_ns + span]).collect(), None)
}

fn even_parts(first_ns: i64, span: i64, tiles: i64) -> Vec<i64> {
    let at = |i: i64| first_ns + (i128::from(span) * i128::from(i) / i128::from(tiles)) as i64;
    (0..=tiles).map(at).collect()
}

/// The times of the tiles: the middles of the parts.
pub(crate) fn middles(parts: &[i64]) -> Vec<i64> {
    parts.windows(2).map(|w| w[0] + (w[1] - w[0]) / 2).collect()
}

/// A tile in a picture's own shape, as wide as wanted; narrower where it would be too high.
fn tile_size(width: u32, (w, h): (u32, u32)) -> (u32, u32) {
    let (w, h) = (u64::from(w.max(1)), u64::from(h.max(1)));
    let height = (u64::from(width) * h + w / 2) / w;
    if height <= u64::from(TILE_HEIGHT_MAX) {
        return (width, (height as u32).max(2));
    }
    let narrow = (u64::from(TILE_HEIGHT_MAX) * w + h / 2) / h;
    ((narrow as u32).clamp(2, width), TILE_HEIGHT_MAX)
}

/// Columns and rows for tiles of a size; a sentence for people where a wish cannot be kept.
fn grid(tiles: u32, wanted: Option<u32>, (w, h): (u32, u32)) -> (u32, u32, Option<String>) {
    let most = (JPEG_SIDE_MAX / w).max(1);
    // With fewer columns the strip would be too high.
    let least = tiles.div_ceil((JPEG_SIDE_MAX / h).max(1));
    let asked = wanted.unwrap_or(tiles).clamp(1, tiles);
    let columns = asked.max(least).min(most);
    let said = (columns != asked).then(|| {
        format!(
            "A filmstrip with {asked} tiles in a row would be larger than a JPEG can be \
             ({JPEG_SIDE_MAX} pixels); it has {columns} in a row."
        )
    });
    (columns, tiles.div_ceil(columns), said)
}

/// Some of a filmstrip's tiles: one of so many shares, which several can draw at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Which, from 0.
    pub(crate) number: usize,
    /// Of how many.
    pub(crate) of: usize,
}

impl Share {
    /// All there are.
    pub(crate) const ALL: Self = Self { number: 0, of: 1 };

    /// Which of so many tiles.
    fn range(self, tiles: usize) -> Range<usize> {
        let at = |number: usize| tiles * number / self.of.max(1);
        at(self.number)..at(self.number + 1)
    }

    /// Its part of all tiles' times.
    pub(crate) fn take(self, times: &[i64]) -> Vec<i64> {
        times.get(self.range(times.len())).unwrap_or_default().to_vec()
    }
}

/// What was made of the tiles.
pub(crate) struct Made {
    /// The picture.
    pub(crate) picture: MadePicture,
    /// Where each tile lies and what it stands for.
    pub(crate) cues: Vec<Cue>,
    /// A sentence for people.
    pub(crate) remark: Option<String>,
}

/// Collects tiles.
#[derive(Debug)]
pub(crate) struct Filmstrip {
    parts: Vec<i64>,
    times: Vec<i64>,
    tile_width: u32,
    columns: Option<u32>,
    quality: u8,
    rotation: u16,
    strip: Option<Strip>,
    /// The tiles that it draws.
    drawn: Range<usize>,
    done: usize,
    before: Option<Frame>,
}

/// The picture, once a tile's shape is known.
#[derive(Debug)]
struct Strip {
    tile: (u32, u32),
    columns: u32,
    picture: Rgb,
    remark: Option<String>,
}

impl Filmstrip {
    /// For tiles in the middles of these parts, of which it draws a share.
    pub(crate) fn new(
        parts: Vec<i64>,
        share: Share,
        want: &FilmstripTransform,
        rotation: u16,
    ) -> Self {
        let times = middles(&parts);
        let drawn = share.range(times.len());
        Self {
            done: drawn.start,
            drawn,
            times,
            parts,
            tile_width: want.tile_width,
            columns: want.columns,
            quality: want.quality,
            rotation,
            strip: None,
            before: None,
        }
    }

    /// Looks at one frame.
    pub(crate) fn offer(&mut self, frame: &Frame) -> Result<(), Error> {
        let times = &self.times[..self.drawn.end];
        if times.get(self.done).is_some_and(|&t| t < frame.pts_ns) {
            let until = times.partition_point(|&t| t < frame.pts_ns);
            let shown = self.before.take().unwrap_or_else(|| frame.clone());
            self.paste(&shown, until)?;
        }
        if self.done < self.drawn.end {
            self.before = Some(frame.clone());
        }
        Ok(())
    }

    /// Puts a frame into the tiles up to this one.
    fn paste(&mut self, frame: &Frame, until: usize) -> Result<(), Error> {
        let (w, h) = self.strip(frame).tile;
        let (w, h) = if self.rotation % 180 == 90 { (h, w) } else { (w, h) };
        let tile = frame.rgb(w, h)?.rotated(self.rotation);
        let range = self.done..until;
        self.done = until;
        let strip = self.strip(frame);
        for number in range {
            let [x, y, ..] = strip.place(number);
            strip.picture.paste(&tile, x, y);
        }
        Ok(())
    }

    /// The strip, with every tile in the shape of the first.
    fn strip(&mut self, frame: &Frame) -> &mut Strip {
        let (w, h) = frame.shown_size();
        let (w, h) = if self.rotation % 180 == 90 { (h, w) } else { (w, h) };
        let width = self.tile_width;
        let tiles = self.times.len().max(1) as u32;
        let columns = self.columns;
        self.strip.get_or_insert_with(|| {
            let tile = tile_size(width, (w, h));
            let (columns, rows, remark) = grid(tiles, columns, tile);
            let picture = Rgb::black(columns * tile.0, rows * tile.1);
            Strip { tile, columns, picture, remark }
        })
    }

    /// There are no more frames.
    fn finish(&mut self) -> Result<(), Error> {
        self.before.take().map_or(Ok(()), |last| self.paste(&last, self.drawn.end))
    }

    /// Takes over what another share of the same filmstrip drew; all its frames are of one size. `false` where
    /// one of them has no frame.
    pub(crate) fn join(&mut self, mut other: Self) -> Result<bool, Error> {
        self.finish()?;
        other.finish()?;
        let (Some(ours), Some(theirs)) = (&mut self.strip, &other.strip) else { return Ok(false) };
        for number in other.drawn {
            let [x, y, width, height] = theirs.place(number);
            ours.picture.paste(&theirs.picture.cut(x, y, width, height), x, y);
        }
        Ok(true)
    }

    /// Writes the strip; `None` if there was no frame at all. Its last cue reaches to `end_ns`.
    pub(crate) fn write(mut self, end_ns: i64, file: &File) -> Result<Option<Made>, Error> {
        self.finish()?;
        let Some(strip) = self.strip else { return Ok(None) };
        let last = self.times.len().saturating_sub(1);
        let cue = |i: usize, part: &[i64]| Cue {
            from_ns: if i == 0 { 0 } else { part[0] },
            until_ns: if i == last { end_ns.max(part[1]) } else { part[1] },
            place: strip.place(i),
        };
        let cues = self.parts.windows(2).enumerate().map(|(i, part)| cue(i, part)).collect();
        let picture = strip.picture.write_jpeg(file, self.quality, FILMSTRIP_NAME)?;
        Ok(Some(Made { picture, cues, remark: strip.remark }))
    }
}

impl Strip {
    /// Left, top, width and height of a tile.
    fn place(&self, number: usize) -> [u32; 4] {
        let (column, row) = (number as u32 % self.columns, number as u32 / self.columns);
        [column * self.tile.0, row * self.tile.1, self.tile.0, self.tile.1]
    }
}

/// Which packets to decode so that every tile's frame comes out.
#[derive(Debug)]
pub(crate) struct Wanted {
    times: Vec<i64>,
    keyframes: Vec<i64>,
    open: bool,
    until: i64,
    /// Only some clusters are read: packets of a group whose key frame was not are not needed.
    sparse: Option<Sparse>,
}

/// The group that is being read.
#[derive(Debug)]
struct Sparse {
    /// Frames are shown in the order in which they come.
    in_order: bool,
    group: Range<i64>,
    /// Key frames that came, by their numbers.
    came: BTreeSet<usize>,
    /// One came at a time that is none of theirs.
    is_off: bool,
}

/// Frames come in another order than they are shown: so much longer to decode behind a tile's time.
const REORDER_NS: i64 = 1_000_000_000;

impl Wanted {
    /// For tiles at these times in a film with these key frames.
    pub(crate) fn new(times: Vec<i64>, mut keyframes: Vec<i64>) -> Self {
        keyframes.sort_unstable();
        Self { times, keyframes, open: true, until: i64::MAX, sparse: None }
    }

    /// The same where only the clusters of [`Wanted::groups`] are read. `in_order`: frames are shown in
    /// the order in which they come, so that nothing behind a tile's time is needed for it.
    pub(crate) fn sparse(self, in_order: bool) -> Self {
        let sparse = Sparse { in_order, group: 0..0, came: BTreeSet::new(), is_off: false };
        Self { sparse: Some(sparse), ..self }
    }

    /// Whether all groups with a tile were among the parts that were read, and their frames had the times
    /// that they have in the whole.
    pub(crate) fn has_all_groups(&self) -> bool {
        self.sparse.as_ref().is_none_or(|sparse| {
            !sparse.is_off && self.groups().iter().all(|group| sparse.came.contains(group))
        })
    }

    /// The numbers of the key frames, rising in time, whose groups have a tile.
    pub(crate) fn groups(&self) -> Vec<usize> {
        let keys = &self.keyframes;
        let number = |t: &i64| keys.partition_point(|k| k <= t).saturating_sub(1);
        let mut groups: Vec<usize> = self.times.iter().map(number).collect();
        groups.dedup();
        groups
    }

    /// Whether this packet is needed. To be asked for every packet in file order.
    pub(crate) fn needs(&mut self, pts_ns: i64, key: bool) -> bool {
        if key {
            let next = self.keyframes.partition_point(|&k| k <= pts_ns);
            let next = self.keyframes.get(next).copied().unwrap_or(i64::MAX);
            let last = self.times.iter().copied().filter(|t| (pts_ns..next).contains(t)).max();
            // Before the first key frame's time nothing can be shown: its tile is that frame.
            let early = self.keyframes.first() == Some(&pts_ns);
            self.open = last.is_some() || early;
            let in_order = self.sparse.as_ref().is_some_and(|sparse| sparse.in_order);
            let behind = if in_order { 0 } else { REORDER_NS };
            self.until = last.unwrap_or(pts_ns).saturating_add(behind);
            if let Some(sparse) = &mut self.sparse {
                sparse.group = pts_ns..next;
                let number = self.keyframes.partition_point(|&k| k <= pts_ns).checked_sub(1);
                match number.filter(|&number| self.keyframes[number] == pts_ns) {
                    Some(number) => {
                        sparse.came.insert(number);
                    }
                    None => sparse.is_off = true,
                }
            }
        }
        let of_its_group = self.sparse.as_ref().is_none_or(|it| it.group.contains(&pts_ns));
        self.open && pts_ns <= self.until && of_its_group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn times(first_ns: i64, end_ns: i64) -> Vec<i64> {
        middles(&parts(&FilmstripTransform::default(), first_ns, end_ns).0)
    }

    #[test]
    fn tiles_are_in_the_middles_of_equal_parts() {
        let t = times(1000, 21_000);
        assert_eq!((t.len(), t[0], t[9]), (10, 2000, 20_000));
        assert_eq!(times(5, 5), vec![5; 10]);
    }

    #[test]
    fn a_tile_every_so_many_seconds() {
        let want = |s| FilmstripTransform { interval_s: Some(s), ..Default::default() };
        let (p, said) = parts(&want(5), 0, 12 * S);
        assert_eq!((p, said), (vec![0, 5 * S, 10 * S, 12 * S], None));
        let (p, said) = parts(&want(1), 0, 3600 * S);
        assert_eq!((p.len(), p[1]), (401, 9 * S));
        assert!(said.unwrap().contains("3600 tiles; the filmstrip has 400, one every 9.0 s"));
    }

    #[test]
    fn tiles_have_the_pictures_shape() {
        assert_eq!(tile_size(160, (1280, 720)), (160, 90));
        assert_eq!(tile_size(160, (720, 1280)), (160, 284));
        assert_eq!(tile_size(640, (720, 1280)), (360, 640));
        assert_eq!(tile_size(640, (4, 16_000)), (2, 640));
        assert_eq!(tile_size(160, (16_000, 4)), (160, 2));
    }

    #[test]
    fn no_side_is_longer_than_a_jpeg_can_be() {
        assert_eq!(grid(10, None, (160, 90)), (10, 1, None));
        assert_eq!(grid(10, Some(4), (160, 90)), (4, 3, None));
        assert_eq!(grid(10, Some(40), (160, 90)), (10, 1, None));
        let (columns, rows, said) = grid(400, None, (640, 360));
        assert_eq!((columns, rows), (102, 4));
        assert!(said.unwrap().contains("102 in a row"));
        let (columns, rows, said) = grid(400, Some(1), (640, 640));
        assert!(rows * 640 <= JPEG_SIDE_MAX && columns * rows >= 400 && said.is_some());
    }

    #[test]
    fn only_groups_with_a_tile_are_decoded() {
        let keys: Vec<i64> = (0..60).map(|i| i * 10 * S).collect();
        let mut wanted = Wanted::new(times(0, 600 * S), keys.clone());
        let mut decoded = 0;
        for i in 0..600 {
            decoded += i64::from(wanted.needs(i * S, keys.contains(&(i * S))));
        }
        // Ten tiles at 30 s + i * 60 s, each on a key frame, with the second behind it.
        assert!((20..=25).contains(&decoded), "{decoded}");
    }

    #[test]
    fn of_groups_that_are_read_alone_nothing_else_is_decoded() {
        let keys: Vec<i64> = (0..60).map(|i| i * 10 * S).collect();
        let wanted = Wanted::new(times(0, 600 * S), keys.clone());
        let groups = wanted.groups();
        assert_eq!(groups, (0..10).map(|i| 3 + i * 6).collect::<Vec<_>>());
        // Each group is read with the one before it, which is not wanted, less that one's key frame.
        let mut wanted = wanted.sparse(true);
        let mut decoded = Vec::new();
        for key in std::iter::once(0).chain(groups) {
            let from = if key == 0 { 0 } else { keys[key] - 5 * S };
            for at in (from..keys[key] + 10 * S).step_by(1_000_000_000) {
                if wanted.needs(at, keys.contains(&at)) {
                    decoded.push(at / S);
                }
            }
        }
        assert_eq!(decoded, [0, 30, 90, 150, 210, 270, 330, 390, 450, 510, 570]);
        assert_eq!(Wanted::new(vec![5, 15, 16], vec![0, 10, 20]).groups(), [0, 1]);
    }

    #[test]
    fn shares_have_every_tile_once() {
        for (tiles, of) in (0..40).flat_map(|tiles| (1..6).map(move |of| (tiles, of))) {
            let times: Vec<i64> = (0..tiles).collect();
            let all = (0..of).flat_map(|number| Share { number, of }.take(&times));
            assert_eq!(all.collect::<Vec<_>>(), times, "{of} shares");
        }
        assert_eq!(Share::ALL.take(&[1, 2]), [1, 2]);
    }

    #[test]
    fn groups_that_did_not_come_or_at_another_time_are_noticed() {
        let read = |times: &[i64]| {
            let mut wanted = Wanted::new(vec![5, 25], vec![0, 10, 20]).sparse(true);
            times.iter().for_each(|&at| _ = wanted.needs(at, at % 10 == 0 || at == 21));
            wanted.has_all_groups()
        };
        assert!(read(&[0, 5, 20, 25]) && read(&[0, 10, 20]));
        assert!(!read(&[0, 5]) && !read(&[0, 20, 21]));
        assert!(Wanted::new(vec![5], vec![0]).has_all_groups(), "all of it is read");
    }

    #[test]
    fn without_key_frames_all_is_decoded() {
        let mut wanted = Wanted::new(times(0, 1000), vec![]);
        assert!((0..100).all(|i| wanted.needs(i * 10, false)));
    }
}
