//! What there could be, as data. Nothing here is believed before a proof.
//!
//! GStreamer registers the first device of a family under a plain name (`vah264enc`) and each further
//! one with its device in the middle (`varenderD129h264enc`, `nvh264device1enc`, `v4l2video12h264enc`):
//! `{}` in a name below stands for that part, which is called the token.

use holdfast_core::hardware::{Candidate, Family};
use holdfast_core::transform::Quality;

/// The parts of a family.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) family: Family,
    /// H.264 encoder.
    pub(super) encoder: &'static str,
    /// Codec and decoder.
    pub(super) decoders: &'static [(&'static str, &'static str)],
    /// Scales and converts within the device's memory.
    pub(super) postproc: Option<Postproc>,
    /// Brings frames into the device's memory, where the encoder does not do that itself.
    pub(super) upload: Option<&'static str>,
    /// Caps feature of its memory.
    pub(super) memory: Option<&'static str>,
    /// The encoder's property that names its device.
    pub(super) device: Option<&'static str>,
}

/// An element that scales.
#[derive(Debug)]
pub(super) struct Postproc {
    pub(super) element: &'static str,
    /// Whether its name goes by the same tokens as the encoder's. If not it serves the first device.
    pub(super) has_token: bool,
    /// Its property that takes the number of a device, for names without one.
    pub(super) number: Option<&'static str>,
}

/// One alternative of settings: property and value.
pub(super) type Settings = Vec<(&'static str, String)>;

const VA_DECODERS: &[(&str, &str)] = &[
    ("h264", "va{}h264dec"),
    ("h265", "va{}h265dec"),
    ("vp8", "va{}vp8dec"),
    ("vp9", "va{}vp9dec"),
    ("av1", "va{}av1dec"),
    ("mpeg2", "va{}mpeg2dec"),
];

pub(super) static ALL: [Parts; 9] = [
    Parts {
        family: Family::Va,
        encoder: "va{}h264enc",
        decoders: VA_DECODERS,
        postproc: Some(Postproc { element: "va{}postproc", has_token: true, number: None }),
        upload: Some("va{}postproc"),
        memory: Some("memory:VAMemory"),
        device: Some("device-path"),
    },
    Parts {
        family: Family::VaLp,
        encoder: "va{}h264lpenc",
        decoders: VA_DECODERS,
        postproc: Some(Postproc { element: "va{}postproc", has_token: true, number: None }),
        upload: Some("va{}postproc"),
        memory: Some("memory:VAMemory"),
        device: Some("device-path"),
    },
    Parts {
        family: Family::Qsv,
        encoder: "qsvh264{}enc",
        decoders: &[
            ("h264", "qsvh264{}dec"),
            ("h265", "qsvh265{}dec"),
            ("vp9", "qsvvp9{}dec"),
            ("av1", "qsvav1{}dec"),
        ],
        // oneVPL has no element of its own for it; it shares memory with VA-API.
        postproc: Some(Postproc { element: "vapostproc", has_token: false, number: None }),
        upload: None,
        memory: Some("memory:VAMemory"),
        device: Some("device-path"),
    },
    Parts {
        family: Family::Nvcodec,
        encoder: "nvh264{}enc",
        decoders: &[
            ("h264", "nvh264{}dec"),
            ("h265", "nvh265{}dec"),
            ("vp8", "nvvp8{}dec"),
            ("vp9", "nvvp9{}dec"),
            ("av1", "nvav1{}dec"),
            ("mpeg2", "nvmpeg2video{}dec"),
        ],
        postproc: Some(Postproc {
            element: "cudaconvertscale",
            has_token: false,
            number: Some("cuda-device-id"),
        }),
        upload: Some("cudaupload"),
        memory: Some("memory:CUDAMemory"),
        device: Some("cuda-device-id"),
    },
    Parts {
        family: Family::V4l2,
        encoder: "v4l2{}h264enc",
        // Decoders and encoders are different devices here: the first of each.
        decoders: &[
            ("h264", "v4l2h264dec"),
            ("h265", "v4l2h265dec"),
            ("vp8", "v4l2vp8dec"),
            ("vp9", "v4l2vp9dec"),
            ("mpeg2", "v4l2mpeg2dec"),
            ("mpeg4", "v4l2mpeg4dec"),
        ],
        postproc: Some(Postproc { element: "v4l2convert", has_token: false, number: None }),
        upload: None,
        // Its buffers are the kernel's, and handed on without a caps feature.
        memory: None,
        device: Some("device"),
    },
    Parts {
        family: Family::Vaapi,
        encoder: "vaapih264enc",
        decoders: &[
            ("h264", "vaapih264dec"),
            ("h265", "vaapih265dec"),
            ("vp8", "vaapivp8dec"),
            ("vp9", "vaapivp9dec"),
            ("av1", "vaapiav1dec"),
            ("mpeg2", "vaapimpeg2dec"),
        ],
        postproc: Some(Postproc { element: "vaapipostproc", has_token: false, number: None }),
        upload: None,
        memory: Some("memory:VASurface"),
        device: None,
    },
    Parts {
        family: Family::V4l2Stateless,
        encoder: "x264enc",
        decoders: &[
            ("h264", "v4l2sl{}h264dec"),
            ("h265", "v4l2sl{}h265dec"),
            ("vp8", "v4l2sl{}vp8dec"),
            ("vp9", "v4l2sl{}vp9dec"),
            ("av1", "v4l2sl{}av1dec"),
            ("mpeg2", "v4l2sl{}mpeg2dec"),
        ],
        postproc: None,
        upload: None,
        memory: None,
        device: None,
    },
    software(Family::X264, "x264enc"),
    software(Family::Openh264, "openh264enc"),
];

const fn software(family: Family, encoder: &'static str) -> Parts {
    Parts {
        family,
        encoder,
        decoders: &[],
        postproc: None,
        upload: None,
        memory: None,
        device: None,
    }
}

/// A candidate with its parts.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) parts: &'static Parts,
    pub(super) token: String,
    pub(super) candidate: Candidate,
}

