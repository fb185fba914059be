//! Hardware without hardware: candidates, proofs and jobs with elements under the real names that a
//! plugin for tests brings (`examples/fake_hardware.rs`). What is shown here is that we choose, link,
//! prove and give up rightly; what drivers do is not.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

mod common;

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{ALL, ffmpeg, span, start_among, text};
use holdfast_core::hardware::{Chain, Family, Listing, Proof, Verdict};
use holdfast_core::job::{FailureKind, Job, Limits, MAIN_NAME, Made, Report};
use holdfast_core::transform::Transform;
use tempfile::TempDir;

const GOOD: &str = "vah264enc=good vapostproc=good vavp8dec=good vavp9dec=good";

/// A machine with these elements.
struct Machine {
    folder: TempDir,
    env: Vec<(&'static str, String)>,
}

impl Machine {
    fn with(elements: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_holdfast-transcode"));
        let plugin = program.parent().unwrap().join("examples/libfake_hardware.so");
        assert!(plugin.exists(), "{} is missing: cargo build --examples", plugin.display());
        let plugins = folder.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        std::os::unix::fs::symlink(plugin, plugins.join("libfake_hardware.so")).unwrap();
        let env = vec![
            ("GST_PLUGIN_PATH", text(&plugins).to_owned()),
            ("GST_REGISTRY", text(&folder.path().join("registry.bin")).to_owned()),
            ("HOLDFAST_FAKE_HARDWARE", elements.to_owned()),
        ];
        let machine = Self { folder, env };
        // As the service does it: the jail lets nobody write the list of plugins.
        assert!(machine.ask(&["--warm"]).status.success());
        machine
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-transcode"));
        command.envs(self.env.iter().map(|(n, v)| (n, v))).args(arguments).stdin(Stdio::null());
        command
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn listing(&self) -> Listing {
        serde_json::from_slice(&self.ask(&["--candidates"]).stdout).unwrap()
    }

    fn prove(&self, name: &str) -> Proof {
        let out = self.ask(&["--prove", name]);
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)))
    }

    /// Runs a job with a chain.
    fn job(&self, input: &Path, chain: Option<Chain>, stall_ms_max: u64) -> (Report, PathBuf) {
        self.job_within(input, chain, Limits { stall_ms_max, ..Limits::default() })
    }

    fn job_within(&self, input: &Path, chain: Option<Chain>, limits: Limits) -> (Report, PathBuf) {
        let folder = self.folder.path().join("out");
        std::fs::create_dir_all(&folder).unwrap();
        let job = Job {
            outputs: ALL,
            transform: Transform::default(),
            filmstrip_link: String::new(),
            limits,
            hardware: chain,
            live: false,
        };
        (start_among(&self.env, input, &folder, &job).finish(), folder)
    }

    fn made(&self, input: &Path, chain: Chain) -> (Made, PathBuf) {
        match self.job(input, Some(chain), 60_000) {
            (Report::Done(made), folder) => (made, folder),
            (other, _) => panic!("{other:?}"),
        }
    }

    fn failed(&self, input: &Path, chain: Chain, stall_ms_max: u64) -> (FailureKind, String) {
        match self.job(input, Some(chain), stall_ms_max) {
            (Report::Failed(failure), _) => (failure.kind, failure.message),
            (other, _) => panic!("{other:?}"),
        }
    }
}

fn chain(name: &str, decodes: &[&str], whole: &[&str]) -> Chain {
    let all = |codecs: &[&str]| codecs.iter().map(|c| (*c).to_owned()).collect();
    Chain { name: name.into(), decodes: all(decodes), whole: all(whole) }
}

/// Two seconds of 60 frames with sound.
fn recording(folder: &TempDir, codec: &str) -> PathBuf {
    let file = folder.path().join("recording.webm");
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=320x240:rate=30:duration=2",
        "-f",
        "lavfi",
        "-i",
        "sine=duration=2",
        "-c:v",
        codec,
        "-b:v",
        "1M",
        "-deadline",
        "realtime",
        "-c:a",
        "libopus",
        text(&file),
    ]);
    file
}

fn reason(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Fails { reason } => reason,
        Verdict::Works { .. } => panic!("it works"),
    }
}

