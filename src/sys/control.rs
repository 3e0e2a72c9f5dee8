//! Ancillary data as cmsg(3) lays it out, read and written as plain bytes: no unsafe code here.
//!
//! A header is the kernel's `struct cmsghdr`: a `size_t` length that includes the header, an `int`
//! level, an `int` type; each message is aligned to a `size_t`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::array_at;

/// Room for the ancillary data of one datagram: packet info and segment size, and the credentials,
/// security label and timestamps that a socket unit can enable.
pub(crate) const CONTROL_MAX: usize = 256;
/// Room for the ancillary data of a reply: packet info, segment size and hop limit.
pub(crate) const REPLY_CONTROL_MAX: usize = 96;

const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 8;

/// Room for one message of `ucred`, which is three 32-bit numbers: `CMSG_SPACE`.
pub(crate) const CREDENTIALS_SPACE: usize = HEADER + align(12);

/// `UDP_SEGMENT` and `UDP_GRO` of linux/udp.h; `libc` has no name for them on every target.
pub(crate) const UDP_SEGMENT: i32 = 103;
pub(crate) const UDP_GRO: i32 = 104;
/// `SOL_UDP`.
pub(crate) const SOL_UDP: i32 = 17;

const fn align(len: usize) -> usize {
    len.next_multiple_of(WORD)
}

/// `SCM_CREDENTIALS` of unix(7); `libc` has no name for it on every target.
const SCM_CREDENTIALS: i32 = 2;
/// The user id that stands for ids without a mapping in a user namespace: the default of
/// /proc/sys/kernel/overflowuid, user_namespaces(7).
const OVERFLOW_UID: u32 = 65_534;

/// The local address of a datagram: ip(7) `IP_PKTINFO`, ipv6(7) `IPV6_PKTINFO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PacketInfo {
    /// The local address to answer from, `ipi_spec_dst`.
    V4(Ipv4Addr),
    /// The address that the datagram was sent to, and the interface that it came through.
    V6(Ipv6Addr, u32),
}

/// How many more hops a datagram may take: ip(7) `IP_TTL`, ipv6(7) `IPV6_HOPLIMIT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HopLimit {
    /// The number of hops.
    pub(crate) hops: u8,
    /// Whether the packet is IPv6.
    pub(crate) is_v6: bool,
}

/// What the kernel reports with one datagram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Where it was sent to, if the socket asks for packet info.
    pub(crate) packet_info: Option<PacketInfo>,
    /// How many hops it had left, if the socket asks for that.
    pub(crate) hop_limit: Option<HopLimit>,
    /// The user who sent it, if the socket had `SO_PASSCRED` (unix(7)) when it was sent.
    pub(crate) uid: Option<u32>,
    /// The size of each datagram, if the kernel joined several into one (udp(7), `UDP_GRO`).
    pub(crate) segment_size: Option<u16>,
}

/// Reads the ancillary data of one datagram.
pub(crate) fn parse(mut control: &[u8]) -> Received {
    let mut received = Received::default();
    while let Some((level, r#type, data, rest)) = split(control) {
        match (level, r#type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                if let (Some(local), Some(destination)) = (array_at(data, 4), array_at(data, 8)) {
                    let ip = local_address(local, destination);
                    received.packet_info = Some(PacketInfo::V4(ip));
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let (Some(ip), Some(index)) = (array_at::<16>(data, 0), array_at::<4>(data, 16))
                {
                    let index = u32::from_ne_bytes(index);
                    received.packet_info = Some(PacketInfo::V6(Ipv6Addr::from(ip), index));
                }
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                let hops = int(data).and_then(|hops| hops.try_into().ok());
                let is_v6 = level == libc::IPPROTO_IPV6;
                received.hop_limit = hops.map(|hops| HopLimit { hops, is_v6 });
            }
            (libc::SOL_SOCKET, SCM_CREDENTIALS) => {
                // struct ucred: process id, user id, group id. If the option was not set when
                // the datagram was sent, the process id is 0; a user who has no id in our user
                // namespace has the overflow id.
                let (pid, uid) = (word(data, 0), word(data, 4));
                received.uid = uid.filter(|&uid| uid != OVERFLOW_UID || pid != Some(0));
            }
            (SOL_UDP, UDP_GRO) => {
                received.segment_size = int(data).and_then(|size| u16::try_from(size).ok());
            }
            _ => {}
        }
        control = rest;
    }
    received
}

