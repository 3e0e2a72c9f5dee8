//! The ledger: which connections are kept, and what each is owed, as the bytes of a memfd.
//!
//! All numbers are little-endian: the magic, the version (4 bytes), how many connections and how
//! many datagram sockets follow (4 bytes each). Then each has its inode number (8 bytes), a length
//! (8 bytes) and so many bytes.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};

const MAGIC: &[u8; 16] = b"sae-kept-ledger\n";
const VERSION: u32 = 1;
/// The length that stands for nothing, which differs from an empty message.
const NOTHING: u64 = u64::MAX;

/// What a ledger says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// What each connection is owed, by the inode number of its socket.
    pub(super) connections: HashMap<u64, Option<Vec<u8>>>,
    /// The replies of each datagram socket, by its inode number.
    pub(super) replies: HashMap<u64, Vec<u8>>,
}

/// Why a ledger cannot be used.
#[derive(Debug)]
pub(super) enum LedgerError {
    /// It does not begin with the magic.
    Foreign,
    /// A version of the program that this one does not know wrote it.
    Version(u32),
    /// It is shorter than it says.
    Short,
    /// It could still change.
    NotSealed,
    /// Something follows its end.
    Long,
    /// Two entries have the same inode number.
    Twice(u64),
    /// A datagram socket has no replies.
    NoReplies(u64),
    /// A system call failed, or there is not enough memory.
    Io(io::Error),
}

