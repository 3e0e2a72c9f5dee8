//! Words that several verbs use.

/// A count with its noun, for example `1 datagram` and `2 datagrams`.
pub(super) fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
