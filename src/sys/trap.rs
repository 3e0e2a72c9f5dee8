//! What a forbidden system call leads to, and what the kernel has to forbid one.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use super::checked;

/// What the line about a forbidden system call begins with; nothing is written while it is not set.
static PREFIX: OnceLock<&'static str> = OnceLock::new();

/// `SYS_SECCOMP` of sigaction(2): a filter has stopped a system call.
const SYS_SECCOMP: libc::c_int = 1;

const WHAT: &str = "the sandbox stopped this process at the forbidden system call ";
const WHERE: &str = ", architecture 0x";
const THEN: &str = "; report this line with the output of `inspect`, at \
                    https://github.com/eriksjolund/socket-activate-echo/issues; until then use \
                    --sandbox off\n";

/// Makes `SIGSYS` write a line to standard error, and then end the process.
pub(crate) fn report(prefix: &'static str) -> io::Result<()> {
    let _ = PREFIX.set(prefix);
    die_silently()
}

/// Makes `SIGSYS` end the process, and `SIGSEGV` and `SIGBUS` end it as they do by default: the
/// handlers of Rust's runtime, which tell a stack overflow, make system calls that are forbidden.
pub(crate) fn die_silently() -> io::Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all fields are integers or an optional function, for which zero is valid.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = on_sigsys as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the action is initialised, with a handler of the type that its flags ask for; no old
    // action is asked for.
    checked(unsafe { libc::sigaction(libc::SIGSYS, action, ptr::null_mut()) })?;
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: `SIG_DFL` installs no handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    Ok(())
}

/// The handler: it only uses what is async-signal-safe (signal-safety(7)). The kernel has not made
/// the system call.
extern "C" fn on_sigsys(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a pointer to the information, because the flags ask for it.
    let code = unsafe { (*info).si_code };
    if let (SYS_SECCOMP, Some(prefix)) = (code, PREFIX.get()) {
        let mut line = Line { bytes: [0; 320], len: 0 };
        line.push(prefix.as_bytes());
        line.push(WHAT.as_bytes());
        line.push_number(field(info, CALL), 10);
        line.push(WHERE.as_bytes());
        line.push_number(field(info, ARCHITECTURE), 16);
        line.push(THEN.as_bytes());
        // SAFETY: the pointer and the length are those of the line, which lives through the call.
        unsafe { libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.len) };
    }
    // The signal is blocked in its handler. If a filter stops this call too, the kernel ends the
    // process with SIGSYS.
    // SAFETY: the call has no arguments and no effect.
    unsafe { libc::syscall(libc::SYS_getppid) };
    // SAFETY: it has no arguments. The signal came from elsewhere, and its default is to abort.
    unsafe { libc::abort() };
}

/// The words of `siginfo_t` that sigaction(2) calls `si_syscall` and `si_arch`: behind three ints,
/// padding up to a pointer, and `si_call_addr`.
const CALL: usize = (3 * size_of::<libc::c_int>()).next_multiple_of(size_of::<usize>()) / 4
    + size_of::<usize>() / 4;
const ARCHITECTURE: usize = CALL + 1;

fn field(info: *mut libc::siginfo_t, index: usize) -> u32 {
    // SAFETY: the structure has 128 bytes, and the index is one of the two above.
    let word = unsafe { info.cast::<u32>().add(index) };
    // SAFETY: the kernel has written the whole structure, which is aligned for an int.
    unsafe { word.read() }
}

/// A line in memory that is there: a handler must not allocate.
struct Line {
    bytes: [u8; 320],
    len: usize,
}

impl Line {
    fn push(&mut self, text: &[u8]) {
        for byte in text {
            if let Some(room) = self.bytes.get_mut(self.len) {
                *room = *byte;
                self.len += 1;
            }
        }
    }

    fn push_number(&mut self, mut number: u32, base: u32) {
        let (mut digits, mut first) = ([0; 10], 10);
        loop {
            first -= 1;
            digits[first] = b"0123456789abcdef"[(number % base) as usize];
            number /= base;
            if number == 0 {
                return self.push(&digits[first..]);
            }
        }
    }
}

/// Whether this thread has no_new_privs, which it can then also set.
pub(crate) fn no_new_privileges() -> io::Result<bool> {
    // SAFETY: it takes no pointers.
    let is_set = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) };
    checked(is_set).map(|is_set| is_set == 1)
}

/// The version of the kernel's Landlock: landlock_create_ruleset(2).
pub(crate) fn landlock_abi() -> io::Result<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION` of linux/landlock.h.
    const VERSION: libc::c_uint = 1;
    // SAFETY: a null pointer and its size of 0 ask for the version.
    let abi = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u8>(), 0_usize, VERSION)
    };
    checked(abi).map(|abi| abi as u32)
}

/// Whether the kernel's filters can stop a system call with `SIGSYS`: seccomp(2).
pub(crate) fn can_trap() -> bool {
    let action = libc::SECCOMP_RET_TRAP;
    // SAFETY: the action is a word that lives through the call, which reads it.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
    };
    result == 0
}
