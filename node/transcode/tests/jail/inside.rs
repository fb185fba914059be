//! What somebody would try who took the transcoder over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;

use gst::prelude::*;
use gstreamer as gst;
use holdfast_transcode::jail::plugins::start_gstreamer;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, execv, getppid, setuid};

use super::{Inside, abstract_name};

/// It was refused, by landlock or by a filter, rather than that there was nothing to be had.
#[track_caller]
fn refused<T>(what: &str, result: io::Result<T>) {
    let code = result.err().map(|e| (e.raw_os_error().map(Errno::from_raw), e));
    match code {
        Some((Some(Errno::EACCES | Errno::EPERM | Errno::ENOSYS), _)) => {}
        Some((_, e)) => panic!("{what}: {e}"),
        None => panic!("{what} was possible"),
    }
}

pub(super) fn outputs(it: &Inside) {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW;
    for _ in 0..2 {
        let fd = openat(it.output.as_fd(), "main.mp4", flags, Mode::from_bits_truncate(0o640));
        let mut file = File::from(fd.unwrap());
        file.write_all(b"a film").unwrap();
        file.set_len(3).unwrap();
        file.sync_all().unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "a f");
    }
    nix::unistd::fsync(it.output.as_fd()).unwrap();
}

pub(super) fn reading(it: &Inside) {
    let neighbour = it.folder.parent().unwrap().join("neighbour");
    let names = [
        Path::new("/etc/shadow"),
        Path::new("/etc/passwd"),
        Path::new("/proc/1/environ"),
        Path::new("/proc/self/environ"),
        Path::new("/proc/self/maps"),
        &neighbour,
    ];
    for name in names {
        refused(&name.display().to_string(), File::open(name));
    }
    for folder in ["/", "/root", "/home", "/tmp", "/proc", "/etc", "/var/lib"] {
        refused(folder, fs::read_dir(folder));
    }
    // Around by way of what is allowed.
    for name in ["../neighbour", "../../../../../../etc/passwd"] {
        let fd = openat(it.output.as_fd(), name, OFlag::O_RDONLY, Mode::empty());
        refused(name, fd.map_err(Into::into));
    }
    refused("/usr/lib/../../etc/passwd", File::open("/usr/lib/../../etc/passwd"));
    refused("a root of another process", File::open("/proc/self/root/etc/passwd"));
    // What GStreamer is made of is read.
    assert!(fs::read_dir("/usr/lib").unwrap().count() > 0);
}

#[expect(clippy::disallowed_methods, reason = "it must not be possible")]
pub(super) fn writing(it: &Inside) {
    let parent = it.folder.parent().unwrap();
    let neighbour = parent.join("neighbour");
    let new = |name: &Path| OpenOptions::new().write(true).create(true).truncate(true).open(name);
    refused("another's file", new(&neighbour));
    refused("another's file, at its end", OpenOptions::new().append(true).open(&neighbour));
    for folder in [parent, Path::new("/tmp"), Path::new("/dev/shm"), Path::new("/usr/lib")] {
        refused(&folder.display().to_string(), new(&folder.join("holdfast-test-was-here")));
    }
    refused("its own memory", OpenOptions::new().write(true).open("/proc/self/mem"));
    refused("kernel settings", OpenOptions::new().write(true).open("/proc/sys/kernel/hostname"));
    refused("removing", fs::remove_file(&neighbour));
    refused("renaming", fs::rename(&neighbour, it.folder.join("mine")));
    refused("linking", fs::hard_link(&neighbour, it.folder.join("mine")));
    refused("a symbolic link", symlink("/etc/passwd", it.folder.join("link")));
    refused("a folder", fs::create_dir(it.folder.join("folder")));
    refused("rights", fs::set_permissions(&neighbour, fs::Permissions::from_mode(0o777)));
    refused("cutting by name", nix::unistd::truncate(&neighbour, 0).map_err(Into::into));
}

