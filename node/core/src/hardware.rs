//! What the transcoding child finds out about hardware for the service: candidates and their proofs.
//!
//! `holdfast-transcode --candidates` prints a [`Listing`]: what could be used, by its name alone.
//! `holdfast-transcode --prove NAME` prints one [`Proof`]: what a clip showed of that candidate. One
//! child for each, because drivers hang and crash; the service gives each its time and ends it then. Over
//! the socket of the contract the same is asked as a [`crate::job::Question`].

use serde::{Deserialize, Serialize};

/// Families of encoders, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// VA-API through GStreamer's `va`.
    Va,
    /// The same with a GPU's low-power encoder.
    VaLp,
    /// Intel Quick Sync through oneVPL.
    Qsv,
    /// NVIDIA.
    Nvcodec,
    /// Stateful V4L2 (memory to memory).
    V4l2,
    /// VA-API through the older gstreamer-vaapi.
    Vaapi,
    /// Stateless V4L2 decoders, with x264 to encode: there are no such encoders.
    V4l2Stateless,
    /// x264, in software.
    X264,
    /// OpenH264, in software.
    Openh264,
}

impl Family {
    /// All of them, best first.
    pub const ALL: [Self; 9] = [
        Self::Va,
        Self::VaLp,
        Self::Qsv,
        Self::Nvcodec,
        Self::V4l2,
        Self::Vaapi,
        Self::V4l2Stateless,
        Self::X264,
        Self::Openh264,
    ];

    /// Its name, as it is in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Va => "va",
            Self::VaLp => "va-lp",
            Self::Qsv => "qsv",
            Self::Nvcodec => "nvcodec",
            Self::V4l2 => "v4l2",
            Self::Vaapi => "vaapi",
            Self::V4l2Stateless => "v4l2-stateless",
            Self::X264 => "x264",
            Self::Openh264 => "openh264",
        }
    }

    /// Whether it needs a device.
    #[must_use]
    pub fn is_hardware(self) -> bool {
        !matches!(self, Self::X264 | Self::Openh264)
    }
}

/// What could be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// GStreamer's version.
    pub gstreamer: String,
    /// The candidates, best first.
    pub candidates: Vec<Candidate>,
}

/// A chain that could be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name, such as `va`, or `va:renderD129` for what is not the first device of its family.
    pub name: String,
    /// Its family.
    pub family: Family,
    /// The H.264 encoder's element.
    pub encoder: String,
}

/// What a clip showed of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Which candidate.
    pub candidate: Candidate,
    /// Its device as the element names it: a path such as `/dev/dri/renderD128`, or `cuda0`.
    pub device: Option<String>,
    /// The encoder.
    pub encoder: Verdict,
    /// Pixels encoded in a second once it has started; 0 where it does not work.
    pub pixels_per_s: u64,
    /// Its decoders.
    pub decoders: Vec<DecoderProof>,
}

/// What a clip showed of a decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DecoderProof {
    /// Codec, such as `vp9`.
    pub codec: String,
    /// Element.
    pub element: String,
    /// Decoding into the machine's memory.
    pub decode: Verdict,
    /// Decoding, scaling and encoding with frames kept in the device's memory.
    pub whole: Verdict,
}

/// What came of trying.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It made what it should.
    Works {
        /// Likeness of what came out to what went in: the worst frame's peak signal-to-noise ratio, in
        /// decibels; 99 for equal.
        psnr_db: f32,
    },
    /// It did not.
    Fails {
        /// What happened, in a sentence.
        reason: String,
    },
}

impl Verdict {
    /// Whether it made what it should.
    #[must_use]
    pub fn works(&self) -> bool {
        matches!(self, Self::Works { .. })
    }

    /// It did not, for this reason.
    #[must_use]
    pub fn fails(reason: impl Into<String>) -> Self {
        Self::Fails { reason: reason.into() }
    }
}

impl Proof {
    /// What a candidate comes to whose child never answered.
    #[must_use]
    pub fn failed(candidate: Candidate, reason: impl Into<String>) -> Self {
        Self {
            candidate,
            device: None,
            encoder: Verdict::fails(reason),
            pixels_per_s: 0,
            decoders: Vec::new(),
        }
    }

    /// The chain as a job is told of it, where it works.
    #[must_use]
    pub fn chain(&self) -> Option<Chain> {
        let codecs = |works: fn(&DecoderProof) -> bool| {
            self.decoders.iter().filter(|d| works(d)).map(|d| d.codec.clone()).collect()
        };
        self.encoder.works().then(|| Chain {
            name: self.candidate.name.clone(),
            decodes: codecs(|d| d.decode.works()),
            whole: codecs(|d| d.whole.works()),
        })
    }
}

/// A proven chain, for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// Its candidate's name.
    pub name: String,
    /// Codecs that its decoders were proven for.
    #[serde(default)]
    pub decodes: Vec<String>,
    /// Codecs for which frames can stay in the device's memory all the way.
    #[serde(default)]
    pub whole: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_called_the_same_everywhere() {
        for family in Family::ALL {
            assert_eq!(serde_json::to_value(family).unwrap(), family.as_str());
        }
        assert!(Family::ALL.is_sorted());
    }

    #[test]
    fn a_chain_has_what_was_proven_and_nothing_else() {
        let candidate =
            Candidate { name: "va".into(), family: Family::Va, encoder: "vah264enc".into() };
        let works = || Verdict::Works { psnr_db: 40.0 };
        let decoder = |codec: &str, decode, whole| DecoderProof {
            codec: codec.into(),
            element: format!("va{codec}dec"),
            decode,
            whole,
        };
        let mut proof = Proof {
            candidate: candidate.clone(),
            device: None,
            encoder: works(),
            pixels_per_s: 1,
            decoders: vec![
                decoder("vp8", works(), works()),
                decoder("vp9", works(), Verdict::fails("no postproc")),
                decoder("av1", Verdict::fails("it hung"), Verdict::fails("it hung")),
            ],
        };
        let chain = proof.chain().unwrap();
        assert_eq!(
            (chain.decodes, chain.whole),
            (vec!["vp8".into(), "vp9".into()], vec!["vp8".to_owned()])
        );
        proof.encoder = Verdict::fails("garbage");
        assert_eq!(proof.chain(), None);
        assert_eq!(Proof::failed(candidate, "it crashed").chain(), None);
    }
}