/// The process, the user and the group that sent a datagram; `None` if [`Received::uid`] is.
pub(crate) fn credentials(mut control: &[u8]) -> Option<[u32; 3]> {
    while let Some((level, r#type, data, rest)) = split(control) {
        if (level, r#type) == (libc::SOL_SOCKET, SCM_CREDENTIALS) {
            let [pid, uid, gid] = [word(data, 0)?, word(data, 4)?, word(data, 8)?];
            return (uid != OVERFLOW_UID || pid != 0).then_some([pid, uid, gid]);
        }
        control = rest;
    }
    None
}

fn word(data: &[u8], start: usize) -> Option<u32> {
    array_at::<4>(data, start).map(u32::from_ne_bytes)
}

/// The source address of the reply to an IPv4 datagram: `ipi_spec_dst`. The kernel sets it when it
/// queues the datagram, and only if the socket has the option by then. Earlier datagrams, such as
/// the one that activated us, have only their destination, `ipi_addr`.
fn local_address(local: [u8; 4], destination: [u8; 4]) -> Ipv4Addr {
    let (local, destination) = (Ipv4Addr::from(local), Ipv4Addr::from(destination));
    let is_one_host = !destination.is_multicast() && !destination.is_broadcast();
    if local.is_unspecified() && is_one_host { destination } else { local }
}

fn split(control: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(array_at(control, 0)?);
    let level = i32::from_ne_bytes(array_at(control, WORD)?);
    let r#type = i32::from_ne_bytes(array_at(control, WORD + 4)?);
    let data = control.get(HEADER..len)?;
    Some((level, r#type, data, control.get(align(len)..).unwrap_or(&[])))
}

fn int(data: &[u8]) -> Option<i32> {
    array_at::<4>(data, 0).map(i32::from_ne_bytes)
}

/// Writes the ancillary data of a reply: its source address, segment size and hop limit. The user
/// id is not written. Returns the length.
pub(crate) fn write(control: &mut [u8], reply: &Received) -> usize {
    let mut len = 0;
    match reply.packet_info {
        Some(PacketInfo::V4(ip)) => {
            // struct in_pktinfo: interface (0: the route decides), ipi_spec_dst, ipi_addr.
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&ip.octets());
            len = push(control, len, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        Some(PacketInfo::V6(ip, interface)) => {
            // struct in6_pktinfo: the address, the interface.
            let mut info = [0; 20];
            info[..16].copy_from_slice(&ip.octets());
            info[16..].copy_from_slice(&interface.to_ne_bytes());
            len = push(control, len, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        None => {}
    }
    if let Some(HopLimit { hops, is_v6 }) = reply.hop_limit {
        let (level, r#type) = if is_v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
        } else {
            (libc::IPPROTO_IP, libc::IP_TTL)
        };
        len = push(control, len, level, r#type, &i32::from(hops).to_ne_bytes());
    }
    if let Some(size) = reply.segment_size {
        len = push(control, len, SOL_UDP, UDP_SEGMENT, &size.to_ne_bytes());
    }
    len
}

fn push(control: &mut [u8], start: usize, level: i32, r#type: i32, data: &[u8]) -> usize {
    let len = HEADER + data.len();
    let message = &mut control[start..start + align(len)];
    message[..WORD].copy_from_slice(&len.to_ne_bytes());
    message[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
    message[WORD + 4..HEADER].copy_from_slice(&r#type.to_ne_bytes());
    message[HEADER..len].copy_from_slice(data);
    start + align(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let hop_limit = |hops, is_v6| Some(HopLimit { hops, is_v6 });
        for (packet_info, hop_limit) in [
            (None, None),
            (Some(PacketInfo::V4(Ipv4Addr::new(127, 0, 0, 2))), hop_limit(63, false)),
            (Some(PacketInfo::V6(Ipv6Addr::LOCALHOST, 7)), hop_limit(255, true)),
        ] {
            let reply = Received { packet_info, hop_limit, ..Received::default() };
            // The largest reply also has a segment size, which `parse` reads only from `UDP_GRO`.
            let segmented = Received { segment_size: Some(1000), ..reply };
            let mut control = [0; REPLY_CONTROL_MAX];
            for written in [reply, segmented] {
                let len = write(&mut control, &written);
                assert_eq!(parse(&control[..len]), reply);
            }
        }
    }

    #[test]
    fn credentials_tell_the_user_unless_the_kernel_does_not_know() {
        for (pid, uid, told) in [
            (7_u32, 0, Some(0)),
            (7, 1000, Some(1000)),
            // A sender outside of our PID namespace.
            (0, 1000, Some(1000)),
            (7, OVERFLOW_UID, Some(OVERFLOW_UID)),
            (0, OVERFLOW_UID, None),
        ] {
            let mut control = [0; CONTROL_MAX];
            let ucred = [pid.to_ne_bytes(), uid.to_ne_bytes(), 9_u32.to_ne_bytes()].concat();
            let len = push(&mut control, 0, libc::SOL_SOCKET, SCM_CREDENTIALS, &ucred);
            assert_eq!(parse(&control[..len]).uid, told);
            assert_eq!(credentials(&control[..len]), told.map(|uid| [pid, uid, 9]));
        }
    }

    #[test]
    fn cut_and_foreign_messages_are_passed_over() {
        let mut control = [0; CONTROL_MAX];
        let ip = Ipv4Addr::LOCALHOST;
        let first = push(&mut control, 0, libc::SOL_SOCKET, 29, &[1; 16]);
        // struct in_pktinfo, as `write` has it.
        let info = [[0; 4], ip.octets(), [0; 4]].concat();
        let len = push(&mut control, first, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        assert_eq!(parse(&control[..len]).packet_info, Some(PacketInfo::V4(ip)));
        for cut in 0..len {
            parse(&control[..cut]);
            credentials(&control[..cut]);
        }
    }

    #[test]
    fn a_datagram_from_before_the_option_is_answered_from_its_destination() {
        let local = Ipv4Addr::new(10, 0, 0, 1);
        let (none, other) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 0, 2));
        let group = Ipv4Addr::new(224, 0, 0, 1);
        for (spec_dst, addr, from) in [
            (local, local, local),
            (local, group, local),
            (none, other, other),
            (none, group, none),
            (none, Ipv4Addr::BROADCAST, none),
        ] {
            let from_kernel = local_address(spec_dst.octets(), addr.octets());
            assert_eq!(from_kernel, from, "{spec_dst} {addr}");
        }
    }
}
