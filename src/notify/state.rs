//! The assignments of sd_notify(3), each with its type.

use std::fmt::{self, Write};
use std::time::Duration;

/// The longest text of a [`State::Status`] in bytes. The manager drops a message of more than 4096
/// bytes as a whole, so a longer status is cut.
const STATUS_MAX: usize = 2048;

/// One assignment of a message to the service manager.
///
/// Text from a peer cannot add another assignment: control characters, the newline included, become
/// spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<'a> {
    /// `READY=1`: start-up, or a reload, is complete.
    Ready,
    /// `RELOADING=1` with `MONOTONIC_USEC=`, which `Type=notify-reload` needs; see
    /// [`State::reloading_now`].
    Reloading {
        /// The time on `CLOCK_MONOTONIC` at which the reload began.
        monotonic: Duration,
    },
    /// `STOPPING=1`: shutdown has begun; final from systemd 259 on.
    Stopping,
    /// `STATUS=`: one line for people, shown by `systemctl status`.
    Status(&'a str),
    /// `ERRNO=`: the errno of what failed.
    Errno(i32),
    /// `BUSERROR=`: the D-Bus error name of what failed.
    BusError(&'a str),
    /// `EXIT_STATUS=`: the exit status that the service, or the VM around it, ends with.
    ExitStatus(u8),
    /// `MAINPID=`: the main process of the service, where the manager cannot know it.
    MainPid(u32),
    /// `WATCHDOG=1`: we are alive; see [`super::Watchdog`].
    Watchdog,
    /// `WATCHDOG=trigger`: act as if the watchdog timeout had passed.
    WatchdogTrigger,
    /// `WATCHDOG_USEC=`: another watchdog timeout from now on.
    WatchdogTimeout(Duration),
    /// `EXTEND_TIMEOUT_USEC=`: extend the start, runtime or shutdown timeout to this long from now.
    ExtendTimeout(Duration),
    /// `FDSTORE=1`: keep the descriptors of this message; see [`super::Notifier::store_fds`].
    FdStore,
    /// `FDSTOREREMOVE=1`: close the stored descriptors of the [`State::FdName`] in the same
    /// message.
    FdStoreRemove,
    /// `FDNAME=`: the name of stored descriptors.
    FdName(&'a FdName),
    /// `FDPOLL=0`: keep stored descriptors even after they hang up.
    FdPollOff,
    /// `BARRIER=1`: close the one descriptor of this message after all earlier messages; see
    /// [`super::Notifier::barrier`].
    Barrier,
}

impl State<'_> {
    /// [`State::Reloading`] with the present time.
    pub fn reloading_now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
        Self::Reloading { monotonic: Duration::new(seconds, nanos) }
    }
}

impl fmt::Display for State<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("READY=1"),
            Self::Reloading { monotonic } => {
                write!(f, "RELOADING=1\nMONOTONIC_USEC={}", monotonic.as_micros())
            }
            Self::Stopping => f.write_str("STOPPING=1"),
            Self::Status(text) => one_line("STATUS=", text, f),
            Self::Errno(errno) => write!(f, "ERRNO={errno}"),
            Self::BusError(name) => one_line("BUSERROR=", name, f),
            Self::ExitStatus(status) => write!(f, "EXIT_STATUS={status}"),
            Self::MainPid(pid) => write!(f, "MAINPID={pid}"),
            Self::Watchdog => f.write_str("WATCHDOG=1"),
            Self::WatchdogTrigger => f.write_str("WATCHDOG=trigger"),
            Self::WatchdogTimeout(timeout) => write!(f, "WATCHDOG_USEC={}", timeout.as_micros()),
            Self::ExtendTimeout(timeout) => {
                write!(f, "EXTEND_TIMEOUT_USEC={}", timeout.as_micros())
            }
            Self::FdStore => f.write_str("FDSTORE=1"),
            Self::FdStoreRemove => f.write_str("FDSTOREREMOVE=1"),
            Self::FdName(name) => write!(f, "FDNAME={name}"),
            Self::FdPollOff => f.write_str("FDPOLL=0"),
            Self::Barrier => f.write_str("BARRIER=1"),
        }
    }
}

