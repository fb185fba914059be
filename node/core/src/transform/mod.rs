//! What an environment wants done to its recordings on their way to the `.mp4` and the pictures.
//!
//! A member of an environment's settings and of a [`crate::job::Job`] alike. Without any of it a film keeps
//! its size, its frames and its sound.

mod words;

use serde::{Deserialize, Serialize};

pub use words::{Aspect, Length, Moment, Unreadable};

/// Least and largest width or height that can be asked for, in pixels.
pub const SIDE_PX: std::ops::RangeInclusive<u32> = 16..=8192;
/// Frame rates that can be asked for, in frames a second.
pub const FPS: std::ops::RangeInclusive<u32> = 1..=120;
/// Tiles that a filmstrip can have.
pub const TILES: std::ops::RangeInclusive<u32> = 1..=400;
/// Widths that a tile can have, in pixels.
pub const TILE_WIDTH_PX: std::ops::RangeInclusive<u32> = 16..=640;
/// Longest distance of two tiles, in seconds.
pub const INTERVAL_S_MAX: u32 = 3600;
/// Largest watermark, in bytes of PNG.
pub const WATERMARK_BYTES_MAX: usize = 256 << 10;
/// Largest width or height of a watermark's PNG, in pixels.
pub const WATERMARK_SIDE_PX_MAX: u32 = 4096;

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Transform {
    /// The picture of the film.
    pub video: VideoTransform,
    /// The sound of the film.
    pub audio: AudioTransform,
    /// A picture laid over the film, and over snapshot and filmstrip with it.
    pub watermark: Option<Watermark>,
    /// The snapshot.
    pub snapshot: SnapshotTransform,
    /// The filmstrip.
    pub filmstrip: FilmstripTransform,
}

/// What happens to the picture. The recording's own rotation is honoured first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct VideoTransform {
    /// What becomes of its size. Nothing is ever scaled up.
    pub size: SizePolicy,
    /// Largest width as it is shown, in pixels, 16 to 8192; for `fit` and `crop`.
    pub max_width: Option<u32>,
    /// Largest height as it is shown, in pixels, 16 to 8192; for `fit` and `crop`.
    pub max_height: Option<u32>,
    /// Shape to crop to, such as `16:9`; for `crop`.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub aspect: Option<Aspect>,
    /// How much is spent on how it looks.
    pub quality: Quality,
    /// Most frames a second, 1 to 120. Frames above it are left out.
    pub max_fps: Option<u32>,
    /// Frames at even distances: at `max_fps`, or without it at the recording's own average.
    pub constant_fps: bool,
    /// Turned clockwise by so many degrees: 0, 90, 180 or 270.
    pub rotate: u16,
    /// Mirrored, after turning.
    pub flip: Flip,
}

/// What becomes of a film's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SizePolicy {
    /// It stays.
    #[default]
    Keep,
    /// Scaled down until it lies within `max_width` and `max_height`, in its own shape.
    Fit,
    /// Cut about its middle to the shape `aspect`, then as with `fit`.
    Crop,
}

/// How much is spent on how a film looks. Steps of about a third in size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Smaller files: CRF 27 with x264.
    Small,
    /// CRF 23 with x264.
    #[default]
    Standard,
    /// Larger files: CRF 19 with x264.
    High,
}

/// Mirrors a film.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Flip {
    /// Not at all.
    #[default]
    None,
    /// Left and right change places.
    Horizontal,
    /// Top and bottom change places.
    Vertical,
}

/// What happens to the sound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AudioTransform {
    /// Its channels.
    pub channels: Channels,
    /// Its loudness.
    pub loudness: Loudness,
    /// Leave it out.
    pub mute: bool,
}

/// Channels of a film.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    /// One stays one, two stay two; more become two.
    #[default]
    Keep,
    /// One.
    Mono,
    /// Two.
    Stereo,
}

/// Loudness of a film.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Loudness {
    /// As it was recorded.
    #[default]
    Keep,
    /// Brought to −16 LUFS, measured over the whole as EBU R 128 says, with peaks below −1.5 dBTP.
    #[serde(rename = "r128")]
    R128,
}

/// A picture laid over the film.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Watermark {
    /// A PNG, with alpha where it has one. In settings: its path, or `data:image/png;base64,…`. In a
    /// job: empty; the PNG is the third descriptor.
    #[serde(default)]
    pub image: String,
    /// Where it lies.
    #[serde(default)]
    pub position: Position,
    /// Its distance from the edges that it lies at: `16px`, or `2%` of the film's shorter side.
    #[serde(default = "margin")]
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub margin: Length,
    /// Its width: `120px`, or `15%` of the film's. Never scaled up.
    #[serde(default = "width")]
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub width: Length,
    /// 0 (not seen) to 1 (as its own alpha says).
    #[serde(default = "one")]
    pub opacity: f32,
    /// All over the film, at this width, with `margin` between.
    #[serde(default)]
    pub tiled: bool,
}

fn margin() -> Length {
    Length::Percent(2.0)
}

fn width() -> Length {
    Length::Percent(15.0)
}

fn one() -> f32 {
    1.0
}

/// One of nine places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Position {
    TopLeft,
    Top,
    TopRight,
    Left,
    Center,
    Right,
    BottomLeft,
    Bottom,
    #[default]
    BottomRight,
}

/// What the snapshot is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct SnapshotTransform {
    /// Which frame: `first` (the first that shows something), `12.5s`, or `50%` of the way.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub at: Moment,
    /// Largest width, in pixels, 16 to 8192; the film's own where none is given.
    pub max_width: Option<u32>,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
}