pub(super) fn connecting(it: &Inside) {
    refused("TCP", TcpStream::connect(("127.0.0.1", it.port)));
    refused("listening", TcpListener::bind("127.0.0.1:0"));
    refused("UDP", UdpSocket::bind("127.0.0.1:0"));
    let socket = it.folder.parent().unwrap().join("socket");
    refused("a Unix socket", UnixStream::connect(socket));
    refused("an abstract socket", UnixStream::connect_addr(&abstract_name(&it.folder)));
    refused("datagrams", UnixDatagram::unbound());
    // The one pair that may be made knows only itself.
    let (a, b) = UnixStream::pair().unwrap();
    refused("passing on", a.as_fd().try_clone_to_owned().map(drop).and(sendmsg(&a)));
    drop(b);
}

fn sendmsg(socket: &UnixStream) -> io::Result<usize> {
    use std::os::fd::AsRawFd as _;
    let parts = [io::IoSlice::new(b"x")];
    let flags = nix::sys::socket::MsgFlags::empty();
    Ok(nix::sys::socket::sendmsg::<()>(socket.as_raw_fd(), &parts, &[], flags, None)?)
}

pub(super) fn processes(_: &Inside) {
    refused("a program", Command::new("/bin/true").spawn());
    let program = c"/bin/true";
    refused("becoming another program", execv(program, &[program]).map_err(Into::into));
    refused("a signal to its parent", kill(getppid(), Signal::SIGTERM).map_err(Into::into));
    refused("a signal to all", kill(Pid::from_raw(-1), Signal::SIGTERM).map_err(Into::into));
    let spaces = [
        CloneFlags::CLONE_NEWUSER,
        CloneFlags::CLONE_NEWNS,
        CloneFlags::CLONE_NEWNET,
        CloneFlags::CLONE_NEWPID,
    ];
    for space in spaces {
        refused("a namespace", unshare(space).map_err(Into::into));
    }
    refused("another user", setuid(0.into()).map_err(Into::into));
    // Threads are what it works with.
    assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
}

#[expect(unsafe_code, reason = "calls that no library makes any more")]
fn call(number: i64, arguments: [i64; 5]) -> Option<Errno> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: no pointer among the arguments is anything but null; a process that came of it would
    // end the test.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    (result == -1).then(Errno::last)
}

pub(super) fn calls(_: &Inside) {
    every_call();
    std::thread::spawn(every_call).join().unwrap();
}

