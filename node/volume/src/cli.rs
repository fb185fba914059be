//! The command line for technicians. What it takes, and what it prints.

mod header;

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::config::Config;
use crate::confirm::Confirmation;
use crate::error::Error;
use crate::keys::{RecoveryKey, Secret, tpm2};
use crate::luks::{Closing, Luks};
use crate::status::{Status, TriesTpm};
use crate::volume::Volume;
use crate::{backup, erasing, state, status};

const AFTER: &str = "\
Exit status: 0 done; 1 failed; 2 called wrongly; 3 wrong configuration, or no such volume; \
4 not confirmed, nothing changed; 5 device missing, or several; 6 device holds something else; \
7 no key opens it; 8 in use; 9 header or backup damaged, or another volume's; 10 not proven erased.";

/// Opens, makes, closes and erases the encrypted volumes that its configuration names.
#[derive(Debug, Parser)]
#[command(name = "holdfast-volume", version, after_help = AFTER)]
pub struct Arguments {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/holdfast/volume.toml")]
    pub config: PathBuf,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say how the volumes are, as JSON; fails if one has a problem
    Status {
        /// Only this one
        volume: Option<String>,
    },
    /// Make a volume on its device, show its recovery key once, and leave it closed
    Format(Destroy),
    /// Open and mount a volume with the machine's key
    Open {
        /// Name, or the label of its partition
        volume: String,
    },
    /// Unmount and close a volume
    Close {
        /// Name, or the label of its partition
        volume: String,
        /// Even if files are open, or its disk is gone
        #[arg(long)]
        force: bool,
    },
    /// Grow an open volume to the end of its device
    Grow {
        /// Name
        volume: String,
    },
    /// List a volume's key slots by purpose, or destroy one
    Keys {
        /// Name
        volume: String,
        /// Destroy this slot
        #[arg(long, value_name = "SLOT")]
        remove: Option<u32>,
        /// How
        #[command(flatten)]
        how: How,
    },
    /// Open and mount a volume with its recovery key, from the terminal or standard input
    Recover {
        /// Name
        volume: String,
        /// Give the machine's key of today a slot, in the place of its old ones
        #[arg(long)]
        enrol: bool,
    },
    /// Replace a key: the new one is put in and proven first, then the old one destroyed
    Rotate {
        /// Which key
        key: Rotated,
        /// Which volume, and how
        #[command(flatten)]
        destroy: Destroy,
    },
    /// Give an open volume another volume key, block by block, or go on with that
    Reencrypt(Destroy),
    /// Destroy all key slots, prove it, discard the device, print a receipt as JSON
    Erase(Destroy),
    /// Back up a volume's header, check or restore a backup
    Header {
        /// Which of these
        action: HeaderAction,
        /// The backup file; the kept one where none is given
        #[arg(long)]
        file: Option<PathBuf>,
        /// Encrypt the file that a backup is written to, with a key that is shown once
        #[arg(long, requires = "file")]
        encrypt: bool,
        /// Which volume, and how
        #[command(flatten)]
        destroy: Destroy,
    },
    /// Serve one request of the service on standard input, which is its socket
    #[command(hide = true)]
    Serve,
    /// Unseal the key of one token, for this program itself
    #[command(hide = true)]
    Unseal {
        /// The device or file with the header
        header: PathBuf,
        /// The token's number
        token: i32,
        /// A simulated TPM
        #[arg(long)]
        tpm: Option<String>,
    },
}

/// A volume, and how it may be harmed.
#[derive(Debug, Args)]
pub struct Destroy {
    /// Name
    pub volume: String,
    /// How
    #[command(flatten)]
    pub how: How,
}

/// How a volume may be harmed.
#[derive(Debug, Args)]
pub struct How {
    /// Say what would be done and lost, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The phrase that the dry run shows, for scripts; a terminal is asked for it
    #[arg(long, value_name = "PHRASE")]
    pub confirm: Option<String>,
}

impl From<How> for Confirmation {
    fn from(how: How) -> Self {
        Self { is_dry_run: how.dry_run, phrase: how.confirm }
    }
}

/// A key that can be replaced.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Rotated {
    /// By the one that lies beside it with the ending `.new`
    Machine,
    /// By a new one, which is shown once
    Recovery,
}

/// What to do with a header.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum HeaderAction {
    /// Write the header to a new file
    Backup,
    /// Say whether a backup is whole, this volume's, and opens with the machine's key
    Check,
    /// Put a backup back
    Restore,
}