impl Found {
    pub(super) fn new(parts: &'static Parts, token: &str) -> Self {
        let family = parts.family;
        let name = match token {
            "" => family.as_str().to_owned(),
            token => format!("{}:{token}", family.as_str()),
        };
        let encoder = with_token(parts.encoder, token);
        Self { parts, token: token.to_owned(), candidate: Candidate { name, family, encoder } }
    }

    /// The decoder of a codec, if it is registered.
    pub(super) fn decoder(&self, codec: &str) -> Option<String> {
        let (_, template) = self.parts.decoders.iter().find(|(c, _)| *c == codec)?;
        let element = with_token(template, &self.token);
        gstreamer::ElementFactory::find(&element).is_some().then_some(element)
    }

    /// The element that scales in the device's memory, if this device has one.
    pub(super) fn postproc(&self) -> Option<String> {
        let postproc = self.parts.postproc.as_ref()?;
        let serves = postproc.has_token || postproc.number.is_some() || self.token.is_empty();
        serves.then(|| with_token(postproc.element, &self.token))
    }

    /// The number of its device, for elements that want one: 1 of `device1`.
    pub(super) fn number(&self) -> u32 {
        let digits = self.token.trim_start_matches(|c: char| !c.is_ascii_digit());
        digits.parse().unwrap_or(0)
    }

    /// Whether an element is one of this hardware's.
    pub(super) fn owns(&self, element: &str) -> bool {
        let is = |template: &str| with_token(template, &self.token) == element;
        self.candidate.family.is_hardware()
            && (is(self.parts.encoder) && self.candidate.family != Family::V4l2Stateless
                || self.parts.decoders.iter().any(|(_, template)| is(template))
                || self.parts.postproc.as_ref().is_some_and(|p| is(p.element))
                || self.parts.upload.is_some_and(is)
                || element == "cudadownload")
    }
}

pub(super) fn with_token(template: &str, token: &str) -> String {
    template.replace("{}", token)
}