fn every_call() {
    let parent = i64::from(getppid().as_raw());
    let own = i64::from(std::process::id());
    let child = i64::from(libc::SIGCHLD);
    let thread_elsewhere = i64::from(libc::CLONE_THREAD | libc::CLONE_NEWUSER);
    let empty = i64::from(libc::O_TRUNC);
    let refused = [
        ("clone of a process", libc::SYS_clone, [child, 0, 0, 0, 0], Errno::ENOSYS),
        ("clone elsewhere", libc::SYS_clone, [thread_elsewhere, 0, 0, 0, 0], Errno::ENOSYS),
        ("clone3", libc::SYS_clone3, [0, 88, 0, 0, 0], Errno::ENOSYS),
        ("execveat", libc::SYS_execveat, [-1, 0, 0, 0, 0], Errno::EPERM),
        ("ptrace", libc::SYS_ptrace, [16, parent, 0, 0, 0], Errno::EPERM),
        ("ptrace me", libc::SYS_ptrace, [0, 0, 0, 0, 0], Errno::EPERM),
        ("process_vm_readv", libc::SYS_process_vm_readv, [parent, 0, 0, 0, 0], Errno::EPERM),
        ("process_vm_writev", libc::SYS_process_vm_writev, [parent, 0, 0, 0, 0], Errno::EPERM),
        ("pidfd_open", libc::SYS_pidfd_open, [parent, 0, 0, 0, 0], Errno::EPERM),
        ("tgkill", libc::SYS_tgkill, [parent, parent, 0, 0, 0], Errno::ENOSYS),
        ("mount", libc::SYS_mount, [0, 0, 0, 0, 0], Errno::EPERM),
        ("umount", libc::SYS_umount2, [0, 0, 0, 0, 0], Errno::EPERM),
        ("open_tree", libc::SYS_open_tree, [-1, 0, 0, 0, 0], Errno::EPERM),
        ("setns", libc::SYS_setns, [0, 0, 0, 0, 0], Errno::EPERM),
        ("pivot_root", libc::SYS_pivot_root, [0, 0, 0, 0, 0], Errno::EPERM),
        ("chroot", libc::SYS_chroot, [0, 0, 0, 0, 0], Errno::EPERM),
        ("bpf", libc::SYS_bpf, [0, 0, 0, 0, 0], Errno::EPERM),
        ("perf_event_open", libc::SYS_perf_event_open, [0, 0, 0, 0, 0], Errno::EPERM),
        ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0, 0, 0], Errno::EPERM),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0], Errno::EPERM),
        ("keyctl", libc::SYS_keyctl, [0, -3, 1, 0, 0], Errno::EPERM),
        ("add_key", libc::SYS_add_key, [0, 0, 0, 0, 0], Errno::EPERM),
        ("request_key", libc::SYS_request_key, [0, 0, 0, 0, 0], Errno::EPERM),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0], Errno::EPERM),
        ("name_to_handle_at", libc::SYS_name_to_handle_at, [-1, 0, 0, 0, 0], Errno::EPERM),
        ("capset", libc::SYS_capset, [0, 0, 0, 0, 0], Errno::EPERM),
        ("seccomp", libc::SYS_seccomp, [0, 0, 0, 0, 0], Errno::EPERM),
        ("personality", libc::SYS_personality, [0, 0, 0, 0, 0], Errno::EPERM),
        ("init_module", libc::SYS_init_module, [0, 0, 0, 0, 0], Errno::EPERM),
        ("reboot", libc::SYS_reboot, [0, 0, 0, 0, 0], Errno::EPERM),
        ("openat2", libc::SYS_openat2, [-1, 0, 0, 0, 0], Errno::ENOSYS),
        ("landlock", libc::SYS_landlock_create_ruleset, [0, 0, 1, 0, 0], Errno::ENOSYS),
        ("a limit of its parent", libc::SYS_prlimit64, [parent, 0, 0, 0, 0], Errno::ENOSYS),
        ("F_SETOWN", libc::SYS_fcntl, [0, 8, parent, 0, 0], Errno::ENOSYS),
        ("O_ASYNC", libc::SYS_fcntl, [0, 4, i64::from(libc::O_ASYNC), 0, 0], Errno::ENOSYS),
        ("FIOASYNC", libc::SYS_ioctl, [0, 0x5452, 0, 0, 0], Errno::ENOSYS),
        ("FIOSETOWN", libc::SYS_ioctl, [0, 0x8901, 0, 0, 0], Errno::ENOSYS),
        ("SIOCSPGRP", libc::SYS_ioctl, [0, 0x8902, 0, 0, 0], Errno::ENOSYS),
        ("its parent's cores", libc::SYS_sched_setaffinity, [parent, 0, 0, 0, 0], Errno::ENOSYS),
        ("its parent's turn", libc::SYS_sched_setattr, [parent, 0, 0, 0, 0], Errno::ENOSYS),
        ("emptying to read", libc::SYS_openat, [-1, 0, empty, 0, 0], Errno::ENOSYS),
        ("emptying for nothing", libc::SYS_openat, [-1, 0, empty | 3, 0, 0], Errno::ENOSYS),
        ("TIOCSTI", libc::SYS_ioctl, [0, 0x5412, 0, 0, 0], Errno::ENOSYS),
        ("PR_SET_DUMPABLE", libc::SYS_prctl, [4, 1, 0, 0, 0], Errno::ENOSYS),
        ("PR_SET_PDEATHSIG", libc::SYS_prctl, [1, 0, 0, 0, 0], Errno::ENOSYS),
    ];
    for (what, number, arguments, errno) in refused {
        assert_eq!(call(number, arguments), Some(errno), "{what}");
    }
    // A signal of none to itself: the call is there. So are flags, and cores, of its own.
    assert_eq!(call(libc::SYS_tgkill, [own, own, 0, 0, 0]), None);
    let flags = i64::from(libc::O_NONBLOCK);
    assert_eq!(call(libc::SYS_fcntl, [0, 4, flags, 0, 0]), None);
    assert_eq!(call(libc::SYS_sched_setaffinity, [0, 0, 0, 0, 0]), Some(Errno::EINVAL));
}