/// Does what was asked.
///
/// # Errors
/// What went wrong; its code is the exit code.
pub fn run(arguments: Arguments) -> Result<(), Error> {
    if let Command::Unseal { header, token, tpm } = &arguments.command {
        return tpm2::run(header, *token, tpm.as_deref());
    }
    let config = Config::read(&arguments.config)?;
    if matches!(arguments.command, Command::Serve) {
        let input = std::io::stdin().as_fd().try_clone_to_owned();
        let input = input.map_err(|e| Error::failed("taking the socket", e))?;
        return crate::protocol::serve(&config, input.into());
    }
    // How things are can be asked while another is at work, for hours with integrity. What a person
    // has to confirm takes the lock after that: nobody's box waits for somebody who thinks.
    let volume = |name: &str| Ok::<_, Error>(Volume::new(&config, config.volume(name)?));
    match arguments.command {
        Command::Serve | Command::Unseal { .. } => Ok(()),
        Command::Status { volume: None } => {
            let mut all = status::all(&config, TriesTpm::Always);
            all.retain(|it| !it.is_unmade());
            show(&all)
        }
        Command::Status { volume: Some(name) } => {
            show(&[status::one(&volume(&name)?, TriesTpm::Always)])
        }
        Command::Open { volume: name } => {
            let volume = volume(&name)?;
            let _lock = state::lock(volume.name())?;
            match volume.open()? {
                Some(by) => println!("volume {name} is open, by {by}"),
                None => println!("volume {name} was open already"),
            }
            Ok(())
        }
        Command::Close { volume: name, force } => {
            let volume = volume(&name)?;
            let _lock = state::lock(volume.name())?;
            volume.close(if force { Closing::Later } else { Closing::Gently })
        }
        Command::Grow { volume: name } => {
            let volume = volume(&name)?;
            let _lock = state::lock(volume.name())?;
            volume.grow()
        }
        Command::Format(it) => format(&volume(&it.volume)?, &it.how.into()),
        Command::Keys { volume: name, remove, how } => keys(&volume(&name)?, remove, &how.into()),
        Command::Recover { volume: name, enrol } => recover(&volume(&name)?, enrol),
        Command::Rotate { key, destroy } => {
            rotate(&volume(&destroy.volume)?, key, &destroy.how.into())
        }
        Command::Reencrypt(it) => reencrypt(&volume(&it.volume)?, &it.how.into()),
        Command::Erase(it) => erase(&volume(&it.volume)?, &it.how.into()),
        Command::Header { action, file, encrypt, destroy } => {
            let file = file.map(|path| header::Named { path, encrypt });
            header::header(&volume(&destroy.volume)?, action, file, &destroy.how.into())
        }
    }
}

fn show(all: &[Status]) -> Result<(), Error> {
    print_json(&all)?;
    let problems: Vec<_> = all.iter().filter_map(|it| it.problem.clone()).collect();
    if problems.is_empty() { Ok(()) } else { Err(Error::failed("status", problems.join("; "))) }
}

fn print_json(it: &impl serde::Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(it).map_err(|e| Error::failed("printing", e))?;
    println!("{text}");
    Ok(())
}

fn format(volume: &Volume<'_>, how: &Confirmation) -> Result<(), Error> {
    let (shown, name) = (volume.shown()?, volume.name());
    let mut lost = shown.contents();
    // What shows nothing, or something else, can be a volume whose header was overwritten.
    if !matches!(Luks::load(&shown.path, volume.kdf()), Ok(Some(_))) {
        let kept = backup::uuids(volume.config, name);
        lost.extend(kept.into_iter().map(|uuid| format!("volume {uuid}")));
    }
    let (device, lost) = (shown.path.display(), lost.join(", "));
    let (would, phrase) = if lost.is_empty() {
        (format!("{device} shows nothing that would be lost."), format!("format {name}"))
    } else {
        let would = format!("{device} holds, or may hold: {lost}. It would be lost.");
        (would, format!("format {name} and lose {lost}"))
    };
    if how.asks(&would, &phrase)? {
        let _lock = state::lock(volume.name())?;
        volume.format(&shown, show_recovery)?;
    }
    Ok(())
}

/// Shows a key, which has to be out before the old one is destroyed.
fn show_recovery(key: &RecoveryKey) -> Result<(), Error> {
    let shown = show_key("Recovery key", "Keep it away from the box", key)?;
    shown.map_err(|e| Error::failed("showing the recovery key; the old one is valid still", e))
}