impl std::error::Error for LedgerError {}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("another program wrote it"),
            Self::Version(version) => write!(f, "it has version {version}, not {VERSION}"),
            Self::Short => f.write_str("it is shorter than it says"),
            Self::NotSealed => f.write_str("it is not sealed"),
            Self::Long => f.write_str("something follows its end"),
            Self::Twice(inode) => write!(f, "it names inode {inode} twice"),
            Self::NoReplies(inode) => write!(f, "it has no replies for inode {inode}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// Writes a ledger. The entries are an inode number and what is owed.
///
/// # Errors
///
/// Those of write(2).
pub(super) fn write<'a>(
    out: &mut impl Write,
    connections: &[(u64, Option<&'a [u8]>)],
    replies: &[(u64, Option<&'a [u8]>)],
) -> io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    for entries in [connections, replies] {
        let count = u32::try_from(entries.len()).map_err(io::Error::other)?;
        out.write_all(&count.to_le_bytes())?;
    }
    for (inode, owed) in connections.iter().chain(replies) {
        out.write_all(&inode.to_le_bytes())?;
        let len = owed.map_or(NOTHING, |owed| owed.len() as u64);
        out.write_all(&len.to_le_bytes())?;
        out.write_all(owed.unwrap_or_default())?;
    }
    out.flush()
}

/// Reads a ledger of `len` bytes. No entry may claim more bytes than are left.
///
/// # Errors
///
/// It is not a complete ledger and nothing else, or it cannot be read.
pub(super) fn read(input: &mut impl Read, len: u64) -> Result<Ledger, LedgerError> {
    let mut input = Input { input, left: len };
    if input.array().ok().as_ref() != Some(MAGIC) {
        return Err(LedgerError::Foreign);
    }
    match u32::from_le_bytes(input.array()?) {
        VERSION => {}
        version => return Err(LedgerError::Version(version)),
    }
    let [connections, replies] = [input.array()?, input.array()?].map(u32::from_le_bytes);
    let mut ledger = Ledger::default();
    for _ in 0..connections {
        let (inode, owed) = input.entry()?;
        if ledger.connections.insert(inode, owed).is_some() {
            return Err(LedgerError::Twice(inode));
        }
    }
    for _ in 0..replies {
        let (inode, bytes) = input.entry()?;
        let bytes = bytes.ok_or(LedgerError::NoReplies(inode))?;
        if ledger.replies.insert(inode, bytes).is_some() {
            return Err(LedgerError::Twice(inode));
        }
    }
    if input.left == 0 { Ok(ledger) } else { Err(LedgerError::Long) }
}

/// The bytes that are left.
struct Input<'a, R> {
    input: &'a mut R,
    left: u64,
}

impl<R: Read> Input<'_, R> {
    fn take(&mut self, len: u64) -> Result<(), LedgerError> {
        self.left = self.left.checked_sub(len).ok_or(LedgerError::Short)?;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LedgerError> {
        self.take(N as u64)?;
        let mut array = [0; N];
        self.input.read_exact(&mut array).map_err(LedgerError::Io)?;
        Ok(array)
    }

    fn entry(&mut self) -> Result<(u64, Option<Vec<u8>>), LedgerError> {
        let inode = u64::from_le_bytes(self.array()?);
        let len = u64::from_le_bytes(self.array()?);
        if len == NOTHING {
            return Ok((inode, None));
        }
        self.take(len)?;
        let mut bytes = Vec::new();
        let room = usize::try_from(len).unwrap_or(usize::MAX);
        // A file can claim more than there is memory; that must not end the process.
        bytes.try_reserve_exact(room).map_err(|error| LedgerError::Io(io::Error::other(error)))?;
        let count = self.input.take(len).read_to_end(&mut bytes).map_err(LedgerError::Io)?;
        if count == room { Ok((inode, Some(bytes))) } else { Err(LedgerError::Short) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{hash_map, vec};
    use proptest::prelude::*;

    fn written(ledger: &Ledger) -> Vec<u8> {
        let mut bytes = Vec::new();
        let connections: Vec<_> =
            ledger.connections.iter().map(|(i, o)| (*i, o.as_deref())).collect();
        let replies: Vec<_> =
            ledger.replies.iter().map(|(i, r)| (*i, Some(r.as_slice()))).collect();
        write(&mut bytes, &connections, &replies).expect("a vector takes everything");
        bytes
    }

    fn decoded(bytes: &[u8]) -> Result<Ledger, LedgerError> {
        read(&mut &*bytes, bytes.len() as u64)
    }

    fn sample() -> Vec<u8> {
        let connections = [(7, None), (8, Some(vec![])), (9, Some(b"owed".to_vec()))];
        let replies = [(5, b"replies".to_vec())];
        written(&Ledger { connections: connections.into(), replies: replies.into() })
    }

    #[test]
    fn a_ledger_that_is_not_exactly_one_is_refused() {
        let sample = sample();
        for len in 0..sample.len() {
            assert!(decoded(&sample[..len]).is_err(), "{len} of {} bytes", sample.len());
        }
        let with = |at: usize, bytes: &[u8]| {
            let mut changed = sample.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            changed
        };
        let longer = [&sample[..], b"\0"].concat();
        let twice = {
            let mut bytes = Vec::new();
            write(&mut bytes, &[(7, None), (7, None)], &[]).expect("a vector");
            bytes
        };
        let no_replies = {
            let mut bytes = Vec::new();
            write(&mut bytes, &[], &[(7, None)]).expect("a vector");
            bytes
        };
        for (bytes, why) in [
            (vec![], "another program"),
            (with(0, b"S"), "another program"),
            (with(16, &[2]), "version 2"),
            (with(20, &[4]), "shorter"),
            (with(20, &[2]), ""),
            (with(20, &u32::MAX.to_le_bytes()), ""),
            (with(36, &(1u64 << 40).to_le_bytes()), "shorter"),
            (with(36, &(u64::MAX - 1).to_le_bytes()), "shorter"),
            (longer, "follows"),
            (twice, "inode 7 twice"),
            (no_replies, "no replies for inode 7"),
        ] {
            let error = decoded(&bytes).expect_err(why).to_string();
            assert!(error.contains(why), "{error}, not {why}");
        }
    }

    /// A file that ends early, whatever fstat(2) said, and one that claims more than there is.
    #[test]
    fn what_cannot_be_read_is_an_error() {
        let sample = sample();
        read(&mut &sample[..30], sample.len() as u64).expect_err("it ends early");
        let mut huge = Vec::new();
        write(&mut huge, &[(1, Some(b""))], &[]).expect("a vector");
        let at = huge.len() - 8;
        huge[at..].copy_from_slice(&(u64::MAX - 100).to_le_bytes());
        read(&mut &*huge, u64::MAX).expect_err("no machine has so much memory");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            connections in hash_map(any::<u64>(), any::<Option<Vec<u8>>>(), 0..9),
            replies in hash_map(any::<u64>(), vec(any::<u8>(), 0..99), 0..9),
        ) {
            let ledger = Ledger { connections, replies };
            prop_assert_eq!(decoded(&written(&ledger)).expect("valid"), ledger);
        }

        /// Bytes of any kind, and a ledger in which some are changed.
        #[test]
        fn nothing_panics(bytes in vec(any::<u8>(), 0..200), at in 0..99usize, byte: u8) {
            let _ = decoded(&bytes);
            let _ = decoded(&[&sample()[..28], &bytes].concat());
            let mut changed = sample();
            let at = at % changed.len();
            changed[at] = byte;
            if let Ok(ledger) = decoded(&changed) {
                prop_assert_eq!(ledger.connections.len() + ledger.replies.len(), 4);
            }
        }
    }
}
