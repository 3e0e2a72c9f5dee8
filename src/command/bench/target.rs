//! The servers of a run, and connecting to them.

use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::time::Instant;

use socket2::{SockRef, Socket};

use super::settings::{Load, Settings};
use crate::address::{Address, Inet};
use crate::client;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::text::Escaped;

/// A server: its address, with the name that the tables use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The name before the `=`, or the address itself.
    pub(super) name: String,
    /// Where it listens.
    pub(super) address: Address,
}

impl Target {
    /// The targets of the command line: `ADDR` or `NAME=ADDR` each, with distinct names.
    pub(super) fn parse_all(texts: &[String]) -> Result<Vec<Self>> {
        let mut targets: Vec<Self> = Vec::with_capacity(texts.len());
        for text in texts {
            let target: Self = text.parse()?;
            if targets.iter().any(|other| other.name == target.name) {
                let message = format!("two servers have the name `{}`", target.name);
                return Err(Error::new(ErrorKind::Usage, message)
                    .remedy("write NAME=ADDR with a name of its own for each"));
            }
            targets.push(target);
        }
        Ok(targets)
    }

    /// Opens the connections, one after the other.
    pub(super) fn connect_all(&self, settings: &Settings) -> Result<Vec<OwnedFd>> {
        let deadline = Instant::now() + settings.timeout;
        (0..settings.connections).map(|_| self.connect(settings, deadline)).collect()
    }

    fn connect(&self, settings: &Settings, deadline: Instant) -> Result<OwnedFd> {
        let left = deadline.saturating_duration_since(Instant::now());
        let connection = client::connect(&self.address.to_client(), left)?;
        if settings.load != Load::Bulk {
            connection.reserve(settings.size)?;
        }
        let socket = connection.into_socket();
        if matches!(self.address, Address::Inet(Inet::Tcp | Inet::Mptcp, ..)) {
            // A small message has to leave at once: what is measured is the server, not Nagle's
            // algorithm in the client.
            socket.set_tcp_nodelay(true).context("set TCP_NODELAY")?;
            if let Some(name) = &settings.congestion {
                set_congestion(&socket, name)?;
            }
        }
        Ok(socket.into())
    }
}

fn set_congestion(socket: &Socket, name: &str) -> Result<()> {
    socket.set_tcp_congestion(name.as_bytes()).map_err(|error| {
        Error::new(ErrorKind::Usage, format!("set the congestion control {name}"))
            .because(error)
            .remedy("choose one of /proc/sys/net/ipv4/tcp_available_congestion_control")
    })
}

/// The congestion control of a TCP connection's own end.
pub(super) fn congestion(fd: &OwnedFd) -> Option<String> {
    let name = SockRef::from(fd).tcp_congestion().ok()?;
    let name: Vec<u8> = name.into_iter().take_while(|&byte| byte != 0).collect();
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // A path may have an equals sign too: a name never has a colon.
        let (name, address) = match text.split_once('=') {
            Some((name, address)) if !name.contains(':') => (name, address),
            _ => (text, text),
        };
        if name.is_empty() {
            return Err(Error::new(ErrorKind::Usage, format!("`{text}` has no name before the =")));
        }
        let address = address
            .parse()
            .map_err(|error| Error::new(ErrorKind::Usage, format!("server `{text}`: {error}")))?;
        Ok(Self { name: Escaped::new(name).to_string(), address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_stands_before_the_equals_sign() {
        for (text, name, address) in [
            ("tcp:127.0.0.1:1", "tcp:127.0.0.1:1", "tcp:127.0.0.1:1"),
            ("a=tcp:127.0.0.1:1", "a", "tcp:127.0.0.1:1"),
            ("unix:/x=y", "unix:/x=y", "unix:/x=y"),
            ("b=unix:/x=y", "b", "unix:/x=y"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(
                (target.name.as_str(), target.address.to_string().as_str()),
                (name, address)
            );
        }
        assert!("=tcp:127.0.0.1:1".parse::<Target>().is_err());
        let twice = ["a=unix:/x".to_owned(), "a=unix:/y".to_owned()];
        assert!(Target::parse_all(&twice).is_err());
    }
}
