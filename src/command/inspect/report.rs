//! The results of `inspect`. The fields are those of its JSON document, see docs/inspect.md.

use serde::Serialize;

use crate::activation::Ancestor;

/// The version of the document. It changes when a field changes its meaning or is removed.
pub(super) const SCHEMA: u32 = 1;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema: u32,
    pub(super) serve: Serve,
    pub(super) fds: Vec<Inherited>,
    pub(super) open: Vec<Open>,
    pub(super) environment: Vec<Variable>,
    pub(super) activator: Activator,
    pub(super) confinement: Confinement,
    /// What `--notify` has sent; without the flag, it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) notify: Option<Vec<Sent>>,
}

/// A message to the service manager.
#[derive(Debug, Serialize)]
pub(super) struct Sent {
    pub(super) message: &'static str,
    /// Why it could not be sent. That it was sent does not mean that it has arrived.
    pub(super) error: Option<String>,
}

/// What `serve` would do.
#[derive(Debug, Serialize)]
pub(super) struct Serve {
    pub(super) exit_status: u8,
    pub(super) error: Option<String>,
}

/// A descriptor that was handed over.
#[derive(Debug, Serialize)]
pub(super) struct Inherited {
    pub(super) fd: i32,
    pub(super) name: String,
    pub(super) origin: &'static str,
    pub(super) what: String,
    pub(super) socket: Option<Socket>,
    pub(super) serve: bool,
    pub(super) service: Option<&'static str>,
    pub(super) refusal: Option<String>,
}

/// What the kernel reports about a socket.
#[derive(Debug, Serialize)]
pub(super) struct Socket {
    pub(super) family: String,
    pub(super) r#type: String,
    pub(super) protocol: Option<String>,
    pub(super) role: String,
    pub(super) local: Option<String>,
    pub(super) peer: Option<String>,
    pub(super) options: Options,
}

/// The relevant options; `None` if the socket does not have the option.
#[derive(Debug, Serialize)]
pub(super) struct Options {
    pub(super) v6only: Option<bool>,
    pub(super) reuseaddr: Option<bool>,
    pub(super) reuseport: Option<bool>,
    pub(super) passcred: Option<bool>,
    pub(super) pktinfo: Option<bool>,
    pub(super) nonblock: Option<bool>,
    pub(super) readable: Option<bool>,
    pub(super) waiting: Option<u32>,
    pub(super) backlog: Option<u32>,
    pub(super) rcvbuf: Option<usize>,
    pub(super) sndbuf: Option<usize>,
    pub(super) congestion: Option<String>,
    pub(super) cookie: Option<u64>,
    pub(super) mode: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// An open or announced descriptor number: expected against actual.
#[derive(Debug, Serialize)]
pub(super) struct Open {
    pub(super) fd: i32,
    #[serde(skip)]
    pub(super) is_open: bool,
    pub(super) announced: Option<String>,
    pub(super) what: String,
    pub(super) address: Option<String>,
    pub(super) target: Option<String>,
    pub(super) note: Option<&'static str>,
}

/// An environment variable of activation.
#[derive(Debug, Serialize)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) value: Option<String>,
    pub(super) ok: bool,
    pub(super) note: String,
}

/// What seems to have started this process.
#[derive(Debug, Serialize)]
pub(super) struct Activator {
    pub(super) guess: String,
    pub(super) cgroup: Option<String>,
    pub(super) ancestry: Vec<Ancestor>,
}

/// What may forbid an operation on a socket.
#[derive(Debug, Serialize)]
pub(super) struct Confinement {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) container: Option<String>,
    pub(super) security_label: Option<String>,
    pub(super) seccomp: Option<&'static str>,
    pub(super) no_new_privileges: Option<bool>,
    pub(super) capabilities: Option<String>,
    pub(super) sandbox: Sandbox,
}

/// What `serve` could give up.
#[derive(Debug, Serialize)]
pub(super) struct Sandbox {
    pub(super) no_new_privileges: bool,
    pub(super) landlock_abi: Option<u32>,
    pub(super) seccomp: bool,
}
