//! Kept replies as bytes, for another process of this version of the program.
//!
//! A byte has the version. Then comes one reply after the other:
//!
//! | bytes | what |
//! |---|---|
//! | 1, and so many | the name of the receiver |
//! | 1 | which of the following four there are: [`V4`] or [`V6`], [`HOPS`] or [`HOPS_V6`], [`USER`] |
//! | 4, or 16 and 4 | the local address; for IPv6 also the interface |
//! | 1 | the hop limit |
//! | 4 | the user |
//! | 4, and so many | the data |
//!
//! Numbers have the byte order of the machine.

use std::collections::TryReserveError;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::sys::control::{HopLimit, PacketInfo, Received};
use crate::sys::message::NAME_MAX;

/// It changes with every change of the format.
const VERSION: u8 = 1;

const V4: u8 = 1;
const V6: u8 = 2;
const HOPS: u8 = 4;
const HOPS_V6: u8 = 8;
const USER: u8 = 16;
const ALL: u8 = V4 | V6 | HOPS | HOPS_V6 | USER;

/// The most bytes of a reply without its name and its data.
const OTHERS_MAX: usize = 64;

/// A reply, which is a single datagram: it has no segment size.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored<'a> {
    /// The `sockaddr` of the receiver.
    pub(super) name: &'a [u8],
    pub(super) control: Received,
    pub(super) data: &'a [u8],
}

/// Encodes replies.
///
/// # Errors
///
/// There is no memory for the bytes.
pub(super) fn encode<'a>(
    replies: impl Iterator<Item = Stored<'a>>,
) -> Result<Vec<u8>, TryReserveError> {
    let mut bytes = vec![VERSION];
    for Stored { name, control, data } in replies {
        bytes.try_reserve(name.len() + data.len() + OTHERS_MAX)?;
        // Both lengths fit: the kernel's names are shorter, and so is any message.
        bytes.push(name.len() as u8);
        bytes.extend(name);
        encode_control(&control, &mut bytes);
        bytes.extend((data.len() as u32).to_ne_bytes());
        bytes.extend(data);
    }
    Ok(bytes)
}

fn encode_control(control: &Received, bytes: &mut Vec<u8>) {
    let flags = bytes.len();
    bytes.push(0);
    match control.packet_info {
        Some(PacketInfo::V4(ip)) => {
            bytes[flags] |= V4;
            bytes.extend(ip.octets());
        }
        Some(PacketInfo::V6(ip, interface)) => {
            bytes[flags] |= V6;
            bytes.extend(ip.octets());
            bytes.extend(interface.to_ne_bytes());
        }
        None => {}
    }
    if let Some(HopLimit { hops, is_v6 }) = control.hop_limit {
        bytes[flags] |= if is_v6 { HOPS_V6 } else { HOPS };
        bytes.push(hops);
    }
    if let Some(uid) = control.uid {
        bytes[flags] |= USER;
        bytes.extend(uid.to_ne_bytes());
    }
}

