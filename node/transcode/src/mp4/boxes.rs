//! Boxes of ISO/IEC 14496-12, -14 and -15 as bytes.
//!
//! 64-bit fields (version 1) throughout: a recording may be longer than 32 bits of its clock.

/// What a track's samples are.
#[derive(Debug, Clone)]
pub(crate) enum Format {
    /// H.264 with its `AVCDecoderConfigurationRecord`.
    Avc {
        /// The record.
        config: Vec<u8>,
        /// Width of a frame in pixels.
        width: u32,
        /// Height of a frame in pixels.
        height: u32,
        /// Shape of a pixel.
        par: (u32, u32),
        /// Clockwise rotation for showing: 0, 90, 180 or 270 degrees.
        rotation: u16,
    },
    /// AAC with its `AudioSpecificConfig`.
    Aac {
        /// The configuration.
        config: Vec<u8>,
        /// Channels.
        channels: u32,
        /// Samples per second.
        rate_hz: u32,
    },
}

/// One track's tables, ready to be written. Times are in the track's own timescale.
#[derive(Debug)]
pub(crate) struct Tables {
    /// What the samples are.
    pub(crate) format: Format,
    /// Ticks per second.
    pub(crate) timescale: u32,
    /// Duration of each sample.
    pub(crate) durations: Vec<u32>,
    /// Time to add to each sample's decoding time to get its showing time; empty if none.
    pub(crate) offsets: Vec<u32>,
    /// Size of each sample in bytes.
    pub(crate) sizes: Vec<u32>,
    /// Numbers of key samples, from 0; `None`: all are.
    pub(crate) keys: Option<Vec<u32>>,
    /// File offset (from the start of the media data) and number of samples of each chunk.
    pub(crate) chunks: Vec<(u64, u32)>,
    /// Ticks of the media that come before the start of the film.
    pub(crate) media_start: u64,
    /// Emptiness before the first sample, in the movie's timescale.
    pub(crate) delay: u64,
    /// Length of what is shown, in the movie's timescale.
    pub(crate) shown: u64,
}

/// Ticks per second of the movie.
pub(crate) const MOVIE_TIMESCALE: u32 = 90_000;

type Bytes = Vec<u8>;

/// One box.
pub(crate) fn bx(name: [u8; 4], parts: &[&[u8]]) -> Bytes {
    let len = 8 + parts.iter().map(|p| p.len()).sum::<usize>();
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(&(len as u32).to_be_bytes());
    out.extend_from_slice(&name);
    parts.iter().for_each(|p| out.extend_from_slice(p));
    out
}

fn full(name: [u8; 4], version: u8, flags: u32, parts: &[&[u8]]) -> Bytes {
    let head = (u32::from(version) << 24 | flags).to_be_bytes();
    let mut all = vec![head.as_slice()];
    all.extend_from_slice(parts);
    bx(name, &all)
}

fn table<const N: usize>(name: [u8; 4], rows: impl Iterator<Item = [u8; N]>) -> Bytes {
    let mut count = 0u32;
    let mut body = Vec::new();
    for row in rows {
        count += 1;
        body.extend_from_slice(&row);
    }
    full(name, 0, 0, &[&count.to_be_bytes(), &body])
}

/// `ftyp`.
pub(crate) fn ftyp() -> Bytes {
    bx(*b"ftyp", &[b"isom", &512u32.to_be_bytes(), b"isomiso2avc1mp41"])
}

/// `moov`, with the media data beginning at `data_at`.
pub(crate) fn moov(tracks: &[Tables], data_at: u64) -> Bytes {
    let duration = tracks.iter().map(|t| t.delay + t.shown).max().unwrap_or(0);
    let mut body = mvhd(duration, tracks.len() as u32 + 1);
    for (i, t) in tracks.iter().enumerate() {
        body.extend(trak(t, i as u32 + 1, data_at));
    }
    bx(*b"moov", &[&body])
}

fn matrix(rotation: u16, width: u32, height: u32) -> Bytes {
    const ONE: i32 = 0x10000;
    let (w, h) = ((width << 16) as i32, (height << 16) as i32);
    let (a, b, c, d, x, y) = match rotation {
        90 => (0, ONE, -ONE, 0, h, 0),
        180 => (-ONE, 0, 0, -ONE, w, h),
        270 => (0, -ONE, ONE, 0, 0, w),
        _ => (ONE, 0, 0, ONE, 0, 0),
    };
    [a, b, 0, c, d, 0, x, y, 0x4000_0000].into_iter().flat_map(i32::to_be_bytes).collect()
}

