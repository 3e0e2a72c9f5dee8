//! The activation environment: nothing panics, and what is taken has as many names as descriptors.
//! The input is the values of LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PIDFDID, one a line;
//! a line that is not there is a variable that is not set.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use socket_activate_echo::activation::{Environment, Process};

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|&byte| byte == b'\n');
    let mut next = || lines.next().map(|line| OsStr::from_bytes(line).to_owned());
    let environment = Environment {
        listen_pid: next(),
        listen_fds: next(),
        listen_fdnames: next(),
        listen_pidfdid: next(),
    };
    let count = environment.listen_fds.as_ref().and_then(|value| value.to_str()?.parse().ok());
    match environment.handover(Process { pid: 7, pidfd_id: Some(70) }) {
        Ok(handover) => assert_eq!(Some(handover.names.len() as u64), count),
        Err(error) => assert!(!error.to_string().is_empty() && !error.remedy().is_empty()),
    }
});
