//! A board: QEMU with UEFI, Secure Boot, a TPM, one disk, and no network but the tests' own.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use holdfast_tests::node::free_port;
use holdfast_tests::tools::output;
use holdfast_tests::wait::until_within;
use serde_json::{Value, json};

/// Longest that a start, with everything on the way to a healthy node, is waited for. It takes one to two
/// minutes on a quiet machine.
pub(crate) const START: Duration = Duration::from_secs(900);
/// Where the guest reaches the object store.
pub(crate) const STORE: &str = "10.0.2.100:9000";
/// Where it looks for updates, in an image that is built for that.
const UPDATES: &str = "10.0.2.101:443";

const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// A board with its firmware's memory and its TPM; the disk may be moved to another. Off when it is dropped.
pub(crate) struct Board {
    dir: PathBuf,
    uuid: &'static str,
    port: u16,
    store: u16,
    /// The port of a server of updates on this machine.
    updates: Option<u16>,
    /// A disk on the third port of the board's own SATA controller.
    bay: Option<PathBuf>,
    running: Option<[Child; 2]>,
    /// Where the output of the last start begins.
    begun: u64,
}

impl Board {
    /// A new board, in setup mode, its TPM never used. `store` is the port of an object store on this machine.
    pub(crate) fn new(dir: &Path, uuid: &'static str, store: u16) -> Result<Self> {
        let dir = dir.join(format!("board-{uuid}"));
        fs::create_dir_all(dir.join("tpm"))?;
        fs::copy(VARIABLES, dir.join("variables"))?;
        File::create(dir.join("serial"))?;
        Ok(Self {
            dir,
            uuid,
            port: free_port()?,
            store,
            updates: None,
            bay: None,
            running: None,
            begun: 0,
        })
    }

    /// The port of this machine that leads to the node's.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Lets it reach a server of updates that listens at this port, from the next start on.
    pub(crate) fn updates_from(&mut self, port: u16) {
        self.updates = Some(port);
    }

    /// Puts a disk into its third bay, for the next starts.
    pub(crate) fn has_in_bay(&mut self, disk: &Path) {
        self.bay = Some(disk.into());
    }

