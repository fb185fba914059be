//! The jail, tried from inside: this program starts itself again, enters the jail by the functions
//! that the transcoder enters it by, and does what somebody would who took it over.
//!
//! A test is a function that runs inside. It has no harness: the jail is entered by the first
//! thread of a process, while there is no other.
#![allow(clippy::unwrap_used)] // a test that cannot set itself up has failed

#[path = "../common/mod.rs"]
mod common;
mod inside;
mod outside;

use std::os::fd::OwnedFd;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use holdfast_core::job::{Jail, Limits};
use holdfast_transcode::jail;

/// Set in the copy of this program that enters the jail: the folder to make files in.
const INSIDE: &str = "HOLDFAST_TEST_INSIDE";

/// What a test inside has at hand, besides what it finds.
struct Inside {
    /// The folder to make files in, by name and by descriptor.
    folder: PathBuf,
    output: OwnedFd,
    /// A TCP port at which somebody listens, on 127.0.0.1.
    port: u16,
}

enum Test {
    Inside(fn(&Inside)),
    Outside(fn()),
}

const TESTS: &[(&str, Test)] = &[
    ("outputs_can_be_made_and_read_back", Test::Inside(inside::outputs)),
    ("no_other_file_can_be_read", Test::Inside(inside::reading)),
    ("no_other_file_can_be_made_changed_or_removed", Test::Inside(inside::writing)),
    ("nothing_can_be_connected_to", Test::Inside(inside::connecting)),
    ("no_process_can_be_started_or_touched", Test::Inside(inside::processes)),
    ("dangerous_calls_are_refused_in_every_thread", Test::Inside(inside::calls)),
    ("limits_cannot_be_raised", Test::Inside(inside::limits)),
    ("only_listed_plugins_can_be_used", Test::Inside(inside::plugins)),
    ("gstreamers_threads_are_confined_too", Test::Inside(inside::streaming_threads)),
    ("the_kernel_says_what_is_in_force", Test::Outside(outside::status)),
    ("the_program_says_what_is_in_force", Test::Outside(outside::said)),
    ("a_kernel_without_landlock_is_refused_where_it_is_required", Test::Outside(outside::required)),
    ("a_unit_is_told_before_the_first_job", Test::Outside(outside::asked_before)),
    ("a_namespace_that_gives_no_power_costs_nothing_else", Test::Outside(outside::powerless)),
    ("a_kernel_without_landlock_is_told_of_where_it_may_be", Test::Outside(outside::best_effort)),
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|a| a == flag);
    if env::var_os(outside::WITHOUT).is_some() {
        return outside::become_the_program_without_landlock();
    }
    if let Some(folder) = env::var_os(outside::POWERLESS) {
        return outside::become_the_program_without_power(&folder);
    }
    if has("--list") {
        if !has("--ignored") {
            TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    if let Some(folder) = env::var_os(INSIDE) {
        return enter(wanted[0], PathBuf::from(folder));
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(*w));
    for (name, test) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        match test {
            Test::Inside(_) => around(name),
            Test::Outside(test) => test(),
        }
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// Starts a copy that enters the jail, with things about that it might want.
fn around(name: &str) {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("output");
    fs::create_dir(&folder).unwrap();
    fs::write(around.path().join("neighbour"), b"somebody else's").unwrap();
    let _service = UnixListener::bind(around.path().join("socket")).unwrap();
    let _abstract = UnixListener::bind_addr(&abstract_name(&folder)).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let inside = Command::new(env::current_exe().unwrap())
        .args([name, &listener.local_addr().unwrap().port().to_string()])
        .env(INSIDE, &folder)
        .env("GST_REGISTRY", common::registry())
        .env("GST_REGISTRY_UPDATE", "no")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [inside.stdout, inside.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(inside.status.success(), "{name}: {}\n{said}", inside.status);
    assert!(said.contains("it held"), "{name}: {said}");
    let neighbour = fs::read(around.path().join("neighbour")).unwrap();
    assert_eq!(neighbour, b"somebody else's", "{name}");
    let left: Vec<_> = fs::read_dir(around.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left.len(), 3, "{name}: {left:?}");
}

fn abstract_name(folder: &Path) -> SocketAddr {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(folder.as_os_str().as_encoded_bytes()).unwrap()
}

fn enter(name: &str, folder: PathBuf) -> ExitCode {
    use std::os::fd::AsFd as _;
    let (_, test) = TESTS.iter().find(|(n, _)| *n == name).unwrap();
    let Test::Inside(test) = test else { panic!("{name} runs outside") };
    let port = env::args().nth(2).unwrap().parse().unwrap();
    let output: OwnedFd = fs::File::open(&folder).unwrap().into();
    jail::tie().unwrap();
    let limits = Limits { jail: Jail::Required, ..Limits::default() };
    let confinement = jail::confine(Some(output.as_fd()), &limits).unwrap();
    assert!(confinement.landlock > 0 && confinement.seccomp, "{confinement:?}");
    test(&Inside { folder, output, port });
    println!("it held");
    ExitCode::SUCCESS
}
