//! The ciphers that a volume may have.

use serde::Deserialize;

/// A cipher that a volume may have. Key slots that this program makes are sealed with AES, which every libcrypto
/// has; the TPM's, which systemd-cryptenroll makes, with the volume's own cipher, which only the kernel may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// AES-256 in XTS mode: what processors have instructions for.
    Aes,
    /// Adiantum, with XChaCha12: for processors without them, on which AES in software is several times
    /// slower, and gives its tables away by their timing.
    Adiantum,
}

/// Which cipher a volume is to have when it is formatted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// AES where the processor has instructions for it, or says nothing of that; else Adiantum.
    #[default]
    Auto,
    /// AES, whatever the processor has.
    Aes,
    /// Adiantum, whatever the processor has: for a disk that moves to a box without AES.
    Adiantum,
}

impl Choice {
    /// The cipher, on a processor that `/proc/cpuinfo` describes so. With integrity there is only AES.
    #[must_use]
    pub fn on(self, cpuinfo: &str, integrity: bool) -> Cipher {
        match self {
            Self::Adiantum => Cipher::Adiantum,
            Self::Auto if !integrity && lacks_aes(cpuinfo) => Cipher::Adiantum,
            Self::Auto | Self::Aes => Cipher::Aes,
        }
    }
}

/// Whether a processor says what it can do (`flags` on x86, `Features` on ARM), and AES is not among it.
fn lacks_aes(cpuinfo: &str) -> bool {
    let words = cpuinfo.lines().filter_map(|line| {
        let (name, words) = line.split_once(':')?;
        matches!(name.trim(), "flags" | "Features").then_some(words)
    });
    let mut processors = words.map(|words| words.split_whitespace().any(|word| word == "aes"));
    // Of several kinds of cores one without would be the slow one.
    processors.any(|has_aes| !has_aes)
}

impl Cipher {
    const ALL: [Self; 2] = [Self::Aes, Self::Adiantum];

    /// Cipher and mode, as libcryptsetup takes them.
    pub(super) const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Aes => ("aes", "xts-plain64"),
            Self::Adiantum => ("xchacha12,aes", "adiantum-plain64"),
        }
    }

    /// As a header and the kernel's table say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes => "aes-xts-plain64",
            Self::Adiantum => "xchacha12,aes-adiantum-plain64",
        }
    }

    /// The cipher that a header names, if it is one of these.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }

    /// Bytes of its key.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            // XTS takes two keys of 256 bits.
            Self::Aes => 64,
            Self::Adiantum => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH: &str = "processor\t: 0\nflags\t\t: fpu sse2 aes avx\n";
    const WITHOUT: &str = "processor\t: 0\nflags\t\t: fpu sse2 vaes sha_ni\n";
    const ARM: &str = "BogoMIPS\t: 48.00\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2\n";
    const RASPBERRY_PI_4: &str = "BogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n";

    #[test]
    fn a_processor_without_aes_gets_adiantum() {
        assert_eq!(Choice::Auto.on(WITH, false), Cipher::Aes);
        assert_eq!(Choice::Auto.on(ARM, false), Cipher::Aes);
        assert_eq!(Choice::Auto.on(WITHOUT, false), Cipher::Adiantum);
        assert_eq!(Choice::Auto.on(RASPBERRY_PI_4, false), Cipher::Adiantum);
        assert_eq!(Choice::Auto.on(&format!("{ARM}\n{RASPBERRY_PI_4}"), false), Cipher::Adiantum);
    }

    #[test]
    fn one_that_says_nothing_and_a_volume_with_integrity_get_aes() {
        for silent in ["", "vendor_id : User Mode Linux\n", "isa : rv64imafdc\n"] {
            assert_eq!(Choice::Auto.on(silent, false), Cipher::Aes, "{silent:?}");
        }
        assert_eq!(Choice::Auto.on(WITHOUT, true), Cipher::Aes);
    }

    #[test]
    fn whoever_sets_it_has_it() {
        assert_eq!(Choice::Aes.on(WITHOUT, false), Cipher::Aes);
        assert_eq!(Choice::Adiantum.on(WITH, false), Cipher::Adiantum);
    }
}