pub(super) fn limits(_: &Inside) {
    for resource in [Resource::RLIMIT_CORE, Resource::RLIMIT_NOFILE, Resource::RLIMIT_CPU] {
        let (_, hard) = nix::sys::resource::getrlimit(resource).unwrap();
        refused("a higher limit", setrlimit(resource, hard + 1, hard + 1).map_err(Into::into));
    }
    let (core, _) = nix::sys::resource::getrlimit(Resource::RLIMIT_CORE).unwrap();
    assert_eq!(core, 0);
}

/// Elements that open files, sockets, cameras, or plug others on their own.
const NOT_MADE: &str = "\
    filesrc filesink fdsrc fdsink giosrc giosink souphttpsrc rtspsrc tcpclientsrc \
    tcpserversink udpsrc udpsink shmsink unixfdsrc curlhttpsink rtmpsink srtsrc webrtcbin \
    multifilesrc multifilesink splitmuxsink playbin uridecodebin decodebin v4l2src alsasrc \
    pulsesrc ximagesrc dvdreadsrc avdemux_hls avmux_mp4 subparse hlsdemux dashdemux";
/// What a transcoder works with.
const MADE: &str = "\
    matroskademux qtdemux oggdemux tsdemux flvdemux avidemux asfdemux mpegpsdemux wavparse \
    mpegaudioparse aacparse h264parse h265parse vp9parse av1parse avdec_h264 avdec_h265 \
    avdec_vp9 vp8dec av1dec avdec_aac opusdec vorbisdec flacdec jpegdec x264enc openh264enc \
    voaacenc avenc_aac videoconvert videoscale videocrop videoflip compositor deinterlace \
    audioconvert audioresample capssetter queue tee appsrc appsink fakesink identity \
    capsfilter";

pub(super) fn plugins(_: &Inside) {
    let loaded = start_gstreamer().unwrap();
    assert!(loaded.taken_out > 50 && loaded.kept > 20, "{loaded:?}");
    let make = |name: &str| gst::ElementFactory::make(name).build();
    for name in NOT_MADE.split_whitespace() {
        assert!(make(name).is_err(), "{name} can be made");
    }
    for name in MADE.split_whitespace() {
        assert!(make(name).is_ok(), "{name} cannot be made");
    }
    // Now that their plugins are loaded.
    for name in NOT_MADE.split_whitespace() {
        assert!(make(name).is_err(), "{name} can be made after all");
    }
    for line in ["filesrc location=/etc/passwd ! fakesink", "fakesrc ! filesink location=/tmp/x"] {
        assert!(gst::parse::launch(line).is_err(), "{line}");
    }
    // Those without devices on this machine have no elements, but their plugins are there.
    for name in ["va", "nvcodec", "v4l2codecs", "video4linux2", "qsv"] {
        assert!(gst::Registry::get().find_plugin(name).is_some(), "the plugin {name} is gone");
    }
}

pub(super) fn streaming_threads(it: &Inside) {
    start_gstreamer().unwrap();
    let neighbour = it.folder.parent().unwrap().join("neighbour");
    let pipeline =
        gst::parse::launch("fakesrc num-buffers=3 ! queue ! fakesink name=sink").unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let pad = pipeline.by_name("sink").unwrap().static_pad("sink").unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let opened = File::open(&neighbour);
        let connected = TcpStream::connect("127.0.0.1:1");
        tell.send((std::thread::current().id(), opened, connected)).unwrap();
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    let (thread, opened, connected) =
        told.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    assert_ne!(thread, std::thread::current().id());
    refused("a file, from a thread of GStreamer", opened);
    refused("a socket, from a thread of GStreamer", connected);
    pipeline.set_state(gst::State::Null).unwrap();
}
