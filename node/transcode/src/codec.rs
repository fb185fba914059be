//! The codecs this node reads: the allow-list of parsers and decoders.
//!
//! A stream whose caps are not in this table is not decoded by anything, whatever plugins are
//! installed. Decoders are tried in the order given; the first that is installed is taken.

use gstreamer as gst;

/// Picture or sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Moving pictures.
    Video,
    /// Sound.
    Audio,
}

/// One codec.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Codec {
    /// Name in reports.
    pub(crate) name: &'static str,
    /// Picture or sound.
    pub(crate) kind: Kind,
    /// Element that splits the stream into whole frames, where the container does not say enough.
    pub(crate) parser: Option<&'static str>,
    /// Elements that decode it, best first.
    pub(crate) decoders: &'static [&'static str],
}

const fn video(
    name: &'static str,
    parser: Option<&'static str>,
    decoders: &'static [&'static str],
) -> Codec {
    Codec { name, kind: Kind::Video, parser, decoders }
}

const fn audio(
    name: &'static str,
    parser: Option<&'static str>,
    decoders: &'static [&'static str],
) -> Codec {
    Codec { name, kind: Kind::Audio, parser, decoders }
}

// vp8dec beats avdec_vp8 and avdec_vp9 beats vp9dec in processor time; the alpha decoders are
// left out on purpose: Chrome marks streams with an alpha mode they do not use.
static VP8: Codec = video("vp8", None, &["vp8dec", "avdec_vp8"]);
static VP9: Codec = video("vp9", Some("vp9parse"), &["avdec_vp9", "vp9dec"]);
static AV1: Codec = video("av1", Some("av1parse"), &["dav1ddec", "av1dec"]);
static H264: Codec = video("h264", Some("h264parse"), &["avdec_h264", "openh264dec"]);
static H265: Codec = video("h265", Some("h265parse"), &["avdec_h265", "libde265dec"]);
static MPEG4: Codec = video("mpeg4", Some("mpeg4videoparse"), &["avdec_mpeg4"]);
static MPEG2: Codec = video("mpeg2", Some("mpegvideoparse"), &["avdec_mpeg2video", "mpeg2dec"]);
static WMV1: Codec = video("wmv1", None, &["avdec_wmv1"]);
static WMV2: Codec = video("wmv2", None, &["avdec_wmv2"]);
static WMV3: Codec = video("wmv3", None, &["avdec_wmv3"]);
static VC1: Codec = video("vc1", Some("vc1parse"), &["avdec_vc1"]);
static MJPEG: Codec = video("mjpeg", None, &["jpegdec", "avdec_mjpeg"]);
static THEORA: Codec = video("theora", None, &["theoradec", "avdec_theora"]);
static H263: Codec = video("h263", Some("h263parse"), &["avdec_h263"]);
static FLV1: Codec = video("flv1", None, &["avdec_flv"]);
static MSMPEG4_2: Codec = video("msmpeg4v2", None, &["avdec_msmpeg4v2"]);
static MSMPEG4_3: Codec = video("msmpeg4v3", None, &["avdec_msmpeg4"]);
static PRORES: Codec = video("prores", None, &["avdec_prores"]);
static OPUS: Codec = audio("opus", None, &["opusdec"]);
static VORBIS: Codec = audio("vorbis", None, &["vorbisdec"]);
static AAC: Codec = audio("aac", Some("aacparse"), &["avdec_aac", "faad"]);
static MP3: Codec = audio("mp3", Some("mpegaudioparse"), &["mpg123audiodec", "avdec_mp3"]);
static MP2: Codec = audio("mp2", Some("mpegaudioparse"), &["mpg123audiodec", "avdec_mp2float"]);
static WMA1: Codec = audio("wma1", None, &["avdec_wmav1"]);
static WMA2: Codec = audio("wma2", None, &["avdec_wmav2"]);
static WMA_PRO: Codec = audio("wmapro", None, &["avdec_wmapro"]);
static FLAC: Codec = audio("flac", Some("flacparse"), &["flacdec"]);
static ALAC: Codec = audio("alac", None, &["avdec_alac"]);
static AC3: Codec = audio("ac3", Some("ac3parse"), &["avdec_ac3"]);
static EAC3: Codec = audio("eac3", Some("ac3parse"), &["avdec_eac3"]);
// amrparse takes files of AMR alone, not what a demuxer gives; the decoder finds the frames itself, of which a phone's
// sample can have several. Each has the one that works: avdec_amrwb finds no format (1.22), and of amrnbdec's sound half a
// second was only 0.6 alike to ffmpeg's.
static AMR: Codec = audio("amr", None, &["avdec_amrnb"]);
static AMR_WB: Codec = audio("amr-wb", None, &["amrwbdec"]);
static SPEEX: Codec = audio("speex", None, &["speexdec"]);
static ADPCM_MS: Codec = audio("adpcm-ms", None, &["adpcmdec", "avdec_adpcm_ms"]);
static ADPCM_IMA: Codec = audio("adpcm-ima", None, &["adpcmdec", "avdec_adpcm_ima_wav"]);
static ADPCM_IMA_QT: Codec = audio("adpcm-ima-qt", None, &["avdec_adpcm_ima_qt"]);
static ALAW: Codec = audio("alaw", None, &["alawdec"]);
static MULAW: Codec = audio("mulaw", None, &["mulawdec"]);
static PCM: Codec = audio("pcm", None, &["identity"]);

