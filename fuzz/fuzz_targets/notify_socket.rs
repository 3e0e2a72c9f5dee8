//! NOTIFY_SOCKET: a path or an abstract name is taken as it is, a vsock address round-trips, and
//! each of them and each error can be shown.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use socket_activate_echo::address::UnixName;
use socket_activate_echo::notify::NotifySocket;
use socket_activate_echo_fuzz::check_shown;

/// The name of a unix socket, or what stands for it: `sun_path` of unix(7) less one byte.
const NAME_MAX: usize = 107;

fuzz_target!(|value: &[u8]| {
    let parsed = NotifySocket::parse(OsStr::from_bytes(value));
    let is_unix = match value {
        [b'/', rest @ ..] => rest.len() < NAME_MAX,
        [b'@', rest @ ..] => (1..=NAME_MAX).contains(&rest.len()),
        _ => false,
    };
    assert_eq!(matches!(parsed, Ok(NotifySocket::Unix(_))), is_unix);
    match parsed {
        Ok(socket) => {
            let shown = socket.to_string();
            check_shown(&shown);
            match &socket {
                NotifySocket::Unix(UnixName::Path(path)) => {
                    assert_eq!(path.as_os_str().as_bytes(), value);
                }
                NotifySocket::Unix(UnixName::Abstract(name)) => assert_eq!(*name, value[1..]),
                NotifySocket::Vsock(_) => {
                    assert_eq!(NotifySocket::parse(OsStr::new(&shown)).as_ref(), Ok(&socket));
                }
            }
        }
        Err(error) => {
            assert!(error.to_string().starts_with("NOTIFY_SOCKET="));
            check_shown(&error.to_string());
        }
    }
});
