//! Schedules: their steps, how a random one is made, and how one is printed.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::select;

/// How the server is set up, and what its peers do, one step after the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) settings: Settings,
    pub(crate) steps: Vec<Step>,
}

/// Limits and buffers: small ones make rare paths frequent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) connections_max: u32,
    pub(crate) stream_buffer_bytes: usize,
    pub(crate) round_bytes: usize,
    pub(crate) turn_accepts: usize,
    pub(crate) pipes_max: usize,
    pub(crate) unread_bytes_max: usize,
    pub(crate) batch_datagrams: usize,
    /// `SO_SNDBUF` of all sockets, and `SO_RCVBUF` of those that lose nothing by it.
    pub(crate) kernel_buffer_bytes: usize,
    /// Whether the next step does not wait until the server has had a turn.
    pub(crate) races: bool,
    /// Whether a server that is told to stop keeps its connections. It then starts with none.
    pub(crate) keeps: bool,
}

/// Without them a schedule is about the steps alone.
pub(crate) const PLAIN: Settings = Settings {
    workers: 1,
    connections_max: u32::MAX,
    stream_buffer_bytes: 4096,
    round_bytes: 65_536,
    turn_accepts: 64,
    pipes_max: 0,
    unread_bytes_max: 1 << 30,
    batch_datagrams: 64,
    kernel_buffer_bytes: 65_536,
    races: false,
    keeps: false,
};

/// A step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Step {
    /// A peer, which connects if it was not there, does something.
    On(Kind, u8, Act),
    /// So many peers connect and send at once.
    Crowd(Kind, u8),
    /// Everybody receives what there is to come.
    Settle,
    /// Nobody does anything: the server must not either.
    Rest,
    /// The server stops, and another one goes on with what it keeps.
    Restart,
    /// The server is told to stop.
    Shutdown,
}

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Unix,
    Tcp4,
    Tcp6,
    Seqpacket,
    /// Its queue is bounded (net.unix.max_dgram_qlen), so replies to it have to be kept.
    Datagram,
    /// Connected to the server: its queue is the server's send buffer.
    ConnectedDatagram,
    Udp4,
    Udp6,
    /// The other end of a connection that the server was started with (Accept=yes).
    InheritedUnix,
    InheritedTcp,
    InheritedSeqpacket,
}

/// What a peer does. What it cannot do, or what is refused for now, it leaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Act {
    /// Sends so many bytes, or one message of so many.
    Send(usize),
    /// The same, with a descriptor (`SCM_RIGHTS`).
    Pass(usize),
    /// Sends one byte with `MSG_OOB`.
    Urgent,
    /// Sends until nobody takes any more.
    Fill,
    /// Receives up to so many bytes, or one message.
    Receive(usize),
    /// Sends its end.
    HalfClose,
    Close,
    /// Closes with `SO_LINGER` of 0 seconds.
    Reset,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Unix,
        Self::Tcp4,
        Self::Tcp6,
        Self::Seqpacket,
        Self::Datagram,
        Self::ConnectedDatagram,
        Self::Udp4,
        Self::Udp6,
        Self::InheritedUnix,
        Self::InheritedTcp,
        Self::InheritedSeqpacket,
    ];

    pub(crate) fn is_inherited(self) -> bool {
        matches!(self, Self::InheritedUnix | Self::InheritedTcp | Self::InheritedSeqpacket)
    }

    pub(crate) fn is_udp(self) -> bool {
        matches!(self, Self::Udp4 | Self::Udp6)
    }

    /// Whether there is no connection, and so no end of it.
    pub(crate) fn is_datagram(self) -> bool {
        self.is_udp() || matches!(self, Self::Datagram | Self::ConnectedDatagram)
    }

    pub(crate) fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp4 | Self::Tcp6 | Self::InheritedTcp)
    }

    pub(crate) fn is_seqpacket(self) -> bool {
        matches!(self, Self::Seqpacket | Self::InheritedSeqpacket)
    }

    pub(crate) fn is_stream(self) -> bool {
        !self.is_datagram() && !self.is_seqpacket()
    }
}

