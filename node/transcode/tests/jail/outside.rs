//! The program as it is, looked at from outside.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use holdfast_core::job::{Confinement, FailureKind, Jail, Limits, Outputs, Report};
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::common::{ALL, job, media, program, registry, start, start_as};

/// Set in the copy of this program that becomes the transcoder on a kernel without landlock.
pub(super) const WITHOUT: &str = "HOLDFAST_TEST_WITHOUT_LANDLOCK";

pub(super) fn status() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = start(&media("av1.webm"), folder.path(), &job(ALL, Limits::default()));
    let Some(Report::Started(confinement)) = running.next() else { panic!("no start") };
    assert!(confinement.landlock > 0 && confinement.seccomp, "{confinement:?}");
    // Well into its work, with all its threads.
    assert!(matches!(running.next(), Some(Report::Progress { .. })));
    let process = format!("/proc/{}", running.child.id());
    let tasks = fs::read_dir(format!("{process}/task")).unwrap();
    let mut threads = 0;
    for task in tasks {
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        threads += 1;
        for line in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{line}: {status}");
        }
        assert!(status.contains("Seccomp:\t2\nSeccomp_filters:\t2"), "{status}");
    }
    assert!(threads > 3, "{threads}");
    let interfaces = fs::read_to_string(format!("{process}/net/dev")).unwrap();
    let others = interfaces.lines().skip(2).filter(|l| !l.trim_start().starts_with("lo:")).count();
    assert_eq!((others > 0, others > 0), (confinement.network, false), "{interfaces}");
    let open = fs::read_dir(format!("{process}/fd")).unwrap().count();
    assert!(open < 100, "{open} descriptors");
    running.child.kill().unwrap();
    running.child.wait().unwrap();
}

pub(super) fn said() {
    let said = program().arg("--jail").output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert!(said.stderr.is_empty(), "{said:?}");
    let confinement: Confinement = serde_json::from_slice(&said.stdout).unwrap();
    assert!(confinement.landlock > 0 && confinement.seccomp && !confinement.network, "{said:?}");
    // Without a list made beforehand it makes its own, as well as a jail lets it.
    let empty = tempfile::tempdir().unwrap();
    let alone = program()
        .args(["--jail"])
        .env("GST_REGISTRY", empty.path().join("none"))
        .env_remove("GST_REGISTRY_UPDATE")
        .output()
        .unwrap();
    let plugins = |out: &[u8]| serde_json::from_slice::<serde_json::Value>(out).unwrap();
    assert_eq!(plugins(&alone.stdout), plugins(&said.stdout));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "it wrote its list");
}

/// Set in the copy of this program that becomes the transcoder where a namespace gives no power: the
/// only folder in which files can be written.
pub(super) const POWERLESS: &str = "HOLDFAST_TEST_POWERLESS";

/// To be called in the copy. Stands in for AppArmor's restriction of user namespaces: whoever makes one
/// cannot write its maps.
pub(super) fn become_the_program_without_power(folder: &OsStr) -> ExitCode {
    use landlock::{
        AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    };
    let rules = Ruleset::default().handle_access(AccessFs::WriteFile).unwrap().create().unwrap();
    let rule = PathBeneath::new(PathFd::new(folder).unwrap(), AccessFs::WriteFile);
    rules.add_rule(rule).unwrap().restrict_self().unwrap();
    let denied = fs::OpenOptions::new().write(true).open("/proc/self/setgroups");
    assert_eq!(denied.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    let error = Command::new(env!("CARGO_BIN_EXE_holdfast-transcode")).exec();
    panic!("{error}");
}

pub(super) fn powerless() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Command::new(env::current_exe().unwrap());
    program.env(POWERLESS, folder.path()).env("GST_REGISTRY", registry());
    let limits = Limits { jail: Jail::Required, ..Limits::default() };
    let job = job(Outputs { mp4: false, filmstrip: false, ..ALL }, limits);
    let running = start_as(program, &media("h264.mkv"), folder.path(), &job, None);
    let Some(Report::Started(confinement)) = running.next() else { panic!("no start") };
    assert!(confinement.landlock > 0 && confinement.seccomp, "{confinement:?}");
    let last = running.finish();
    assert!(matches!(last, Report::Done(_)), "{last:?}");
}

/// To be called in the copy. The filter stays over the change of programs.
pub(super) fn become_the_program_without_landlock() -> ExitCode {
    let rules = [(libc::SYS_landlock_create_ruleset, Vec::new())].into_iter().collect();
    let arch = env::consts::ARCH.try_into().unwrap();
    let (here, gone) = (SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32));
    let filter: BpfProgram =
        SeccompFilter::new(rules, here, gone, arch).unwrap().try_into().unwrap();
    apply_filter(&filter).unwrap();
    // A job, or what else it is asked.
    let asked = env::var(WITHOUT).unwrap();
    let asked = asked.starts_with("--").then_some(asked);
    let error = Command::new(env!("CARGO_BIN_EXE_holdfast-transcode")).args(asked).exec();
    panic!("{error}");
}

fn without_landlock(jail: Jail) -> (Report, Report, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Command::new(env::current_exe().unwrap());
    program.env(WITHOUT, "1").env("GST_REGISTRY", registry()).stderr(Stdio::piped());
    let limits = Limits { jail, ..Limits::default() };
    let mut running = start_as(program, &media("vp8.webm"), folder.path(), &job(ALL, limits), None);
    let first = running.next().unwrap();
    let stderr = running.child.stderr.take().unwrap();
    let last = match &first {
        Report::Failed(_) => {
            assert!(!running.child.wait().unwrap().success());
            first.clone()
        }
        _ => running.finish(),
    };
    (first, last, std::io::read_to_string(stderr).unwrap())
}

pub(super) fn required() {
    let (_, last, said) = without_landlock(Jail::Required);
    let Report::Failed(failure) = last else { panic!("{last:?}") };
    assert_eq!(failure.kind, FailureKind::Internal);
    assert!(failure.message.contains("landlock"), "{}", failure.message);
    assert!(said.contains("no landlock"), "{said}");
}

/// As the unit asks before the first job.
pub(super) fn asked_before() {
    let ask = |how: &str, without: bool| {
        let mut program = if without {
            let mut copy = Command::new(env::current_exe().unwrap());
            copy.env(WITHOUT, how).env("GST_REGISTRY", registry());
            copy
        } else {
            let mut program = program();
            program.arg(how);
            program
        };
        let said = program.output().unwrap();
        (said.status.success(), String::from_utf8(said.stderr).unwrap())
    };
    assert_eq!(ask("--jail=required", false), (true, String::new()));
    assert_eq!(ask("--jail", true), (true, String::new()));
    let (well, said) = ask("--jail=required", true);
    assert!(!well && said.contains("landlock"), "{said}");
    let (well, said) = ask("--jail=requird", false);
    assert!(!well && said.contains("usage"), "{said}");
}

pub(super) fn best_effort() {
    let (first, last, said) = without_landlock(Jail::BestEffort);
    let Report::Started(confinement) = first else { panic!("{first:?}") };
    assert_eq!((confinement.landlock, confinement.seccomp), (0, true));
    assert!(matches!(last, Report::Done(_)), "{last:?}");
    assert_eq!(said.lines().filter(|line| line.contains("no landlock")).count(), 1, "{said}");
}
