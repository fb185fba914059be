//! Which system calls exist for this process: seccomp.
//!
//! Two filters, of which the stricter wins for each call. The first is the list of what is
//! allowed; to whatever is not on it the answer is `ENOSYS`, as if the kernel were older, so that
//! glib and glibc fall back on what is allowed where they try something newer. That is how
//! `clone3`, whose flags lie in memory where no filter sees them, becomes `clone`, whose flags are
//! looked at. The second is the list of what is refused (`EPERM`) whatever somebody adds to the
//! first.
//!
//! Nothing kills: a library that only tries is not a job lost.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op,
    SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls that are allowed whatever their arguments, each group with its reason.
const ALLOWED: &[(&str, &[i64])] = &[
    (
        "the recording, the outputs, plugins: read, write, look at, make durable. Opening is \
         below; what can be opened is landlock's matter",
        &[
            libc::SYS_read,
            libc::SYS_readv,
            libc::SYS_pread64,
            libc::SYS_preadv,
            libc::SYS_write,
            libc::SYS_writev,
            libc::SYS_pwrite64,
            libc::SYS_pwritev,
            libc::SYS_lseek,
            libc::SYS_close,
            libc::SYS_fstat,
            libc::SYS_statx,
            libc::SYS_statfs,
            libc::SYS_fstatfs,
            libc::SYS_faccessat,
            libc::SYS_faccessat2,
            libc::SYS_readlinkat,
            libc::SYS_getdents64,
            libc::SYS_getcwd,
            libc::SYS_dup,
            libc::SYS_dup3,
            libc::SYS_ftruncate,
            libc::SYS_fallocate,
            libc::SYS_fadvise64,
            libc::SYS_fsync,
            libc::SYS_fdatasync,
        ],
    ),
    (
        "memory. Executable too: plugins are loaded late, and orc writes machine code for scaling \
         and conversion",
        &[
            libc::SYS_brk,
            libc::SYS_mmap,
            libc::SYS_munmap,
            libc::SYS_mprotect,
            libc::SYS_mremap,
            libc::SYS_madvise,
            libc::SYS_mincore,
            libc::SYS_mlock,
            libc::SYS_munlock,
            libc::SYS_membarrier,
        ],
    ),
    (
        "threads of this process: locks, ends. Starting one is `clone`, below. Without \
         `sched_getattr` glib does not try to set its pools' threads by `sched_setattr`, which \
         names any process",
        &[
            libc::SYS_futex,
            libc::SYS_set_robust_list,
            libc::SYS_rseq,
            libc::SYS_gettid,
            libc::SYS_getpid,
            libc::SYS_getppid,
            libc::SYS_sched_yield,
            libc::SYS_sched_getaffinity,
            libc::SYS_sched_getparam,
            libc::SYS_sched_getscheduler,
            libc::SYS_sched_get_priority_max,
            libc::SYS_sched_get_priority_min,
            libc::SYS_getpriority,
            libc::SYS_getcpu,
            libc::SYS_set_tid_address,
            libc::SYS_exit,
            libc::SYS_exit_group,
        ],
    ),
    (
        "time: reading it and waiting",
        &[
            libc::SYS_clock_gettime,
            libc::SYS_clock_getres,
            libc::SYS_clock_nanosleep,
            libc::SYS_nanosleep,
            libc::SYS_gettimeofday,
            libc::SYS_getrusage,
            libc::SYS_restart_syscall,
        ],
    ),
    (
        "waiting for each other: what glib's and GStreamer's main loops are made of",
        &[
            libc::SYS_ppoll,
            libc::SYS_pselect6,
            libc::SYS_epoll_create1,
            libc::SYS_epoll_ctl,
            libc::SYS_epoll_pwait,
            libc::SYS_eventfd2,
            libc::SYS_pipe2,
        ],
    ),
    (
        "signals to itself: handlers, masks, stacks. Sending one is `tgkill`, below",
        &[
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
            libc::SYS_sigaltstack,
        ],
    ),
    (
        "what machine and user this is",
        &[
            libc::SYS_uname,
            libc::SYS_sysinfo,
            libc::SYS_getrandom,
            libc::SYS_getuid,
            libc::SYS_geteuid,
            libc::SYS_getgid,
            libc::SYS_getegid,
        ],
    ),
    ("memory shared with drivers; it cannot be executed as a program", &[libc::SYS_memfd_create]),
    (
        "the second filter is installed under the first; it refuses any further one",
        &[libc::SYS_seccomp],
    ),
];