    /// Switches it on, with this disk and these further ones, which are sticks.
    pub(crate) fn start(&mut self, disk: &Path, sticks: &[&Path]) -> Result<()> {
        ensure!(self.running.is_none(), "the board is on already");
        let here = |name: &str| self.dir.join(name).display().to_string();
        for stale in ["tpm.sock", "monitor", "line"] {
            let _ = fs::remove_file(self.dir.join(stale));
        }
        self.begun = fs::metadata(self.dir.join("serial"))?.len();
        let tpm = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={}", here("tpm"))])
            .args(["--ctrl", &format!("type=unixio,path={}", here("tpm.sock"))])
            .stdin(Stdio::null())
            .spawn()
            .context("starting swtpm")?;
        let deadline = Duration::from_secs(30);
        let mut waited = Duration::ZERO;
        while !self.dir.join("tpm.sock").exists() {
            ensure!(waited < deadline, "swtpm made no socket");
            std::thread::sleep(Duration::from_millis(50));
            waited += Duration::from_millis(50);
        }
        let log = File::create(self.dir.join("qemu.log"))?;
        let lead = |to: &str, port| format!(",guestfwd=tcp:{to}-cmd:socat - TCP:127.0.0.1:{port}");
        let mut leads = lead(STORE, self.store);
        leads.extend(self.updates.map(|port| lead(UPDATES, port)));
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-machine",
            "q35,smm=on",
            "-accel",
            "tcg,thread=multi",
            "-smp",
            "2",
            "-m",
            "2048",
        ])
        .args(["-cpu", "Nehalem", "-uuid", self.uuid])
        .args(["-global", "driver=cfi.pflash01,property=secure,value=on"])
        .args(["-drive", &format!("if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}")])
        .args(["-drive", &format!("if=pflash,unit=1,format=raw,file={}", here("variables"))])
        .args([
            "-drive",
            &format!("if=none,id=disk,format=raw,file={},discard=unmap", disk.display()),
        ])
        .args(["-device", "virtio-blk-pci,drive=disk,bootindex=1"])
        .args(["-chardev", &format!("socket,id=tpm,path={}", here("tpm.sock"))])
        .args(["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0"])
        .args([
            "-netdev",
            &format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{}-:443{leads}", self.port),
        ])
        .args(["-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"])
        .args(["-device", "i6300esb", "-device", "qemu-xhci", "-device", "virtio-scsi-pci"])
        .args([
            "-display",
            "none",
            "-chardev",
            &format!(
                "socket,id=serial,path={},server=on,wait=off,logfile={},logappend=on",
                here("line"),
                here("serial")
            ),
        ])
        .args([
            "-serial",
            "chardev:serial",
            "-qmp",
            &format!("unix:{},server,nowait", here("monitor")),
        ])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
        for (number, stick) in sticks.iter().enumerate() {
            qemu.args([
                "-drive",
                &format!("if=none,id=stick{number},format=raw,file={}", stick.display()),
            ])
            .args(["-device", &format!("usb-storage,drive=stick{number},removable=on")]);
        }
        if let Some(bay) = &self.bay {
            qemu.args(["-drive", &format!("if=none,id=cold,format=raw,file={}", bay.display())])
                .args(["-device", "ide-hd,drive=cold,bus=ide.2"]);
        }
        let qemu = qemu.spawn().context("starting qemu-system-x86_64")?;
        self.running = Some([qemu, tpm]);
        Ok(())
    }

    /// Everything that this start has said so far, without what moves a cursor.
    pub(crate) fn said(&self) -> Result<String> {
        let mut file = File::open(self.dir.join("serial"))?;
        file.seek(SeekFrom::Start(self.begun))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(plain(&String::from_utf8_lossy(&bytes)))
    }

    /// Waits until this start has said one of these; returns which.
    pub(crate) async fn says<'a>(&mut self, any: &[&'a str]) -> Result<&'a str> {
        let found = until_within(START, &format!("the board to say one of {any:?}"), async || {
            let said = self.said()?;
            if let Some(found) = any.iter().find(|it| said.contains(**it)) {
                return Ok(Some(*found));
            }
            bail!("it said last:\n{}", last(&said, 3000));
        })
        .await;
        if let Some([qemu, _]) = &mut self.running
            && let Some(status) = qemu.try_wait()?
            && found.is_err()
        {
            bail!("qemu ended with {status}: {}", fs::read_to_string(self.dir.join("qemu.log"))?);
        }
        found
    }

    /// Forgets what was said before: later questions are about what comes from here on.
    pub(crate) fn listen_anew(&mut self) -> Result<()> {
        self.begun = fs::metadata(self.dir.join("serial"))?.len();
        Ok(())
    }

    /// Presses the power button, and waits until it is off.
    pub(crate) async fn off(&mut self) -> Result<()> {
        self.command("system_powerdown")?;
        let Some([qemu, _]) = &mut self.running else { bail!("the board is off already") };
        until_within(START, "the board to be off", async || Ok(qemu.try_wait()?)).await?;
        self.cut();
        Ok(())
    }

    /// Pulls the plug.
    pub(crate) fn cut(&mut self) {
        for mut child in self.running.take().into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Runs a command in the root shell that a debug image has on its serial line; returns what it printed. The
    /// command must not print the line that ends it.
    pub(crate) async fn shell(&self, command: &str) -> Result<String> {
        let mut line = UnixStream::connect(self.dir.join("line"))?;
        line.set_read_timeout(Some(Duration::from_secs(1)))?;
        let end = format!("end of {}", fastrand::u64(..));
        let (first, second) = end.split_at(6);
        // Both marks are split in the command's own echo, so that they are found only in what was printed.
        writeln!(
            line,
            "\r(stty -echo; {command}) 2>&1 | sed 's/^/<''| /'; echo '{first}''{second}'"
        )?;
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        until_within(START, command, async || {
            match line.read(&mut buffer) {
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => return Err(e.into()),
            }
            let said = plain(&String::from_utf8_lossy(&bytes));
            let Some((before, _)) = said.split_once(&end) else { return Ok(None) };
            Ok(Some(
                before
                    .lines()
                    .filter_map(|it| it.strip_prefix("<| "))
                    .collect::<Vec<_>>()
                    .join("\n"),
            ))
        })
        .await
    }

    /// Plugs in a disk or a stick while it runs.
    pub(crate) fn plug(&self, name: &str, file: &Path, driver: &str) -> Result<()> {
        let drive = json!({ "node-name": name, "driver": "raw", "file": { "driver": "file", "filename": file } });
        self.order("blockdev-add", &drive)?;
        self.order("device_add", &json!({ "driver": driver, "id": name, "drive": name })).map(drop)
    }

    /// Pulls it out.
    pub(crate) fn unplug(&self, name: &str) -> Result<()> {
        self.order("device_del", &json!({ "id": name })).map(drop)
    }

    /// Lets go of the file of what was unplugged, so that it can be plugged in again.
    pub(crate) fn pull(&self, name: &str) -> Result<()> {
        self.order("blockdev-del", &json!({ "node-name": name })).map(drop)
    }

    fn command(&self, name: &str) -> Result<Value> {
        self.order(name, &json!({}))
    }

    fn order(&self, name: &str, arguments: &Value) -> Result<Value> {
        let mut stream = UnixStream::connect(self.dir.join("monitor"))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut lines = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        for (execute, arguments) in [("qmp_capabilities", &json!({})), (name, arguments)] {
            writeln!(stream, "{}", json!({ "execute": execute, "arguments": arguments }))?;
            loop {
                line.clear();
                ensure!(lines.read_line(&mut line)? > 0, "qemu closed its monitor");
                let answer: Value = serde_json::from_str(&line)?;
                ensure!(answer.get("error").is_none(), "{name}: {answer}");
                if answer.get("return").is_some() {
                    break;
                }
            }
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Without escape sequences of terminals and carriage returns.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                if rest.next() == Some('[') {
                    while rest.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
                }
            }
            '\r' | '\0' => {}
            c => out.push(c),
        }
    }
    out
}

fn last(text: &str, bytes: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

fn table(disk: &Path) -> Result<Vec<Value>> {
    let table = output(Command::new("/sbin/sfdisk").arg("-J").arg(disk))?;
    let table: Value = serde_json::from_slice(&table)?;
    Ok(table["partitiontable"]["partitions"].as_array().context("no partitions")?.clone())
}

/// The number of a partition, from 1.
pub(crate) fn number(disk: &Path, name: &str) -> Result<usize> {
    let found = table(disk)?.iter().position(|it| it["name"] == name);
    found.map(|it| it + 1).with_context(|| format!("no partition {name}"))
}

/// A partition of a disk that lies in a file: first byte and length.
pub(crate) fn partition(disk: &Path, name: &str) -> Result<(u64, u64)> {
    let all = table(disk)?;
    let found = all.iter().find(|it| it["name"] == name);
    let found = found.with_context(|| format!("no partition {name} in {all:?}"))?;
    let number = |key: &str| found[key].as_u64().map(|it| it * 512).context("no number");
    Ok((number("start")?, number("size")?))
}

/// Flips one bit of a file.
pub(crate) fn flip(file: &Path, at: u64) -> Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&[byte[0] ^ 1])?;
    Ok(())
}
