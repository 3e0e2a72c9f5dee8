//! Schedules with a name: earlier failures, and behaviour that must not change.

use crate::schedule::Act::*;
use crate::schedule::Kind::*;
use crate::schedule::Step::*;
use crate::schedule::{PLAIN, Schedule, Settings, Step};

type Row = (&'static str, Settings, &'static [Step]);

const ROWS: &[Row] = &[
    ("nobody comes", PLAIN, &[]),
    ("a stall, and reading on", PLAIN, &[On(Unix, 0, Fill), Settle, On(Tcp4, 0, Fill), Settle]),
    (
        "a stall of messages",
        PLAIN,
        &[On(Seqpacket, 0, Fill), On(InheritedSeqpacket, 0, Fill), On(ConnectedDatagram, 0, Fill)],
    ),
    (
        "peers that reset a connection in which everything is full, and others in their place",
        Settings { connections_max: 6, pipes_max: 1, ..PLAIN },
        &[
            On(Unix, 0, Fill),
            On(Tcp4, 0, Fill),
            On(Unix, 0, Reset),
            On(Tcp4, 0, Reset),
            On(Unix, 1, Fill),
            On(Tcp6, 1, Fill),
        ],
    ),
    (
        "an end behind more than fits",
        Settings { stream_buffer_bytes: 65_536, kernel_buffer_bytes: 4096, ..PLAIN },
        &[On(Unix, 0, Fill), On(Unix, 0, HalfClose), On(Tcp4, 0, Fill), On(Tcp4, 0, HalfClose)],
    ),
    (
        "replies that have to be kept, some room, and one more",
        PLAIN,
        &[On(Datagram, 0, Fill), On(Datagram, 0, Receive(0)), On(Datagram, 0, Send(9)), Settle],
    ),
    (
        "empty messages, with their sender's credentials and without",
        PLAIN,
        &[
            On(Seqpacket, 0, Send(0)),
            On(Seqpacket, 1, Send(0)),
            On(InheritedSeqpacket, 0, Send(0)),
            On(Udp4, 0, Send(0)),
            On(Datagram, 0, Send(0)),
        ],
    ),
    (
        "more that want to be served than may be, and bytes in the middle of which a descriptor comes",
        Settings { connections_max: 5, ..PLAIN },
        &[Crowd(Unix, 20), On(InheritedUnix, 0, Pass(5)), On(InheritedUnix, 0, Send(5)), Settle],
    ),
    (
        "restarts while everything is full",
        Settings { keeps: true, pipes_max: 2, workers: 2, ..PLAIN },
        &[
            On(Unix, 0, Fill),
            On(Tcp4, 0, Fill),
            On(Seqpacket, 0, Fill),
            On(Datagram, 0, Fill),
            On(ConnectedDatagram, 0, Fill),
            Restart,
            On(Tcp4, 0, HalfClose),
            Restart,
            Settle,
            Restart,
        ],
    ),
    (
        "restarts with an end behind what is owed, and without anything that is owed",
        Settings { keeps: true, workers: 2, ..PLAIN },
        &[
            Crowd(Tcp4, 3),
            Settle,
            On(Unix, 0, Fill),
            On(Unix, 0, HalfClose),
            On(Tcp6, 0, Fill),
            On(Tcp6, 0, HalfClose),
            On(Seqpacket, 0, Fill),
            On(Seqpacket, 0, HalfClose),
            Restart,
            Restart,
        ],
    ),
    (
        "a restart while everything is full, and a shutdown whose work nobody takes",
        Settings { keeps: true, ..PLAIN },
        &[On(Unix, 0, Fill), On(Tcp6, 0, Fill), On(Datagram, 0, Fill), Restart, Shutdown],
    ),
    (
        "a shutdown while everything is full",
        PLAIN,
        &[On(Unix, 0, Fill), On(Tcp6, 0, Fill), On(Datagram, 0, Fill), Shutdown],
    ),
];

pub(crate) fn all() -> impl Iterator<Item = (&'static str, Schedule)> {
    let schedule = |settings, steps: &[Step]| Schedule { settings, steps: steps.to_vec() };
    ROWS.iter().map(move |(name, settings, steps)| (*name, schedule(*settings, steps)))
}
