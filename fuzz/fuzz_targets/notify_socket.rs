//! NOTIFY_SOCKET: nothing panics, and a vsock address that is taken round-trips.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use socket_activate_echo::notify::NotifySocket;

fuzz_target!(|value: &[u8]| {
    match NotifySocket::parse(OsStr::from_bytes(value)) {
        Ok(socket @ NotifySocket::Vsock { .. }) => {
            let text = socket.to_string();
            assert_eq!(NotifySocket::parse(OsStr::new(&text)).as_ref(), Ok(&socket));
        }
        Ok(NotifySocket::Unix(_)) => {}
        Err(error) => assert!(error.to_string().starts_with("NOTIFY_SOCKET=")),
    }
});