/// The same on processors whose kernels still have the calls of old.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_dup2,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_pipe,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[libc::SYS_newfstatat];

/// Calls that are refused whatever the list above says.
const REFUSED: &[(&str, &[i64])] = &[
    (
        "other programs and processes",
        &[
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_process_madvise,
            libc::SYS_kcmp,
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_rt_tgsigqueueinfo,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_getfd,
            libc::SYS_pidfd_send_signal,
        ],
    ),
    (
        "sockets that lead anywhere; the one to the service is open already",
        &[
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_accept,
            libc::SYS_accept4,
            libc::SYS_sendmsg,
            libc::SYS_sendmmsg,
        ],
    ),
    (
        "file systems and namespaces",
        &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_mount_setattr,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_unshare,
            libc::SYS_setns,
        ],
    ),
    (
        "ways around the names of files",
        &[
            libc::SYS_name_to_handle_at,
            libc::SYS_open_by_handle_at,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
        ],
    ),
    (
        "names of files: this process makes its outputs and nothing else",
        &[
            libc::SYS_unlinkat,
            libc::SYS_renameat2,
            libc::SYS_linkat,
            libc::SYS_symlinkat,
            libc::SYS_mkdirat,
            libc::SYS_mknodat,
            libc::SYS_fchmod,
            libc::SYS_fchmodat,
            libc::SYS_fchown,
            libc::SYS_fchownat,
            libc::SYS_truncate,
            libc::SYS_setxattr,
            libc::SYS_fsetxattr,
        ],
    ),
    (
        "keys, privileges, users",
        &[
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_capset,
            libc::SYS_setuid,
            libc::SYS_setgid,
            libc::SYS_setresuid,
            libc::SYS_setresgid,
            libc::SYS_setgroups,
            libc::SYS_personality,
        ],
    ),
    (
        "the kernel itself, and parts of it that are often broken into",
        &[
            libc::SYS_bpf,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_seccomp,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_kexec_load,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_quotactl,
            libc::SYS_vhangup,
        ],
    ),
];

/// Processes of old, which are not `clone`.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[i64] = &[libc::SYS_fork, libc::SYS_vfork, libc::SYS_iopl, libc::SYS_ioperm];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[i64] = &[];

/// Commands to devices and descriptors that are refused: typing into a terminal, and the other
/// forms of `F_SETOWN` and `O_ASYNC`, by which a descriptor sends signals to another process.
/// Linux has them under these numbers on every processor that this program is built for.
const REFUSED_COMMANDS: &[i64] = &[
    libc::TIOCSTI as i64,
    libc::TIOCLINUX as i64,
    0x5452, // FIOASYNC
    0x8901, // FIOSETOWN
    0x8902, // SIOCSPGRP
];