/// What is tried in turn for a quality; the first alternative that an encoder has all properties of
/// holds. One without properties means that there is nothing to set.
///
/// x264: these equal ffmpeg's `-preset veryfast -crf N` in size and quality; with a buffer of any size
/// the rate is capped. Hardware is given constant quantizers, which every driver has; V4L2 has
/// bitrates alone.
pub(super) fn settings(family: Family, quality: Quality, size: super::Size) -> Vec<Settings> {
    let crf = [27, 23, 19][step(quality)];
    let qp = [29, 25, 21][step(quality)];
    let set = |all: &[(&'static str, &str)]| -> Settings {
        all.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    };
    let (i, p, b) = (qp.to_string(), (qp + 2).to_string(), (qp + 4).to_string());
    let quantizers = |mode: &'static str, value: &str| {
        set(&[(mode, value), ("qp-i", &i), ("qp-p", &p), ("qp-b", &b)])
    };
    match family {
        Family::X264 | Family::V4l2Stateless => vec![set(&[
            ("pass", "qual"),
            ("quantizer", &crf.to_string()),
            ("speed-preset", "veryfast"),
            ("vbv-buf-capacity", "0"),
            ("key-int-max", "250"),
        ])],
        Family::Openh264 => vec![set(&[
            ("rate-control", "quality"),
            ("bitrate", ["2600000", "4000000", "6000000"][step(quality)]),
            ("complexity", "medium"),
        ])],
        Family::Va | Family::VaLp => {
            let rate = (bits_per_s(quality, size) / 1000).to_string();
            vec![
                set(&[
                    ("rate-control", "cqp"),
                    ("qpi", &i),
                    ("qpp", &p),
                    ("qpb", &b),
                    ("key-int-max", "250"),
                ]),
                set(&[("rate-control", "icq"), ("qpi", &i), ("key-int-max", "250")]),
                set(&[("rate-control", "vbr"), ("bitrate", &rate), ("key-int-max", "250")]),
            ]
        }
        Family::Qsv => {
            let mut all = quantizers("rate-control", "cqp");
            all.push(("gop-size", "250".into()));
            vec![all]
        }
        Family::Nvcodec => {
            let mut new = quantizers("rate-control", "cqp");
            new.push(("gop-size", "250".into()));
            // GStreamer 1.22 has the older of its two encoders under this name.
            let old = set(&[("rc-mode", "constqp"), ("qp-const", &i), ("gop-size", "250")]);
            let older = set(&[
                ("rc-mode", "constqp"),
                ("qp-const-i", &i),
                ("qp-const-p", &p),
                ("qp-const-b", &b),
                ("gop-size", "250"),
            ]);
            vec![new, old, older]
        }
        Family::V4l2 => vec![set(&[(
            "extra-controls",
            &format!(
                "controls,video_bitrate=(int){},video_gop_size=(int)250,repeat_sequence_header=(int)1",
                bits_per_s(quality, size)
            ),
        )])],
        Family::Vaapi => {
            vec![set(&[("rate-control", "cqp"), ("init-qp", &i), ("keyframe-period", "250")])]
        }
    }
}

fn step(quality: Quality) -> usize {
    match quality {
        Quality::Small => 0,
        Quality::Standard => 1,
        Quality::High => 2,
    }
}

/// For encoders that know bitrates alone: so many bits for each pixel.
fn bits_per_s(quality: Quality, size: super::Size) -> u64 {
    let pixels_per_s = u64::from(size.width) * u64::from(size.height) * u64::from(size.fps.max(1));
    let hundredths = [5, 8, 12][step(quality)];
    (pixels_per_s * hundredths / 100).clamp(300_000, 40_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_gstreamer_registers() {
        let of = |family, token| {
            let parts = ALL.iter().find(|p| p.family == family).unwrap();
            Found::new(parts, token)
        };
        let second = of(Family::Va, "renderD129");
        assert_eq!(second.candidate.name, "va:renderD129");
        assert_eq!(second.candidate.encoder, "varenderD129h264enc");
        assert_eq!(second.postproc().as_deref(), Some("varenderD129postproc"));
        assert!(second.owns("varenderD129vp8dec") && !second.owns("vavp8dec"));
        let second = of(Family::Nvcodec, "device1");
        assert_eq!((second.candidate.encoder.as_str(), second.number()), ("nvh264device1enc", 1));
        assert_eq!(of(Family::VaLp, "").candidate.encoder, "vah264lpenc");
        // Scaling in VA-API's memory is known to be the same device for the first one only.
        assert_eq!(of(Family::Qsv, "device1").postproc(), None);
        // x264 is nobody's hardware, whatever decodes before it.
        assert!(!of(Family::V4l2Stateless, "").owns("x264enc"));
    }

    #[test]
    fn a_better_quality_costs_more() {
        let size = crate::encoders::chains::Size { width: 1920, height: 1080, fps: 30 };
        let bits = |q| bits_per_s(q, size);
        assert!(bits(Quality::Small) < bits(Quality::Standard));
        assert!(bits(Quality::Standard) < bits(Quality::High));
        for parts in &ALL {
            let of = |q| settings(parts.family, q, size);
            assert_ne!(of(Quality::Small), of(Quality::Standard), "{:?}", parts.family);
            assert_ne!(of(Quality::Standard), of(Quality::High), "{:?}", parts.family);
        }
    }
}
