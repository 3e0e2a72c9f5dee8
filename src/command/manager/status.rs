//! The status line for `systemctl status`: what is served, and what has happened.

use std::time::{Duration, Instant};

use crate::activation::{InheritedSocket, SocketKind};
use crate::command::words::count;
use crate::server::Progress;

/// The shortest time between two status lines.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many bytes of the sockets' names are shown: the manager cuts a long status at its end, and
/// the counts are there.
const SOCKETS_MAX: usize = 1024;

/// When to send the next status line.
pub(super) struct Status {
    /// What is served.
    sockets: String,
    /// The last line, and when it was sent.
    last: String,
    sent: Option<Instant>,
    /// Whether something has changed since.
    is_old: bool,
}

impl Status {
    pub(super) fn new(sockets: &[InheritedSocket]) -> Self {
        let names: Vec<_> = sockets.iter().map(|socket| describe(&socket.kind)).collect();
        Self::of(names)
    }

    pub(super) fn of(names: Vec<String>) -> Self {
        let (total, mut shown) = (names.len(), String::new());
        for (number, name) in names.into_iter().enumerate() {
            if number > 0 && shown.len() + name.len() > SOCKETS_MAX {
                shown += &format!(", and {} more", total - number);
                break;
            }
            shown += if number > 0 { ", " } else { "" };
            shown += &name;
        }
        let sockets = format!("serving {}: {shown}", count(total as u64, "socket"));
        Self { last: sockets.clone(), sockets, sent: None, is_old: false }
    }

    /// The line of a server that nobody has used yet.
    pub(super) fn first(&self) -> &str {
        &self.sockets
    }

    /// The last line has reached the manager.
    pub(super) fn was_sent(&mut self, now: Instant) {
        self.sent = Some(now);
    }

    pub(super) fn has_changed(&mut self) {
        self.is_old = true;
    }

    /// When the next line may be sent; `None` if nothing has changed, or while the first line is
    /// not sent.
    pub(super) fn due(&self) -> Option<Instant> {
        self.sent.filter(|_| self.is_old).and_then(|sent| sent.checked_add(INTERVAL))
    }

    /// The next line, if it is time and says something new.
    pub(super) fn take(&mut self, now: Instant, progress: &Progress) -> Option<&str> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        self.is_old = false;
        let line = format!("{}{}", self.sockets, in_words(progress));
        if self.last == line {
            return None;
        }
        self.last = line;
        Some(&self.last)
    }
}

/// The counts that are not 0.
fn in_words(progress: &Progress) -> String {
    let (now, counts) = (progress.connections, &progress.statistics);
    let parts = [
        (
            counts.connections,
            format!("{} now, {} in all", count(now, "connection"), counts.connections),
        ),
        (counts.messages, count(counts.messages, "datagram")),
        (counts.bytes, count(counts.bytes, "byte")),
        (counts.unanswered, format!("{} not answered", count(counts.unanswered, "datagram"))),
        (counts.refused, format!("{} refused", count(counts.refused, "connection"))),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    parts.map(|(_, words)| format!("; {words}")).collect()
}

/// The address for clients, or the client of a single connection.
fn describe(kind: &SocketKind) -> String {
    match (&kind.peer, &kind.local) {
        (Some(peer), _) => format!("connection from {peer}"),
        (None, Some(local)) => local.to_string(),
        (None, None) => format!("unnamed {} of {}", kind.type_name(), kind.family),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Statistics;

    fn progress(connections: u64, counts: [u64; 5]) -> Progress {
        let [all, messages, bytes, unanswered, refused] = counts;
        let statistics = Statistics {
            connections: all,
            messages,
            bytes,
            unanswered,
            refused,
            ended_idle: false,
        };
        Progress { statistics, connections, ..Progress::default() }
    }

    #[test]
    fn progress_in_words() {
        for (connections, counts, words) in [
            (0, [0; 5], ""),
            (1, [1, 0, 0, 0, 0], "; 1 connection now, 1 in all"),
            (0, [17, 0, 5, 0, 0], "; 0 connections now, 17 in all; 5 bytes"),
            (0, [0, 1, 0, 1, 0], "; 1 datagram; 1 datagram not answered"),
            (
                2,
                [17, 340, 12_345, 0, 3],
                "; 2 connections now, 17 in all; 340 datagrams; 12345 bytes; 3 connections refused",
            ),
        ] {
            assert_eq!(in_words(&progress(connections, counts)), words);
        }
    }

    #[test]
    fn a_line_is_sent_only_if_it_is_new_and_once_a_second() {
        let mut status = Status::of(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(status.first(), "serving 2 sockets: a, b");
        status.has_changed();
        assert_eq!(status.due(), None, "the first line is on its way");
        let start = Instant::now();
        status.was_sent(start);
        assert_eq!(status.due(), Some(start + INTERVAL));
        let (none, some) = (Progress::default(), progress(0, [0, 1, 0, 0, 0]));
        assert_eq!(status.take(start, &some), None, "it is too early");
        assert_eq!(status.take(start + INTERVAL, &none), None, "it is the same");
        assert_eq!(status.due(), None);
        status.has_changed();
        let later = start + INTERVAL * 9;
        assert_eq!(status.take(later, &some), Some("serving 2 sockets: a, b; 1 datagram"));
        status.has_changed();
        status.was_sent(later);
        assert_eq!(status.due(), Some(later + INTERVAL));
        assert_eq!(status.take(later + INTERVAL, &some), None, "it is the same");
    }

    #[test]
    fn many_sockets_leave_room_for_the_counts() {
        let status = Status::of((0..300).map(|number| format!("tcp:127.0.0.1:{number}")).collect());
        let line = status.first();
        assert!(line.starts_with("serving 300 sockets: tcp:127.0.0.1:0, tcp:"), "{line}");
        assert!(line.ends_with(" more") && line.len() < SOCKETS_MAX + 100, "{line}");
        assert!(Status::of(vec!["x".repeat(2000)]).first().ends_with("xx"), "one is shown");
    }
}