fn mvhd(duration: u64, next_track: u32) -> Bytes {
    let parts: [&[u8]; 8] = [
        &[0; 16],
        &MOVIE_TIMESCALE.to_be_bytes(),
        &duration.to_be_bytes(),
        &[0, 1, 0, 0, 1, 0, 0, 0, 0, 0],
        &[0; 6],
        &matrix(0, 0, 0),
        &[0; 24],
        &next_track.to_be_bytes(),
    ];
    full(*b"mvhd", 1, 0, &parts)
}

fn trak(t: &Tables, id: u32, data_at: u64) -> Bytes {
    let (volume, m, width, height) = match &t.format {
        Format::Avc { width, height, par, rotation, .. } => {
            let shown = u64::from(*width) * u64::from(par.0.max(1)) / u64::from(par.1.max(1));
            let shown = shown.clamp(1, 65_535) as u32;
            (0u16, matrix(*rotation, shown, *height), shown << 16, height << 16)
        }
        Format::Aac { .. } => (0x0100, matrix(0, 0, 0), 0, 0),
    };
    let group = u16::from(volume != 0);
    let parts: [&[u8]; 12] = [
        &[0; 16],
        &id.to_be_bytes(),
        &[0; 4],
        &(t.delay + t.shown).to_be_bytes(),
        &[0; 8],
        &[0; 2],
        &group.to_be_bytes(),
        &volume.to_be_bytes(),
        &[0; 2],
        &m,
        &width.to_be_bytes(),
        &height.to_be_bytes(),
    ];
    let tkhd = full(*b"tkhd", 1, 3, &parts);
    bx(*b"trak", &[&tkhd, &edts(t), &mdia(t, data_at)])
}

fn edts(t: &Tables) -> Bytes {
    let mut entries = Vec::new();
    let mut count = 0u32;
    let mut entry = |length: u64, media: i64| {
        entries.extend_from_slice(&length.to_be_bytes());
        entries.extend_from_slice(&media.to_be_bytes());
        entries.extend_from_slice(&[0, 1, 0, 0]);
        count += 1;
    };
    if t.delay > 0 {
        entry(t.delay, -1);
    }
    entry(t.shown, t.media_start as i64);
    bx(*b"edts", &[&full(*b"elst", 1, 0, &[&count.to_be_bytes(), &entries])])
}

fn mdia(t: &Tables, data_at: u64) -> Bytes {
    let total: u64 = t.durations.iter().map(|&d| u64::from(d)).sum();
    let mdhd = full(
        *b"mdhd",
        1,
        0,
        &[&[0; 16], &t.timescale.to_be_bytes(), &total.to_be_bytes(), &[0x55, 0xc4, 0, 0]],
    );
    let (kind, name, head) = match t.format {
        Format::Avc { .. } => (b"vide", "Video\0", full(*b"vmhd", 0, 1, &[&[0; 8]])),
        Format::Aac { .. } => (b"soun", "Audio\0", full(*b"smhd", 0, 0, &[&[0; 4]])),
    };
    let hdlr = full(*b"hdlr", 0, 0, &[&[0; 4], kind, &[0; 12], name.as_bytes()]);
    let url = full(*b"url ", 0, 1, &[]);
    let dinf = bx(*b"dinf", &[&full(*b"dref", 0, 0, &[&1u32.to_be_bytes(), &url])]);
    let minf = bx(*b"minf", &[&head, &dinf, &stbl(t, data_at)]);
    bx(*b"mdia", &[&mdhd, &hdlr, &minf])
}

fn runs(values: &[u32]) -> impl Iterator<Item = [u8; 8]> + '_ {
    values.chunk_by(|a, b| a == b).map(|run| {
        let mut row = [0; 8];
        row[..4].copy_from_slice(&(run.len() as u32).to_be_bytes());
        row[4..].copy_from_slice(&run[0].to_be_bytes());
        row
    })
}