/// A few peers do most of it, so that one does several things.
pub(crate) fn any() -> impl Strategy<Value = Schedule> {
    let peers = proptest::collection::vec((select(Kind::ALL.to_vec()), 0..3_u8), 1..10);
    let steps = || proptest::collection::vec(any_step(), 0..50);
    // A shutdown now and then: what comes after it is not so much.
    let stop = proptest::option::weighted(0.1, steps());
    // What comes first is made smaller first: with large buffers a stall is one each time.
    (settings(), stop, steps(), peers).prop_map(|(settings, stop, steps, peers)| {
        let step = |any: AnyStep| match any {
            AnyStep::On(peer, act) => {
                let (kind, slot) = peers[peer % peers.len()];
                Step::On(kind, slot, act)
            }
            AnyStep::Step(step) => step,
        };
        let mut steps: Vec<_> = steps.into_iter().map(step).collect();
        if let Some(more) = stop {
            steps.push(Step::Shutdown);
            steps.extend(more.into_iter().take(10).map(step));
        }
        Schedule { settings, steps }
    })
}

/// A step before it is known which peers there are.
#[derive(Debug, Clone, Copy)]
enum AnyStep {
    On(usize, Act),
    Step(Step),
}

/// The first one of each list is what a failure is made smaller to.
fn settings() -> impl Strategy<Value = Settings> {
    let sizes = (
        select(vec![4096, 1, 16, 700, 65_536]),
        select(vec![65_536, 1 << 20, 1024, 4096]),
        select(vec![65_536, 4096, 16_384]),
    );
    let counts = (
        select(vec![1_usize, 1, 1, 2, 3]),
        select(vec![u32::MAX, u32::MAX, 5, 7, 16]),
        select(vec![64_usize, 1]),
        select(vec![0_usize, 1, 2]),
        select(vec![1_usize << 30, 0, 1000, 20_000, 65_536]),
        select(vec![64_usize, 1, 3]),
    );
    let flags = (proptest::bool::ANY, proptest::bool::ANY);
    (sizes, counts, flags).prop_map(|(sizes, counts, (races, keeps))| {
        let (stream_buffer_bytes, round_bytes, kernel_buffer_bytes) = sizes;
        let (workers, connections_max, turn_accepts, pipes_max, unread, batch_datagrams) = counts;
        Settings {
            workers,
            connections_max,
            stream_buffer_bytes,
            round_bytes,
            turn_accepts,
            pipes_max,
            unread_bytes_max: unread,
            batch_datagrams,
            kernel_buffer_bytes,
            races,
            keeps,
        }
    })
}

fn any_step() -> impl Strategy<Value = AnyStep> {
    let kind = || select(Kind::ALL.to_vec());
    prop_oneof![
        80 => (0..100_usize, act()).prop_map(|(peer, act)| AnyStep::On(peer, act)),
        2 => (kind(), 1..100_u8).prop_map(|(kind, count)| AnyStep::Step(Step::Crowd(kind, count))),
        4 => Just(AnyStep::Step(Step::Settle)),
        1 => Just(AnyStep::Step(Step::Rest)),
        5 => Just(AnyStep::Step(Step::Restart)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    // Most are small, some are larger than the buffers on the way.
    let size = || prop_oneof![1 => Just(0), 6 => 1..200_usize, 3 => 1..20_000_usize];
    prop_oneof![
        10 => size().prop_map(Act::Send),
        2 => size().prop_map(Act::Pass),
        2 => Just(Act::Urgent),
        4 => Just(Act::Fill),
        6 => size().prop_map(Act::Receive),
        3 => Just(Act::HalfClose),
        2 => Just(Act::Close),
        2 => Just(Act::Reset),
    ]
}

/// As `table` has it.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "(\"what it shows\", {:?}, &[", self.settings)?;
        for step in &self.steps {
            writeln!(f, "    {step:?},")?;
        }
        writeln!(f, "]),")
    }
}