#[test]
fn what_is_registered_is_listed_best_first() {
    let machine = Machine::with(&format!("nvh264enc=good varenderD129h264enc=good {GOOD}"));
    let names: Vec<String> = machine.listing().candidates.into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["va", "va:renderD129", "nvcodec", "x264", "openh264"]);
}

#[test]
fn a_device_that_works_is_proven_with_its_decoders() {
    let machine = Machine::with("vah264enc=good vapostproc=good vavp8dec=good vavp9dec=drop:5");
    let proof = machine.prove("va");
    assert_eq!(proof.candidate.family, Family::Va);
    assert_eq!(proof.device.as_deref(), Some("/dev/dri/renderD128"));
    assert!(proof.encoder.works() && proof.pixels_per_s > 0, "{proof:?}");
    // Its VP8 works all the way; its VP9 loses frames.
    let chain = proof.chain().unwrap();
    assert_eq!((chain.decodes, chain.whole), (vec!["vp8".to_owned()], vec!["vp8".to_owned()]));
    let vp9 = proof.decoders.iter().find(|d| d.codec == "vp9").unwrap();
    assert!(reason(&vp9.decode).contains("5 of 30"), "{vp9:?}");
}

#[test]
fn an_h265_decoder_is_proven_although_no_job_encodes_it() {
    let machine = Machine::with("vah264enc=good vapostproc=good vah265dec=good");
    let proof = machine.prove("va");
    let chain = proof.chain().unwrap();
    assert_eq!(
        (chain.decodes, chain.whole),
        (vec!["h265".into()], vec!["h265".into()]),
        "{proof:?}"
    );
}

#[test]
fn what_the_jail_refuses_fails_the_proof_and_not_each_job() {
    let machine = Machine::with("vah264enc=nosy vapostproc=good");
    let proof = machine.prove("va");
    assert!(reason(&proof.encoder).contains("/proc/self/status: "), "{proof:?}");
    assert!(reason(&proof.encoder).contains("ermission denied"), "{proof:?}");
}

#[test]
fn frames_of_another_memory_are_proven_too() {
    let machine =
        Machine::with("nvh264enc=good cudaupload=good cudaconvertscale=good nvvp8dec=good");
    let chain = machine.prove("nvcodec").chain().unwrap();
    assert_eq!(chain.whole, ["vp8"]);
}

#[test]
fn a_device_is_not_believed_by_its_name() {
    for (how, said) in [
        ("garbage", "does not look like"),
        ("garbage:20", "does not look like"),
        ("fail", "the device is lost"),
        ("drop:7", "7 of 30 frames"),
    ] {
        let machine = Machine::with(&format!("vah264enc={how} vapostproc=good"));
        let proof = machine.prove("va");
        assert!(reason(&proof.encoder).contains(said), "{how}: {proof:?}");
        assert_eq!(proof.chain(), None, "{how}");
    }
    // Without what brings frames into its memory it cannot work.
    let machine = Machine::with("vah264enc=good");
    assert!(reason(&machine.prove("va").encoder).contains("vapostproc"));
}

#[test]
fn a_driver_that_crashes_takes_its_own_child_alone() {
    let machine = Machine::with("vah264enc=crash vapostproc=good");
    let out = machine.ask(&["--prove", "va"]);
    assert!(out.status.signal().is_some() && out.stdout.is_empty(), "{out:?}");
    assert!(machine.prove("x264").encoder.works());
}

