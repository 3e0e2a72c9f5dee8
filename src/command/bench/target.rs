//! The servers of a run.

use crate::address::{Address, Inet};
use crate::error::{Error, ErrorKind, Result};
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
    /// The targets of the command line, with distinct names.
    pub(super) fn parse_all(texts: &[String]) -> Result<Vec<Self>> {
        let mut targets: Vec<Self> = Vec::with_capacity(texts.len());
        for text in texts {
            let target = Self::parse(text)?;
            if targets.iter().any(|other| other.name == target.name) {
                let message = format!("two servers have the name `{}`", target.name);
                return Err(Error::new(ErrorKind::Usage, message)
                    .remedy("give each a different name: NAME=ADDR"));
            }
            targets.push(target);
        }
        Ok(targets)
    }

    /// Whether it is TCP or MPTCP, which have the same options.
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.address, Address::Inet(Inet::Tcp | Inet::Mptcp, ..))
    }

    /// `ADDR` or `NAME=ADDR`.
    fn parse(text: &str) -> Result<Self> {
        let usage = |message| Error::new(ErrorKind::Usage, message);
        // A path may contain an equals sign too, but a name never contains a colon.
        let (name, address) = match text.split_once('=') {
            Some(("", _)) => return Err(usage(format!("`{text}` has no name before the ="))),
            Some((name, address)) if !name.contains(':') => (name, address),
            _ => (text, text),
        };
        let address =
            address.parse().map_err(|error| usage(format!("server `{text}`: {error}")))?;
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
            let target = Target::parse(text).unwrap();
            assert_eq!(
                (target.name.as_str(), target.address.to_string().as_str()),
                (name, address)
            );
        }
        assert!(Target::parse("=tcp:127.0.0.1:1").is_err());
        let twice = ["a=unix:/x".to_owned(), "a=unix:/y".to_owned()];
        assert!(Target::parse_all(&twice).is_err());
    }
}