fn stbl(t: &Tables, data_at: u64) -> Bytes {
    let mut body = sample_entry(t);
    body.extend(table(*b"stts", runs(&t.durations)));
    if let Some(keys) = &t.keys {
        body.extend(table(*b"stss", keys.iter().map(|k| (k + 1).to_be_bytes())));
    }
    if !t.offsets.is_empty() {
        body.extend(table(*b"ctts", runs(&t.offsets)));
    }
    let mut first = 1u32;
    let stsc = t.chunks.chunk_by(|a, b| a.1 == b.1).map(|run| {
        let mut row = [0; 12];
        row[..4].copy_from_slice(&first.to_be_bytes());
        row[4..8].copy_from_slice(&run[0].1.to_be_bytes());
        row[8..].copy_from_slice(&1u32.to_be_bytes());
        first += run.len() as u32;
        row
    });
    body.extend(table(*b"stsc", stsc));
    let sizes: Bytes = t.sizes.iter().flat_map(|s| s.to_be_bytes()).collect();
    let count = t.sizes.len() as u32;
    body.extend(full(*b"stsz", 0, 0, &[&[0; 4], &count.to_be_bytes(), &sizes]));
    let end = t.chunks.last().map_or(0, |c| c.0) + data_at;
    if u32::try_from(end).is_ok() {
        body.extend(table(
            *b"stco",
            t.chunks.iter().map(|c| ((c.0 + data_at) as u32).to_be_bytes()),
        ));
    } else {
        body.extend(table(*b"co64", t.chunks.iter().map(|c| (c.0 + data_at).to_be_bytes())));
    }
    bx(*b"stbl", &[&body])
}

fn sample_entry(t: &Tables) -> Bytes {
    let head: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 1];
    let entry = match &t.format {
        Format::Avc { config, width, height, par, .. } => {
            let mut extra = bx(*b"avcC", &[config]);
            if par.0 != par.1 {
                extra.extend(bx(*b"pasp", &[&par.0.to_be_bytes(), &par.1.to_be_bytes()]));
            }
            let parts: [&[u8]; 8] = [
                head,
                &[0; 16],
                &(*width as u16).to_be_bytes(),
                &(*height as u16).to_be_bytes(),
                &[0, 0x48, 0, 0, 0, 0x48, 0, 0, 0, 0, 0, 0, 0, 1],
                &[0; 32],
                &[0, 24, 0xff, 0xff],
                &extra,
            ];
            bx(*b"avc1", &parts)
        }
        Format::Aac { config, channels, rate_hz } => {
            let rate = if *rate_hz < 65_536 { rate_hz << 16 } else { 0 };
            let parts: [&[u8]; 6] = [
                head,
                &[0; 8],
                &(*channels as u16).to_be_bytes(),
                &[0, 16, 0, 0, 0, 0],
                &rate.to_be_bytes(),
                &esds(config, t),
            ];
            bx(*b"mp4a", &parts)
        }
    };
    full(*b"stsd", 0, 0, &[&1u32.to_be_bytes(), &entry])
}

fn esds(config: &[u8], t: &Tables) -> Bytes {
    let bytes: u64 = t.sizes.iter().map(|&s| u64::from(s)).sum();
    let ticks: u64 = t.durations.iter().map(|&d| u64::from(d)).sum();
    let rate = (bytes * 8 * u64::from(t.timescale)).checked_div(ticks).unwrap_or(0) as u32;
    let descriptor = |tag: u8, parts: &[&[u8]]| {
        let len = parts.iter().map(|p| p.len()).sum::<usize>() as u32;
        let mut out = vec![tag, 0x80 | (len >> 21) as u8, 0x80 | (len >> 14) as u8];
        out.extend([0x80 | (len >> 7) as u8, len as u8 & 0x7f]);
        parts.iter().for_each(|p| out.extend_from_slice(p));
        out
    };
    let specific = descriptor(5, &[config]);
    let rates = [rate.to_be_bytes(), rate.to_be_bytes()].concat();
    let decoder = descriptor(4, &[&[0x40, 0x15, 0, 0, 0], &rates, &specific]);
    full(*b"esds", 0, 0, &[&descriptor(3, &[&[0, 0, 0], &decoder, &descriptor(6, &[&[2]])])])
}