fn show_key(what: &str, keep: &str, key: &RecoveryKey) -> Result<std::io::Result<()>, Error> {
    let (mut out, qr, text) = (std::io::stdout().lock(), key.qr()?, key.text());
    let (qr, text) = (qr.as_str(), text.as_str());
    let written =
        writeln!(out, "{what}, shown this once and stored nowhere. {keep}:\n\n{text}\n\n{qr}");
    Ok(written.and_then(|()| out.flush()))
}

fn keys(volume: &Volume<'_>, remove: Option<u32>, how: &Confirmation) -> Result<(), Error> {
    let slots = volume.header()?.slots()?;
    let Some(number) = remove else { return print_json(&slots) };
    let purpose = slots.iter().find(|it| it.number == number).map(|it| it.purpose.to_string());
    let purpose = purpose.unwrap_or_else(|| "unused".to_owned());
    let would = format!("Key slot {number} ({purpose}) would be destroyed; its key opens no more.");
    let phrase = format!("remove {purpose} slot {number} of {}", volume.name());
    if !how.asks(&would, &phrase)? {
        return Ok(());
    }
    let _lock = state::lock(volume.name())?;
    let now = volume.header()?.slots()?;
    if now != slots {
        let doing = format!("volume {}: key slot {number}", volume.name());
        return Err(Error::failed(doing, "the slots changed meanwhile; begin again"));
    }
    volume.remove_slot(number)
}

fn recover(volume: &Volume<'_>, enrol: bool) -> Result<(), Error> {
    let typed = typed_secret("Recovery key: ")?;
    let key = RecoveryKey::parse(typed.bytes())
        .map_err(|e| Error::NoKey { volume: volume.name().to_string(), tried: e.to_string() })?;
    let _lock = state::lock(volume.name())?;
    let slot = volume.recover(&key, enrol)?;
    println!("volume {} is open, by its recovery key", volume.name());
    if let Some(slot) = slot {
        println!("the machine's key is in slot {slot} now");
    }
    Ok(())
}

/// Reads a line that a terminal does not show.
fn typed_secret(prompt: &str) -> Result<Secret, Error> {
    let failed = |e: String| Error::failed("reading the key", e);
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Secret::read_line(input.as_fd()).map_err(failed);
    }
    eprint!("{prompt}");
    let shown = tcgetattr(&input).map_err(|e| failed(e.to_string()))?;
    let mut hidden = shown.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&input, SetArg::TCSANOW, &hidden).map_err(|e| failed(e.to_string()))?;
    let line = Secret::read_line(input.as_fd());
    let _ = tcsetattr(&input, SetArg::TCSANOW, &shown);
    eprintln!();
    line.map_err(failed)
}

fn rotate(volume: &Volume<'_>, key: Rotated, how: &Confirmation) -> Result<(), Error> {
    let name = volume.name();
    let (purpose, kind) = match key {
        Rotated::Machine => ("machine's", "machine"),
        Rotated::Recovery => ("recovery", "recovery"),
    };
    let would =
        format!("The {purpose} key of {name} would be replaced; the old one opens no more.");
    if !how.asks(&would, &format!("rotate {kind} of {name}"))? {
        return Ok(());
    }
    let _lock = state::lock(volume.name())?;
    match key {
        Rotated::Machine => {
            let slot = volume.rotate_machine()?;
            println!("the new key is in slot {slot}; give it the old one's name");
        }
        Rotated::Recovery => volume.rotate_recovery(show_recovery)?,
    }
    Ok(())
}

fn reencrypt(volume: &Volume<'_>, how: &Confirmation) -> Result<(), Error> {
    let name = volume.name();
    let would = format!(
        "Every block of volume {name} would be written once more, while it is in use; that may take hours. A new \
         recovery key would be shown, and the old one open no more, nor would slots of the site's and of \
         other programs."
    );
    let is_begun = volume.header()?.reencryption()?.is_some();
    if (is_begun && !how.is_dry_run) || how.asks(&would, &format!("reencrypt {name}"))? {
        volume.reencrypt(show_recovery)?;
    }
    Ok(())
}

fn erase(volume: &Volume<'_>, how: &Confirmation) -> Result<(), Error> {
    let (shown, name) = (volume.shown()?, volume.name());
    let (_, uuid) = volume.to_erase(&shown)?;
    let would = format!("Everything on {} would be unreadable for ever.", shown.path.display());
    if how.asks(&would, &format!("erase {name} {uuid}"))? {
        let _lock = state::lock(volume.name())?;
        let receipt = volume.erase(&uuid, &shown)?;
        print_json(&receipt)?;
        erasing::end(volume.config, name, &receipt.uuid);
    }
    Ok(())
}
