//! An activator: binds sockets, explains why one cannot be bound, and starts a program with them as
//! sd_listen_fds(3) or inetd define it. The verb `activate` uses it.
//!
//! The test of a daemon can use it to start the daemon as a service manager does. Clients can
//! connect before the daemon runs, so the test waits for nothing:
//!
//! ```
//! # use socket_activate_echo::activator::{Bound, Target};
//! # use std::{net::TcpStream, process::Stdio};
//! let listener = Bound::new(&"tcp:127.0.0.1:0".parse()?, 16, "web")?;
//! let address = listener.address().expect("it is bound").to_string();
//! let client = TcpStream::connect(address.trim_start_matches("tcp:"))?;
//!
//! let daemon = Target::find(&["sh", "-c", "echo $LISTEN_FDNAMES $((LISTEN_PID == $$))"], vec![])?;
//! let daemon = daemon.spawn(&[listener], |command| {
//!     command.stdout(Stdio::piped());
//! })?;
//! assert_eq!(daemon.wait_with_output()?.stdout, b"web 1\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[expect(clippy::disallowed_methods, reason = "an activator binds sockets")]
mod bind;
mod explain;
#[expect(clippy::disallowed_types, reason = "it puts descriptors where the protocol wants them")]
mod hand_over;
#[expect(clippy::disallowed_methods, reason = "a program is looked for in PATH")]
mod target;
mod unix_file;

pub use bind::{Bound, bind};
pub use target::{HandOver, Target};