/// Installs both filters. An error where the kernel has none, or the processor is not known.
pub(super) fn confine() -> Result<(), Error> {
    let arch = std::env::consts::ARCH.try_into()?;
    let first: BpfProgram = SeccompFilter::new(
        allowed()?,
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
        arch,
    )?
    .try_into()?;
    let second: BpfProgram = SeccompFilter::new(
        refused(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        arch,
    )?
    .try_into()?;
    apply_filter(&first)?;
    apply_filter(&second)
}

fn refused() -> Rules {
    let lists = REFUSED.iter().flat_map(|(_, calls)| *calls).chain(REFUSED_HERE);
    lists.map(|&call| (call, Vec::new())).collect()
}

fn allowed() -> Result<Rules, Error> {
    let lists = ALLOWED.iter().flat_map(|(_, calls)| *calls).chain(ALLOWED_HERE);
    let mut rules: Rules = lists.map(|&call| (call, Vec::new())).collect();
    rules.extend(checked()?);
    Ok(rules)
}

/// A condition on an argument of 32 bits.
fn word(argument: u8, op: Op, value: i64) -> Result<SeccompCondition, Error> {
    Ok(SeccompCondition::new(argument, Len::Dword, op, value as u64 & 0xffff_ffff)?)
}

/// One rule for each of the values that an argument may have.
fn one_of(argument: u8, values: &[i64]) -> Result<Vec<SeccompRule>, Error> {
    values.iter().map(|&v| Ok(SeccompRule::new(vec![word(argument, Op::Eq, v)?])?)).collect()
}

/// Calls that are allowed with some arguments only.
fn checked() -> Result<Rules, Error> {
    let own = i64::from(std::process::id());
    // A thread shares everything and lives in the namespaces of the others.
    let spaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWCGROUP;
    let thread = i64::from(libc::CLONE_THREAD);
    let mask = (i64::from(spaces) | thread) as u64;
    let clone = vec![SeccompRule::new(vec![word(0, Op::MaskedEq(mask), thread)?])?];
    // The job's socket, and no address beside it.
    let no_address = SeccompCondition::new(4, Len::Qword, Op::Eq, 0)?;
    let send = vec![SeccompRule::new(vec![word(0, Op::Eq, 0)?, no_address])?];
    // GStreamer wakes its own threads through a pair of sockets that know only each other.
    let pair = one_of(0, &[i64::from(libc::AF_UNIX)])?;
    // Descriptors' flags and copies. Not F_SETOWN, F_SETSIG, O_ASYNC: signals to others.
    let mut fcntl = one_of(
        1,
        &[
            i64::from(libc::F_DUPFD),
            i64::from(libc::F_DUPFD_CLOEXEC),
            i64::from(libc::F_GETFD),
            i64::from(libc::F_SETFD),
            i64::from(libc::F_GETFL),
            i64::from(libc::F_ADD_SEALS),
            i64::from(libc::F_GET_SEALS),
        ],
    )?;
    let quiet = word(2, Op::MaskedEq(libc::O_ASYNC as u64), 0)?;
    fcntl.push(SeccompRule::new(vec![word(1, Op::Eq, i64::from(libc::F_SETFL))?, quiet])?);
    // Names of threads and of memory, and the first step of installing the second filter.
    let prctl = one_of(
        0,
        &[
            i64::from(libc::PR_SET_NAME),
            i64::from(libc::PR_GET_NAME),
            i64::from(libc::PR_SET_TIMERSLACK),
            i64::from(libc::PR_SET_VMA),
            i64::from(libc::PR_SET_NO_NEW_PRIVS),
        ],
    )?;
    // Commands to codecs' devices, of which there are hundreds; none of those below.
    let ioctl: Result<Vec<_>, Error> =
        REFUSED_COMMANDS.iter().map(|&c| word(1, Op::Ne, c)).collect();
    // Limits of this process, which can only be lowered: its capabilities are gone.
    let limits = one_of(0, &[0, own])?;
    let to_itself = one_of(0, &[own])?;
    // Its own thread; not that of another process.
    let affinity = one_of(0, &[0])?;
    let mut rules = BTreeMap::from([
        (libc::SYS_clone, clone),
        (libc::SYS_sendto, send),
        (libc::SYS_socketpair, pair),
        (libc::SYS_fcntl, fcntl),
        (libc::SYS_prctl, prctl),
        (libc::SYS_ioctl, vec![SeccompRule::new(ioctl?)?]),
        (libc::SYS_prlimit64, limits),
        (libc::SYS_tgkill, to_itself),
        (libc::SYS_sched_setaffinity, affinity),
        (libc::SYS_openat, opening(2)?),
    ]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, opening(1)?);
    Ok(rules)
}

/// Opening, with its flags in this argument. Landlock before version 3 takes no notice of a file
/// that is emptied by opening it to read, so emptying is for those who open to write, which
/// every version notices.
fn opening(flags: u8) -> Result<Vec<SeccompRule>, Error> {
    let masked = |mask: i32, value: i32| word(flags, Op::MaskedEq(mask as u64), value.into());
    let cases = [
        masked(libc::O_TRUNC, 0)?,
        masked(libc::O_ACCMODE, libc::O_WRONLY)?,
        masked(libc::O_ACCMODE, libc::O_RDWR)?,
    ];
    cases.into_iter().map(|case| Ok(SeccompRule::new(vec![case])?)).collect()
}