impl Default for SnapshotTransform {
    fn default() -> Self {
        Self { at: Moment::First, max_width: None, quality: 88 }
    }
}

/// What the filmstrip is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct FilmstripTransform {
    /// How many tiles, 1 to 400; not beside `interval_s`. 10 where neither is given.
    pub tiles: Option<u32>,
    /// A tile every so many seconds, 1 to 3600; never more than 400 tiles.
    pub interval_s: Option<u32>,
    /// Tiles in a row, 1 to 400; all of them where none is given, as far as a JPEG is wide.
    pub columns: Option<u32>,
    /// Width of a tile, in pixels, 16 to 640.
    pub tile_width: u32,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// Whether a WebVTT file beside it says which tile shows which time, for players.
    pub vtt: bool,
}

impl Default for FilmstripTransform {
    fn default() -> Self {
        Self {
            tiles: None,
            interval_s: None,
            columns: None,
            tile_width: 160,
            quality: 82,
            vtt: false,
        }
    }
}

impl Transform {
    /// Checks ranges, and that members that need each other are there.
    ///
    /// # Errors
    /// A sentence that names the member and says what to do.
    pub fn check(&self) -> Result<(), String> {
        let Self { video, watermark, snapshot, filmstrip, .. } = self;
        within("video.max_width", video.max_width, &SIDE_PX)?;
        within("video.max_height", video.max_height, &SIDE_PX)?;
        within("video.max_fps", video.max_fps, &FPS)?;
        if !matches!(video.rotate, 0 | 90 | 180 | 270) {
            return Err("video.rotate: must be 0, 90, 180 or 270".into());
        }
        let has_limit = video.max_width.is_some() || video.max_height.is_some();
        match video.size {
            SizePolicy::Keep if has_limit => {
                return Err("video.max_width, video.max_height: have no effect with size = \
                    \"keep\"; write size = \"fit\" or \"crop\""
                    .into());
            }
            SizePolicy::Fit if !has_limit => {
                return Err("video.size: \"fit\" needs max_width or max_height".into());
            }
            SizePolicy::Crop if video.aspect.is_none() => {
                return Err("video.size: \"crop\" needs an aspect, such as \"16:9\"".into());
            }
            SizePolicy::Keep | SizePolicy::Fit if video.aspect.is_some() => {
                return Err("video.aspect: has no effect without size = \"crop\"".into());
            }
            _ => {}
        }
        if let Some(mark) = watermark {
            if !(0.0..=1.0).contains(&mark.opacity) {
                return Err("watermark.opacity: must be 0 to 1".into());
            }
            if mark.width.of(SIDE_PX.end().to_owned()) == 0 {
                return Err("watermark.width: must be more than nothing".into());
            }
        }
        within("snapshot.max_width", snapshot.max_width, &SIDE_PX)?;
        within("snapshot.quality", Some(snapshot.quality.into()), &(1..=100))?;
        within("filmstrip.tiles", filmstrip.tiles, &TILES)?;
        within("filmstrip.interval_s", filmstrip.interval_s, &(1..=INTERVAL_S_MAX))?;
        within("filmstrip.columns", filmstrip.columns, &TILES)?;
        within("filmstrip.tile_width", Some(filmstrip.tile_width), &TILE_WIDTH_PX)?;
        within("filmstrip.quality", Some(filmstrip.quality.into()), &(1..=100))?;
        if filmstrip.tiles.is_some() && filmstrip.interval_s.is_some() {
            return Err(
                "filmstrip.tiles, filmstrip.interval_s: only one of them can be given".into()
            );
        }
        Ok(())
    }
}

fn within(
    member: &str,
    value: Option<u32>,
    range: &std::ops::RangeInclusive<u32>,
) -> Result<(), String> {
    match value {
        Some(value) if !range.contains(&value) => {
            Err(format!("{member}: is {value}; must be {} to {}", range.start(), range.end()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_named() {
        let said = |json: serde_json::Value| {
            serde_json::from_value::<Transform>(json)
                .map_err(|error| error.to_string())
                .and_then(|it| it.check())
                .expect_err("it is taken")
        };
        for (json, member) in [
            (serde_json::json!({"video": {"size": "fit"}}), "video.size"),
            (serde_json::json!({"video": {"size": "crop"}}), "video.size"),
            (serde_json::json!({"video": {"max_width": 640}}), "video.max_width"),
            (serde_json::json!({"video": {"aspect": "16:9"}}), "video.aspect"),
            (serde_json::json!({"video": {"rotate": 45}}), "video.rotate"),
            (serde_json::json!({"video": {"max_fps": 0}}), "video.max_fps"),
            (serde_json::json!({"video": {"widht": 1}}), "widht"),
            (serde_json::json!({"watermark": {"opacity": 2}}), "watermark.opacity"),
            (serde_json::json!({"watermark": {"width": "0px"}}), "watermark.width"),
            (serde_json::json!({"watermark": {"margin": "2"}}), "16px"),
            (serde_json::json!({"snapshot": {"quality": 0}}), "snapshot.quality"),
            (serde_json::json!({"snapshot": {"at": "end"}}), "12.5s"),
            (serde_json::json!({"filmstrip": {"tiles": 401}}), "filmstrip.tiles"),
            (
                serde_json::json!({"filmstrip": {"tiles": 4, "interval_s": 5}}),
                "filmstrip.interval_s",
            ),
        ] {
            let sentence = said(json.clone());
            assert!(sentence.contains(member), "{json}: {sentence}");
        }
        assert_eq!(Transform::default().check(), Ok(()));
    }
}
