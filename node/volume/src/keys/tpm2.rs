//! The TPM2 of this machine. Its key lies sealed in the volume's header, in a token of systemd's:
//! `systemd-cryptenroll` puts it there, systemd's plugin for libcryptsetup unseals it, and so do
//! systemd and `cryptsetup` by themselves. The key is 256 random bits that systemd makes, as base64.
//!
//! What unseals is this program once more, as a child that has nothing else to do ([`run`]): it
//! brings the TPM's libraries into its memory, and ends with them.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use nix::errno::Errno;
use serde::Serialize;
use serde_json::Value;

use super::{Asked, Found, Secret, Source};
use crate::children;
use crate::config;
use crate::error::Error;
use crate::luks::slots::is_tpm2;
use crate::luks::token;

/// Where the kernel has a TPM2.
const KERNEL: &str = "/dev/tpmrm0";
const AUTO: &str = "auto";

/// The TPM2 of this machine.
#[derive(Debug)]
pub(super) struct Tpm2<'a> {
    settings: &'a config::Tpm2,
}

/// How a slot is bound to the TPM2; no key material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// The slot.
    pub slot: Option<u32>,
    /// PCRs that have to be as they were when it was sealed.
    pub pcrs: Vec<u8>,
    /// PCRs whose values have to be signed.
    pub signed_pcrs: Vec<u8>,
    /// The bank of the PCRs.
    pub bank: String,
    /// Whether the TPM that is there unseals it now; `null` if it was not tried.
    pub unseals: Option<bool>,
    /// Why not.
    pub problem: Option<String>,
}

impl<'a> Tpm2<'a> {
    pub(super) const fn new(settings: &'a config::Tpm2) -> Self {
        Self { settings }
    }

    fn unseal(&self, header: &Path, number: u32, token: &Value) -> Result<Secret, String> {
        let number = number.to_string();
        let mut arguments: Vec<&OsStr> =
            vec!["unseal".as_ref(), header.as_os_str(), number.as_ref()];
        if self.settings.device != AUTO {
            arguments.extend::<[&OsStr; 2]>(["--tpm".as_ref(), self.settings.device.as_ref()]);
        }
        children::secret("/proc/self/exe", arguments).map_err(|output| match output {
            Ok(output) => {
                let errno = output.status.code().map_or(Errno::EIO, Errno::from_raw);
                why(errno, &pcrs(&token["tpm2-pcrs"]))
            }
            Err(why) => why,
        })
    }
}

impl Source for Tpm2<'_> {
    /// The first key that it unseals: all of them open the volume.
    fn fetch(&self, asked: &Asked<'_>) -> Result<Found, String> {
        let mut problem = "no slot is bound to a TPM2".to_owned();
        for (number, token) in sealed(asked.tokens) {
            match self.unseal(asked.header, *number, token) {
                Ok(key) => return Ok(Found { current: Some(key), next: None }),
                Err(why) => problem = why,
            }
        }
        Err(problem)
    }

    fn is_in_header(&self) -> bool {
        true
    }

    fn seals(&self) -> bool {
        true
    }

    fn seal(&self, header: &Path, by: Option<&Secret>) -> Result<(), String> {
        let settings = self.settings;
        let Some(by) = by else {
            if settings.device == AUTO && !Path::new(KERNEL).exists() {
                return Err(format!("there is no TPM2 ({KERNEL})"));
            }
            return Ok(());
        };
        let pcrs: Vec<_> = settings.pcrs.iter().map(ToString::to_string).collect();
        let mut arguments: Vec<OsString> = vec![
            format!("--tpm2-device={}", settings.device).into(),
            format!("--tpm2-pcrs={}", pcrs.join("+")).into(),
            format!("--unlock-key-file={}", children::KEY_FILE).into(),
        ];
        if let Some(key) = &settings.public_key {
            let mut argument = OsString::from("--tpm2-public-key=");
            argument.push(key);
            arguments.push(argument);
        }
        arguments.push(header.as_os_str().to_owned());
        children::keyed("/usr/bin/systemd-cryptenroll", arguments, by)
    }
}

/// How the slots of a header are bound to the TPM2. To try whether it unseals them takes the TPM up to
/// a second for each.
#[must_use]
pub fn bindings(
    settings: &config::Tpm2,
    header: &Path,
    tokens: &[(u32, Value)],
    is_tried: bool,
) -> Vec<Binding> {
    let tpm = Tpm2::new(settings);
    let bindings = sealed(tokens).map(|(number, token)| {
        let tried = is_tried.then(|| tpm.unseal(header, *number, token));
        Binding {
            slot: token["keyslots"][0].as_str().and_then(|it| it.parse().ok()),
            pcrs: pcrs(&token["tpm2-pcrs"]),
            signed_pcrs: pcrs(&token["tpm2_pubkey_pcrs"]),
            bank: token["tpm2-pcr-bank"].as_str().unwrap_or("sha256").to_owned(),
            unseals: tried.as_ref().map(Result::is_ok),
            problem: tried.and_then(Result::err),
        }
    });
    bindings.collect()
}

/// What the child does: it writes the key that a token unseals to its output. Ends the process.
///
/// # Errors
/// If its output is a terminal, or takes nothing.
pub fn run(header: &Path, token: i32, tpm: Option<&str>) -> Result<(), Error> {
    use std::io::{IsTerminal, Write};
    let mut out = std::io::stdout();
    if out.is_terminal() {
        return Err(Error::Request("a key is not shown on a terminal".to_owned()));
    }
    match token::unseal(header, token, tpm) {
        Ok(key) => out
            .write_all(key.bytes())
            .and_then(|()| out.flush())
            .map_err(|e| Error::failed("handing over a key", e)),
        Err(errno) => std::process::exit(errno as i32),
    }
}

fn sealed(tokens: &[(u32, Value)]) -> impl Iterator<Item = &(u32, Value)> {
    tokens.iter().filter(|(_, token)| is_tpm2(token))
}

fn pcrs(list: &Value) -> Vec<u8> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|it| it.as_u64()?.try_into().ok()).collect()
}

/// What an errno of systemd's plugin means, to the person who stands before the box.
fn why(errno: Errno, pcrs: &[u8]) -> String {
    let pcrs: Vec<_> = pcrs.iter().map(ToString::to_string).collect();
    let pcrs = pcrs.join(", ");
    match errno {
        Errno::EPERM | Errno::EREMCHG => format!(
            "the TPM's state has changed (PCR {pcrs}): other firmware, Secure Boot keys or boot files than when \
             the key was sealed. Open with the recovery key; recover --enrol then seals it to this state"
        ),
        Errno::EAGAIN | Errno::ENODEV => "there is no TPM2".to_owned(),
        Errno::EOPNOTSUPP | Errno::ELIBACC => {
            "systemd's plugin or the TPM's libraries are not installed".to_owned()
        }
        Errno::ENOANO => "it was sealed with a PIN, and nobody is there to type it".to_owned(),
        Errno::ENOLCK => {
            "the TPM is locked after too many wrong tries; wait, or restart".to_owned()
        }
        errno => format!(
            "this TPM does not unseal it ({errno}): it is another machine's, or was cleared, or its \
             state has changed (PCR {pcrs})"
        ),
    }
}