/// The replies in `bytes`, in their order; `None` if [`encode`] of this version has not made them.
pub(super) fn decode(bytes: &[u8]) -> Option<impl Iterator<Item = Stored<'_>>> {
    let (&VERSION, rest) = bytes.split_first()? else { return None };
    // The first pass finds out whether all of it can be read, so nothing is collected.
    let mut checked = Reader(rest);
    while !checked.0.is_empty() {
        checked.reply()?;
    }
    let mut reader = Reader(rest);
    Some(std::iter::from_fn(move || reader.reply()))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn reply(&mut self) -> Option<Stored<'a>> {
        let [name_len] = self.array()?;
        let name_len = usize::from(name_len);
        let name = if name_len <= NAME_MAX { self.take(name_len)? } else { return None };
        let control = self.control()?;
        let data_len = u32::from_ne_bytes(self.array()?);
        let data = self.take(data_len.try_into().ok()?)?;
        Some(Stored { name, control, data })
    }

    fn control(&mut self) -> Option<Received> {
        let [flags] = self.array()?;
        let has = |flag| flags & flag != 0;
        if flags & !ALL != 0 || (has(V4) && has(V6)) || (has(HOPS) && has(HOPS_V6)) {
            return None;
        }
        let mut control = Received::default();
        if has(V4) {
            control.packet_info = Some(PacketInfo::V4(Ipv4Addr::from(self.array::<4>()?)));
        }
        if has(V6) {
            let ip = Ipv6Addr::from(self.array::<16>()?);
            control.packet_info = Some(PacketInfo::V6(ip, u32::from_ne_bytes(self.array()?)));
        }
        if has(HOPS) || has(HOPS_V6) {
            let [hops] = self.array()?;
            control.hop_limit = Some(HopLimit { hops, is_v6: has(HOPS_V6) });
        }
        if has(USER) {
            control.uid = Some(u32::from_ne_bytes(self.array()?));
        }
        Some(control)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (Vec<u8>, Received, Vec<u8>);

    fn any_reply() -> impl Strategy<Value = Owned> {
        let packet_info = prop_oneof![
            Just(None),
            any::<Ipv4Addr>().prop_map(|ip| Some(PacketInfo::V4(ip))),
            any::<(Ipv6Addr, u32)>().prop_map(|(ip, index)| Some(PacketInfo::V6(ip, index))),
        ];
        let hop_limit = any::<Option<(u8, bool)>>()
            .prop_map(|given| given.map(|(hops, is_v6)| HopLimit { hops, is_v6 }));
        let control = (packet_info, hop_limit, any::<Option<u32>>()).prop_map(
            |(packet_info, hop_limit, uid)| Received {
                packet_info,
                hop_limit,
                uid,
                segment_size: None,
            },
        );
        let bytes = |most| proptest::collection::vec(any::<u8>(), 0..=most);
        (bytes(NAME_MAX), control, bytes(300))
    }

    fn encoded(replies: &[Owned]) -> Vec<u8> {
        encode(replies.iter().map(stored)).expect("memory")
    }

    fn stored((name, control, data): &Owned) -> Stored<'_> {
        Stored { name, control: *control, data }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(replies in proptest::collection::vec(any_reply(), 0..8)) {
            let bytes = encoded(&replies);
            let decoded: Vec<_> = decode(&bytes).expect("this version").collect();
            prop_assert_eq!(decoded, replies.iter().map(stored).collect::<Vec<_>>());
        }

        #[test]
        fn other_bytes_are_refused_or_have_one_meaning(mut bytes: Vec<u8>, version in 0..3_u8) {
            bytes.insert(0, version);
            let again = decode(&bytes).and_then(|replies| encode(replies).ok());
            prop_assert!(again.is_none_or(|again| again == bytes));
        }
    }

    #[test]
    fn a_part_is_refused_unless_it_ends_with_a_reply() {
        let control = Received { uid: Some(7), ..Received::default() };
        let replies = [(b"a".to_vec(), control, b"1".to_vec()), (vec![], control, vec![])];
        let (one, both) = (encoded(&replies[..1]), encoded(&replies));
        for len in 0..=both.len() {
            let found = decode(&both[..len]).map(Iterator::count);
            let expected = match len {
                1 => Some(0),
                len if len == one.len() => Some(1),
                len if len == both.len() => Some(2),
                _ => None,
            };
            assert_eq!(found, expected, "{len} of {} bytes", both.len());
        }
        // A name that no `sockaddr` has, and a flag that this version does not know.
        let long = [&[VERSION, NAME_MAX as u8 + 1], &[0; 300][..]].concat();
        assert!(decode(&long).is_none());
        assert!(decode(&[VERSION, 0, ALL + 1, 0, 0, 0, 0]).is_none());
        assert!(decode(&[VERSION, 0, V4 | V6, 0, 0, 0, 0]).is_none());
    }
}