#[test]
fn a_driver_that_hangs_can_be_ended() {
    let machine = Machine::with("vah264enc=hang vapostproc=good");
    let mut child = machine.command(&["--prove", "va"]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "it did not hang");
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_film_never_leaves_the_device() {
    let machine = Machine::with(GOOD);
    let input = recording(&machine.folder, "libvpx");
    let (made, folder) = machine.made(&input, chain("va", &["vp8"], &["vp8"]));
    let mp4 = made.mp4.unwrap();
    assert_eq!(mp4.encoder.as_deref(), Some("vah264enc"));
    assert_eq!(mp4.decoder.as_deref(), Some("vavp8dec"));
    assert_eq!((mp4.width, mp4.height), (320, 240));
    assert_eq!(span(&folder.join(MAIN_NAME), "v").unwrap().packets, 60);
    assert_eq!(made.snapshot.map(|s| (s.width, s.height)), Some((320, 240)));
    assert!(made.filmstrip.is_some() && made.remarks.is_empty(), "{:?}", made.remarks);
}

#[test]
fn a_missing_part_is_made_up_for_by_a_copy() {
    let machine = Machine::with(GOOD);
    let input = recording(&machine.folder, "libvpx-vp9");
    // Decoded by the device, but brought over; and decoded in software.
    for (decodes, decoder) in [(vec!["vp9"], Some("vavp9dec")), (vec![], None)] {
        let (made, folder) = machine.made(&input, chain("va", &decodes, &[]));
        let mp4 = made.mp4.unwrap();
        assert_eq!(mp4.encoder.as_deref(), Some("vah264enc"));
        assert_eq!(mp4.decoder.as_deref(), decoder);
        assert_eq!(span(&folder.join(MAIN_NAME), "v").unwrap().packets, 60);
    }
}

#[test]
fn an_encoder_that_fails_or_hangs_is_called_so() {
    called_so(&[
        ("vah264enc=fail:9 vapostproc=good", FailureKind::Hardware, "vah264enc failed at"),
        ("vah264enc=hang:9 vapostproc=good", FailureKind::Hardware, "stood still"),
    ]);
}

#[test]
fn what_else_hardware_does_wrong_is_called_so() {
    called_so(&[
        ("vah264enc=drop:9 vapostproc=good", FailureKind::Hardware, "ends at"),
        ("vah264enc=good vapostproc=fail:9", FailureKind::Hardware, "vapostproc failed at"),
        ("vah264enc=good vapostproc=good vavp8dec=drop:9", FailureKind::Damaged, "9 of the"),
        ("x=good", FailureKind::Hardware, "no va here any more"),
    ]);
}

#[test]
fn an_encoder_that_fails_without_a_word_is_called_so() {
    // A queue or the demuxer tells of it then; nothing but the encoder is hardware here.
    for how in ["mute", "mute:9", "mute:59"] {
        let machine = Machine::with(&format!("vah264enc={how} vapostproc=good"));
        let input = recording(&machine.folder, "libvpx");
        let (is, message) = machine.failed(&input, chain("va", &[], &[]), 60_000);
        let said = message.starts_with("va failed at") && message.contains("data stream error");
        assert!(is == FailureKind::Hardware && said, "{how}: {is:?} {message}");
    }
}

#[test]
fn a_limit_that_is_reached_on_hardware_is_for_software_to_try() {
    let machine = Machine::with(GOOD);
    let input = recording(&machine.folder, "libvpx");
    let limits = Limits { output_bytes_max: 10_000, ..Limits::default() };
    let hardware = Some(chain("va", &["vp8"], &["vp8"]));
    for (chain, wanted) in [(hardware, FailureKind::Hardware), (None, FailureKind::Limit)] {
        let Report::Failed(failure) = machine.job_within(&input, chain, limits).0 else {
            panic!("10000 bytes were enough")
        };
        assert_eq!(failure.kind, wanted, "{}", failure.message);
    }
}

fn called_so(cases: &[(&str, FailureKind, &str)]) {
    for &(elements, kind, said) in cases {
        let machine = Machine::with(elements);
        let input = recording(&machine.folder, "libvpx");
        let (is, message) = machine.failed(&input, chain("va", &["vp8"], &["vp8"]), 1_500);
        assert!(is == kind && message.contains(said), "{elements}: {is:?} {message}");
        if elements.contains("vah264enc=fail") {
            // The next child, without it, makes the same film.
            let (report, _) = machine.job(&input, None, 60_000);
            let Report::Done(made) = report else { panic!("{report:?}") };
            assert_eq!(made.mp4.unwrap().encoder.as_deref(), Some("x264enc"));
        }
    }
}

#[test]
fn a_film_that_is_larger_than_the_device_takes_is_made_in_software() {
    let machine = Machine::with(GOOD);
    let file = machine.folder.path().join("wide.webm");
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc=size=4200x64:rate=5:duration=1",
        "-c:v",
        "libvpx",
        "-deadline",
        "realtime",
        text(&file),
    ]);
    let (made, _) = machine.made(&file, chain("va", &["vp8"], &["vp8"]));
    let mp4 = made.mp4.unwrap();
    assert_eq!((mp4.encoder.as_deref(), mp4.decoder), (Some("x264enc"), None));
}
