//! The demo set: the sockets of the unit `echo@demo.socket`, for `activate` without `-l` and for
//! `probe` without an address.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::{Address, Cid, Host, Inet, Style, UnixName};
use crate::error::{Error, ErrorKind, Result};

/// The port of the demo set, over IP and over vsock.
pub const DEMO_PORT: u16 = 3000;

/// The addresses to bind, each with its name for `LISTEN_FDNAMES`. The unix sockets are files in
/// `home`. A client connects to [`Address::to_client`] of each.
pub fn demo_set(home: &Path) -> Vec<(Address, &'static str)> {
    let v4 = |inet| Address::Inet(inet, Host::V4(Ipv4Addr::LOCALHOST), DEMO_PORT);
    let v6 = |inet| Address::Inet(inet, Host::V6(Ipv6Addr::LOCALHOST, None), DEMO_PORT);
    let unix = |style, name| Address::Unix(style, UnixName::Path(home.join(name)));
    vec![
        (v4(Inet::Tcp), "tcp4"),
        (v6(Inet::Tcp), "tcp6"),
        (v4(Inet::Udp), "udp4"),
        (v6(Inet::Udp), "udp6"),
        (unix(Style::Stream, "echo_stream_sock.demo"), "unix-stream"),
        (unix(Style::Datagram, "echo_datagram_sock.demo"), "unix-datagram"),
        (Address::Vsock(Style::Stream, Cid::ANY, DEMO_PORT.into()), "vsock"),
    ]
}

/// The directory of the unix sockets, from the value of `HOME`. It must be absolute, so that server
/// and client find the same sockets.
///
/// # Errors
///
/// [`ErrorKind::Usage`] if it is not set, empty or relative.
pub fn demo_home(home: Option<OsString>) -> Result<PathBuf> {
    let problem = match home {
        Some(home) if Path::new(&home).is_absolute() => return Ok(home.into()),
        Some(home) if !home.is_empty() => {
            format!("HOME={} is not an absolute path", home.to_string_lossy())
        }
        Some(_) => "HOME is empty".to_owned(),
        None => "HOME is not set".to_owned(),
    };
    let message = format!("{problem}, but the demo set has unix sockets in that directory");
    Err(Error::new(ErrorKind::Usage, message).remedy("set HOME, or give the addresses"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_set_is_the_originals() {
        let set = demo_set(Path::new("/home/demo"));
        let texts: Vec<_> = set.iter().map(|(address, _)| address.to_string()).collect();
        assert_eq!(
            texts,
            [
                "tcp:127.0.0.1:3000",
                "tcp:[::1]:3000",
                "udp:127.0.0.1:3000",
                "udp:[::1]:3000",
                "unix:/home/demo/echo_stream_sock.demo",
                "unix-dgram:/home/demo/echo_datagram_sock.demo",
                "vsock:any:3000",
            ]
        );
    }
}
