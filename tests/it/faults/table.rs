//! The table: each system call of the serving state, and each errno with which it can fail in a
//! running server. docs/faults.md is generated from it.

mod connections;
mod datagrams;
mod others;
mod words;

/// Whom a fault may cost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody: what could not be done is done later, or in another way.
    Nobody,
    /// The peer, or the datagram, that it happens to.
    OnePeer,
    /// The peers of one inherited socket, which cannot be used any more.
    OneSocket,
    /// Nobody, and it is not injected, because it would be a lie: the kernel says so only of a
    /// socket for which an event comes later. It comes by itself.
    ComesByItself,
}

/// An error with which a call can fail.
pub(super) struct Fault {
    pub(super) errno: &'static str,
    pub(super) kind: Kind,
    /// What it means where this call is made.
    pub(super) meaning: &'static str,
    /// What the server does, if it is not what it does with all of this kind.
    pub(super) answer: &'static str,
}

/// A system call.
pub(super) struct Call {
    pub(super) name: &'static str,
    /// What the kernel calls it: this differs between processors and C libraries.
    pub(super) variants: &'static [&'static str],
    /// What the server uses it for.
    pub(super) purpose: &'static str,
    /// What the server does about a fault that costs nobody anything, and about one of a peer.
    pub(super) for_nobody: &'static str,
    pub(super) for_one_peer: &'static str,
    pub(super) lasts: Lasts,
    /// Whether the call is made only with `--debug`.
    pub(super) needs_debug: bool,
    pub(super) faults: &'static [Fault],
}

/// What most calls are.
const PLAIN: Call = Call {
    name: "",
    variants: &[],
    purpose: "",
    for_nobody: "",
    for_one_peer: "",
    lasts: Lasts::Never,
    needs_debug: false,
    faults: &[],
};

/// Which faults of a call are also injected into every call for a while: shortages pass, but not
/// at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasts {
    Never,
    /// Those that cost nobody anything.
    Shortages,
    /// Each, because the event that leads to the call stays: the server must not spin.
    Each,
}

impl Fault {
    pub(super) fn is_injected(&self) -> bool {
        self.kind != Kind::ComesByItself
    }
}

impl Call {
    /// The names for strace(1), as a regular expression: it refuses a name that this processor
    /// does not have, but not an expression that matches others besides.
    pub(super) fn expression(&self) -> String {
        match self.variants {
            [] => self.name.to_owned(),
            variants => format!("/^({})$", variants.join("|")),
        }
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.variants.contains(&name)
    }

    pub(super) fn lasts(&self, fault: &Fault) -> bool {
        let passes_at_once = matches!(fault.errno, "EINTR" | "EAGAIN");
        match (self.lasts, fault.kind) {
            _ if passes_at_once => false,
            (Lasts::Never, _) | (_, Kind::OneSocket | Kind::ComesByItself) => false,
            (Lasts::Shortages, kind) => kind == Kind::Nobody,
            (Lasts::Each, _) => true,
        }
    }

    pub(super) fn answer(&self, fault: &Fault) -> &'static str {
        match fault.kind {
            _ if !fault.answer.is_empty() => fault.answer,
            Kind::OnePeer => self.for_one_peer,
            _ => self.for_nobody,
        }
    }
}

/// Every call of the serving state that can fail.
pub(super) fn calls() -> impl Iterator<Item = &'static Call> {
    [connections::CALLS, datagrams::CALLS, others::CALLS].into_iter().flatten()
}

/// Calls of the serving state that have no rows, and why.
pub(super) const WITHOUT_ROWS: &[(&str, &[&str], &str)] = &[
    ("sched_yield", &["sched_yield"], "it cannot fail on Linux (sched_yield(2))"),
    (
        "getrusage",
        &["getrusage"],
        "it fails only if a seccomp filter refuses it; then `--busy-poll auto` acts as if another \
         thread needed the processor",
    ),
    (
        "openat, read",
        &["open", "openat", "read"],
        "with `--sandbox off` and while it polls, the server sometimes reads the CPU quota; a quota \
            that cannot be read does not limit it",
    ),
    (
        "brk, mmap, munmap, mremap, madvise",
        &["brk", "mmap", "mmap2", "munmap", "mremap", "madvise"],
        "limits bound the memory, and in the steady state none is allocated; a program whose \
            small allocations fail cannot go on",
    ),
    (
        "clock_gettime, restart_syscall",
        &["clock_gettime", "clock_gettime64", "restart_syscall"],
        "`clock_gettime` cannot fail here; the kernel itself makes `restart_syscall` after a \
            signal",
    ),
];