/// The codec that caps name, if it is one this node reads.
pub(crate) fn of_caps(caps: &gst::CapsRef) -> Option<&'static Codec> {
    let s = caps.structure(0)?;
    let number = |name| s.get::<i32>(name).ok();
    let version = number("mpegversion");
    Some(match (s.name().as_str(), version) {
        ("video/x-vp8", _) => &VP8,
        ("video/x-vp9", _) => &VP9,
        ("video/x-av1", _) => &AV1,
        ("video/x-h264", _) => &H264,
        ("video/x-h265", _) => &H265,
        ("video/mpeg", Some(4)) => &MPEG4,
        ("video/mpeg", Some(1 | 2)) => &MPEG2,
        ("video/x-wmv", _) => match (number("wmvversion")?, s.get::<&str>("format").ok()) {
            (1, _) => &WMV1,
            (2, _) => &WMV2,
            (3, Some("WMV3")) => &WMV3,
            (3, Some("WVC1")) => &VC1,
            _ => return None,
        },
        ("image/jpeg", _) => &MJPEG,
        ("video/x-theora", _) => &THEORA,
        ("video/x-h263", _) => &H263,
        ("video/x-flash-video", _) => &FLV1,
        ("video/x-msmpeg", _) => match number("msmpegversion")? {
            42 => &MSMPEG4_2,
            43 => &MSMPEG4_3,
            _ => return None,
        },
        // What DivX called its own before it became MPEG-4.
        ("video/x-divx", _) => match number("divxversion")? {
            3 => &MSMPEG4_3,
            4 | 5 => &MPEG4,
            _ => return None,
        },
        ("video/x-prores", _) => &PRORES,
        ("audio/x-opus", _) => &OPUS,
        ("audio/x-vorbis", _) => &VORBIS,
        ("audio/mpeg", Some(2 | 4)) => &AAC,
        ("audio/mpeg", Some(1)) if number("layer").is_some_and(|l| l < 3) => &MP2,
        ("audio/mpeg", Some(1)) => &MP3,
        ("audio/x-wma", _) => match number("wmaversion")? {
            1 => &WMA1,
            2 => &WMA2,
            3 => &WMA_PRO,
            _ => return None,
        },
        ("audio/x-flac", _) => &FLAC,
        ("audio/x-alac", _) => &ALAC,
        ("audio/x-ac3", _) => &AC3,
        ("audio/x-eac3", _) => &EAC3,
        ("audio/AMR", _) => &AMR,
        ("audio/AMR-WB", _) => &AMR_WB,
        ("audio/x-speex", _) => &SPEEX,
        ("audio/x-adpcm", _) => match s.get::<&str>("layout").ok()? {
            "microsoft" => &ADPCM_MS,
            "dvi" => &ADPCM_IMA,
            "quicktime" => &ADPCM_IMA_QT,
            _ => return None,
        },
        ("audio/x-alaw", _) => &ALAW,
        ("audio/x-mulaw", _) => &MULAW,
        ("audio/x-raw", _) => &PCM,
        _ => return None,
    })
}

impl Codec {
    /// Whether its pictures may come as two half pictures woven into one.
    pub(crate) fn weaves(&self) -> bool {
        ["h264", "h265", "mpeg2", "mpeg4", "wmv3", "vc1", "prores"].contains(&self.name)
    }

    /// Whether its frames are shown in the order in which they come.
    pub(crate) fn shows_in_order(&self) -> bool {
        ["vp8", "vp9", "av1", "mjpeg"].contains(&self.name)
    }

    /// The parser that a stream with these caps needs. AAC that comes in whole frames needs none,
    /// and aacparse would throw the lead-in away.
    pub(crate) fn parser_for(&self, caps: &gst::CapsRef) -> Option<&'static str> {
        self.parser.filter(|_| !(self.name == "aac" && is_framed(caps)))
    }

    /// The decoder to use here, if any is installed.
    pub(crate) fn decoder(&self) -> Option<&'static str> {
        self.decoders.iter().copied().find(|name| gst::ElementFactory::find(name).is_some())
    }
}

/// Whether AAC comes in whole frames with its configuration.
pub(crate) fn is_framed(caps: &gst::CapsRef) -> bool {
    caps.structure(0)
        .is_some_and(|s| s.get::<&str>("stream-format") == Ok("raw") && s.has_field("codec_data"))
}