fn one_line(key: &str, text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(key)?;
    let mut end = text.len().min(STATUS_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().try_for_each(|c| f.write_char(if c.is_control() { ' ' } else { c }))
}

/// A name of stored descriptors, as `FileDescriptorName=` of systemd.socket(5) restricts it.
///
/// The manager ignores an invalid name without an error, and calls the descriptors `stored`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdName(String);

impl FdName {
    /// The length of the longest name in bytes.
    pub const LEN_MAX: usize = 255;

    /// Checks the name: 1 to 255 printable ASCII characters, without a colon. `None` if it is
    /// invalid.
    pub fn new(name: &str) -> Option<Self> {
        let valid = (1..=Self::LEN_MAX).contains(&name.len())
            && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b':');
        valid.then(|| Self(name.to_owned()))
    }
}

impl fmt::Display for FdName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_assignment_is_what_the_manual_says() {
        let name = FdName::new("a.b c").expect("valid");
        for (state, text) in [
            (State::Ready, "READY=1"),
            (
                State::Reloading { monotonic: Duration::from_micros(7) },
                "RELOADING=1\nMONOTONIC_USEC=7",
            ),
            (State::Stopping, "STOPPING=1"),
            (State::Status("fine: ünï"), "STATUS=fine: ünï"),
            (State::Errno(2), "ERRNO=2"),
            (State::BusError("org.x.E"), "BUSERROR=org.x.E"),
            (State::ExitStatus(3), "EXIT_STATUS=3"),
            (State::MainPid(7), "MAINPID=7"),
            (State::Watchdog, "WATCHDOG=1"),
            (State::WatchdogTrigger, "WATCHDOG=trigger"),
            (State::WatchdogTimeout(Duration::from_secs(2)), "WATCHDOG_USEC=2000000"),
            (State::ExtendTimeout(Duration::from_secs(1)), "EXTEND_TIMEOUT_USEC=1000000"),
            (State::FdStore, "FDSTORE=1"),
            (State::FdStoreRemove, "FDSTOREREMOVE=1"),
            (State::FdName(&name), "FDNAME=a.b c"),
            (State::FdPollOff, "FDPOLL=0"),
            (State::Barrier, "BARRIER=1"),
        ] {
            assert_eq!(state.to_string(), text);
        }
    }

    #[test]
    fn a_reload_has_the_monotonic_time() {
        let State::Reloading { monotonic: first } = State::reloading_now() else { unreachable!() };
        let State::Reloading { monotonic: second } = State::reloading_now() else { unreachable!() };
        assert!(first > Duration::ZERO && second >= first);
    }

    #[test]
    fn names_of_stored_descriptors() {
        let longest = "x".repeat(FdName::LEN_MAX);
        for name in ["a", "echo.socket", "a b", longest.as_str()] {
            assert!(FdName::new(name).is_some(), "{name}");
        }
        let too_long = "x".repeat(FdName::LEN_MAX + 1);
        for name in ["", "a:b", "a\nb", "ü", "\u{7f}", too_long.as_str()] {
            assert!(FdName::new(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn a_long_status_is_cut_between_characters() {
        for start in ["", "x"] {
            let text = State::Status(&(start.to_owned() + &"ü".repeat(STATUS_MAX))).to_string();
            assert_eq!(text.len(), "STATUS=".len() + STATUS_MAX - start.len());
            assert!(text.ends_with('ü'));
        }
    }

    proptest! {
        #[test]
        fn no_text_adds_an_assignment(text in ".{0,60}|(READY=1|\n|\r|\0){0,9}") {
            prop_assert_eq!(State::Status(&text).to_string().lines().count(), 1);
            prop_assert!(!State::BusError(&text).to_string().contains(char::is_control));
        }
    }
}
