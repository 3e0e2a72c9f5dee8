//! The activation environment, compared with the rules of sd_listen_fds(3) written out once more.
//! The input is the values of LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PIDFDID, one a line;
//! a line that is not there is a variable that is not set.
#![no_main]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use socket_activate_echo::activation::{Environment, LISTEN_FDS_MAX, Process, UNKNOWN_NAME};
use socket_activate_echo_fuzz::check_shown;

const PID: u32 = 7;
const PIDFD_ID: u64 = 70;

/// The names that are handed over; `None` where nothing is, for whatever reason.
fn names(environment: &Environment, pidfd_id: Option<u64>) -> Option<Vec<String>> {
    let pid: u32 = number(environment.listen_pid.as_ref()?)?;
    let count: usize = number(environment.listen_fds.as_ref()?)?;
    if let Some(value) = &environment.listen_pidfdid {
        let id: u64 = number(value)?;
        if pidfd_id.is_some_and(|ours| ours != id) {
            return None;
        }
    }
    let names = match &environment.listen_fdnames {
        Some(value) => value.to_string_lossy().split(':').map(str::to_owned).collect(),
        None if count <= LISTEN_FDS_MAX => vec![UNKNOWN_NAME.to_owned(); count],
        None => return None,
    };
    (pid == PID && (1..=LISTEN_FDS_MAX).contains(&count) && names.len() == count).then_some(names)
}

fn number<T: FromStr>(value: &OsString) -> Option<T> {
    value.to_str()?.parse().ok()
}

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(4, |&byte| byte == b'\n');
    let mut next = || lines.next().map(|line| OsStr::from_bytes(line).to_owned());
    let environment = Environment {
        listen_pid: next(),
        listen_fds: next(),
        listen_fdnames: next(),
        listen_pidfdid: next(),
    };
    for pidfd_id in [Some(PIDFD_ID), None] {
        let handover = environment.handover(Process { pid: PID, pidfd_id });
        if let Err(error) = &handover {
            check_shown(&error.to_string());
            check_shown(error.remedy());
        }
        assert_eq!(handover.ok(), names(&environment, pidfd_id));
    }
});
