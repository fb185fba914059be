//! Loudness as EBU R 128 has it: measured over the whole recording, then brought to one value.
//!
//! Nothing is decided here about how samples change; see [`crate::limiter`].

/// What a film is brought to, in LUFS.
const TARGET_LUFS: f64 = -16.0;
/// Peaks before encoding, in dBTP. AAC adds some: what is promised is −1.5 dBTP.
pub(crate) const CEILING_DB: f64 = -2.5;
/// Below this there is nothing but noise to be heard; a recording shorter than the 0.4 s that are
/// measured at once has no loudness at all.
const SILENCE_LUFS: f64 = -60.0;
/// Nearer to the target than this nobody hears a difference, and sound can be taken over.
const NEAR_LU: f64 = 0.3;
const MORE_LU_MAX: f64 = 6.0;
/// How often a gain is tried where peaks are cut.
pub(crate) const TRIES_MAX: u32 = 3;

/// A recording's loudness.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    /// Integrated, in LUFS; minus infinity for silence.
    pub(crate) lufs: f64,
    /// True peak, in dBTP.
    pub(crate) peak_db: f64,
    /// How much louder it has to be made than is missing, because cutting peaks takes loudness away.
    pub(crate) more_db: f64,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Gain {
    /// How much louder, in decibels.
    pub(crate) db: f64,
}

impl Gain {
    /// What to do about this loudness, if anything can be done.
    pub(crate) fn of(measured: Measured) -> Option<Self> {
        (measured.lufs >= SILENCE_LUFS)
            .then_some(Self { db: TARGET_LUFS - measured.lufs + measured.more_db })
    }

    /// Whether peaks would be cut, so that the result is less loud than meant.
    pub(crate) fn is_limited(self, measured: Measured) -> bool {
        measured.peak_db + self.db > CEILING_DB
    }
}

impl Measured {
    /// With what was still missing when a gain had been tried. What was measured stays: it decides
    /// whether anything is done at all.
    pub(crate) fn corrected(self, made: Self) -> Self {
        Self { more_db: self.more_db + made.missing(), ..self }
    }

    /// What is missing to the target, in LU; more than this only the limiter would notice.
    pub(crate) fn missing(self) -> f64 {
        (TARGET_LUFS - self.lufs).clamp(0.0, MORE_LU_MAX)
    }

    /// Whether that matters.
    pub(crate) fn is_short(self) -> bool {
        self.missing() > NEAR_LU
    }
}

/// What to do, and a sentence for people where nothing can be done.
pub(crate) fn decide(measured: Option<Measured>) -> (Option<Gain>, Option<String>) {
    let Some(measured) = measured else {
        let said = "The sound's loudness could not be measured, so it was left as it is.";
        return (None, Some(said.to_owned()));
    };
    let Some(gain) = Gain::of(measured) else {
        let said =
            "The sound is too short or too quiet to have a loudness, so it was left as it is.";
        return (None, Some(said.to_owned()));
    };
    let differs = (TARGET_LUFS - measured.lufs).abs();
    let fits = differs <= NEAR_LU && measured.peak_db <= CEILING_DB + 1.0;
    ((!fits).then_some(gain), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lufs: f64, peak_db: f64) -> Measured {
        Measured { lufs, peak_db, more_db: 0.0 }
    }

    #[test]
    fn what_a_try_showed_corrects_the_gain_alone() {
        // Quiet with cracks: after two tries as if it were below what can be heard.
        let first = heard(-57.0, -3.0);
        let tried = first.corrected(heard(-18.0, -2.5)).corrected(heard(-17.0, -2.5));
        let (gain, said) = decide(Some(tried));
        assert_eq!((gain, said), (Some(Gain { db: 44.0 }), None));
        let silent = heard(-61.0, -3.0);
        assert!(decide(Some(silent)).1.is_some());
        // What fits at first fits, however much the limiter took away.
        let near = heard(-16.1, -1.6);
        assert_eq!(decide(Some(near.corrected(heard(-17.0, -2.5)))), (None, None));
    }
}
